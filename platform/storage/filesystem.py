"""Where the paths of a store lie: on this disk, or as objects behind a folder of it.

A store `s3://BUCKET/PREFIX` has a folder on each machine, CACHE/s3/BUCKET/PREFIX, laid out like a
store on disk. A path in there stands for an object, which the functions here read and write; any
other path stands for itself. Only the files of artifacts (`artifact_files`) are kept in that
folder. All
machines that work together need the same CACHE (environment: WSSS_CACHE).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError

SCHEME = "s3://"
_ADDRESS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._=-]+)*/?")
ATTEMPT = re.compile(r"/artifacts/[^/]+/[^/]+/try-[0-9a-f]{12}(?:/|$)")
"""What leads to the files of one attempt at an artifact; they have a name of their own as objects
(see `artifact_files`)."""
CHUNK = 16 << 20
ATTEMPTS = 10
"""At a request that the object store does not answer, each after twice as long as the one before,
25 seconds in all: a job outlives an outage of 12."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def absolute(text: str, what: str) -> str:
    """A path that a user gave, as an absolute one; `~` and `~NAME` stand for home folders.

    Args:
        text: the path.
        what: names the option or field in the error.

    Raises:
        InputError: it is empty, or an address.
    """
    if not text:
        raise InputError(f"{what} is empty; it must be a path")
    if "://" in text:
        raise InputError(f"{what} is an address; it must be a path")
    return str(Path(os.path.expanduser(text)).absolute())


def cache() -> Path:
    """The folder of what this machine keeps of object stores."""
    return Path(os.environ.get("WSSS_CACHE") or "~/.cache/wsss").expanduser().absolute()


def root_of(address: str) -> Path:
    """The folder of this machine that stands for an object store; it can be reached.

    Raises:
        InputError: that is no address, or there is no such bucket, or it cannot be reached.
    """
    if not _ADDRESS.fullmatch(address) or "/." in address:
        shown = re.sub(r"//.*@|\?.*", "//...", address)  # what may be a key is not repeated
        raise InputError(
            f"{shown!r} is no address of a store, as s3://BUCKET/PREFIX is; keys and endpoint "
            "come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
        )
    root = cache() / "s3" / address.removeprefix(SCHEME).rstrip("/")
    _reach(address.removeprefix(SCHEME).split("/")[0], *_surroundings())
    return root


@functools.cache
def _reach(bucket: str, endpoint: str, region: str) -> None:
    """Raises InputError where the bucket is not there; asked once a process."""
    with told(f"{SCHEME}{bucket}"):
        found = _connected(bucket, endpoint, region, 2).get_file_info(bucket)
    if found.type.name == "NotFound":
        raise InputError(f"there is no bucket {SCHEME}{bucket}" + (endpoint and f" at {endpoint}"))


def _surroundings() -> tuple[str, str]:
    """Endpoint and region as the environment gives them, empty where it does not."""
    of = os.environ.get
    endpoint = of("AWS_ENDPOINT_URL_S3") or of("AWS_ENDPOINT_URL") or ""
    return endpoint, of("AWS_REGION") or of("AWS_DEFAULT_REGION") or ""


@functools.cache
def _connected(bucket: str, endpoint: str, region: str, attempts: int = 0) -> Any:
    from pyarrow import fs

    if not region:
        region = "us-east-1" if endpoint else fs.resolve_s3_region(bucket)
    scheme, _, host = endpoint.rpartition("://")

    class Patient(fs.S3FileSystem):  # type: ignore[misc]
        """Where Ray Train takes it, too: pyarrow's own would leave out the attempts."""

        def __reduce__(self) -> tuple[Any, ...]:
            return _connected, (bucket, endpoint, region, attempts)

    return Patient(
        region=region,
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
        connect_timeout=5,
        retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=attempts or ATTEMPTS),
        request_timeout=30,  # to copy or join a large object takes S3 a while
        allow_delayed_open=True,  # a small object is one request
    )


@contextlib.contextmanager
def told(address: object) -> Iterator[None]:
    """Turns what S3, or this system, says into one sentence; that an object or file is missing
    passes as it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:  # a file lies where a folder would be
        raise FileNotFoundError(error.errno, error.strerror, error.filename) from error
    except OSError as error:
        said = str(error).partition("AWS Error ")[2] or error.strerror or str(error)
        raise StorageError(f"{address} cannot be used: {said}") from error


def object_of(path: Path) -> str:
    """BUCKET/KEY of the object that a path stands for; empty where it is a file."""
    text = str(path)
    start = f"{cache()}/s3/"
    return text.removeprefix(start) if text.startswith(start) and not ATTEMPT.search(text) else ""


def system(key: str) -> Any:
    """The connection to the bucket of BUCKET/KEY."""
    return _connected(key.split("/")[0], *_surroundings())


def address(path: Path) -> str:
    """A path as a person would name it."""
    key = object_of(path)
    return f"{SCHEME}{key}" if key else str(path)


def storage(path: Path) -> dict[str, Any]:
    """A path as Ray's RunConfig takes it."""
    key = object_of(path)
    if not key:
        return {"storage_path": str(path)}
    return {"storage_path": key, "storage_filesystem": system(key)}


def regular(path: Path) -> Path:
    """The path of a file on this disk, if nothing else lies there: a folder cannot be read, and
    to open a pipe would never end.

    Raises:
        InputError: something else lies there.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file; a file belongs there")
    return path


def read(path: Path) -> bytes:
    """The content.

    Raises:
        FileNotFoundError: there is none.
        InputError: see `regular`.
        StorageError: it cannot be read, or the object store cannot be used.
    """
    key = object_of(path)
    if not key:
        with told(path):
            return regular(path).read_bytes()
    with stream(key) as found:
        data: bytes = found.read()
        return data


@contextlib.contextmanager
def stream(key: str) -> Iterator[Any]:
    """What BUCKET/KEY holds, to read; raises as `read` does."""
    with told(f"{SCHEME}{key}"), system(key).open_input_file(key) as found:
        yield found


def write(path: Path, data: bytes) -> None:
    """Leaves content so that a reader sees what was there before or this, never half of it."""
    key = object_of(path)
    if key:
        with told(address(path)), system(key).open_output_stream(key) as stream:
            stream.write(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(data)


def check_writable(folder: Path) -> None:
    """Checks that files can be written into a folder of this disk, which need not be there yet.

    Raises:
        InputError: they cannot.
    """
    try:
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """A binary stream whose content takes the place of a file when all of it is there."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with part.open("wb") as stream:
            yield stream
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def append(path: Path, data: bytes) -> None:
    """Adds to the end. Only one process may; an object is written anew."""
    if not object_of(path):
        with path.open("ab") as stream:
            stream.write(data)
        return
    before = b""
    with contextlib.suppress(FileNotFoundError):
        before = read(path)
    write(path, before + data)


def send(path: Path, key: str) -> None:
    """Uploads a file as BUCKET/KEY."""
    with (
        told(f"{SCHEME}{key}"),
        path.open("rb") as source,
        system(key).open_output_stream(key) as stream,
    ):
        shutil.copyfileobj(source, stream, CHUNK)


def exists(path: Path) -> bool:
    """Whether there is a file, or a folder that is not empty."""
    key = object_of(path)
    with told(address(path)):
        if not key:
            return path.exists()
        return bool(system(key).get_file_info(key).type.name != "NotFound")


def names(folder: Path, suffix: str = "") -> list[str]:
    """What is in a folder with such an end and no leading dot; nothing where there is none."""
    key = object_of(folder)
    if key:
        found = [info.base_name for info in listing(key, recursive=False)]
    else:
        with told(folder):
            found = os.listdir(folder) if folder.is_dir() else []
    return sorted(n for n in found if n.endswith(suffix) and not n.startswith("."))


def listing(key: str, recursive: bool = True) -> list[Any]:
    """The `FileInfo` of what is under BUCKET/KEY."""
    from pyarrow import fs

    selector = fs.FileSelector(key, recursive=recursive, allow_not_found=True)
    with told(f"{SCHEME}{key}"):
        found: list[Any] = system(key).get_file_info(selector)
        return found


def remove(path: Path) -> None:
    """Removes a file; there need not be one."""
    key = object_of(path)
    if not key:
        path.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError), told(address(path)):
        system(key).delete_file(key)


def remove_tree(folder: Path) -> None:
    """Removes a folder, as far as it can be."""
    shutil.rmtree(folder, ignore_errors=True)
    if key := object_of(folder):
        empty(key)


def empty(key: str) -> None:
    """Removes all objects under BUCKET/KEY, as far as they can be."""
    with contextlib.suppress(OSError):
        system(key).delete_dir(key)


def modified(path: Path) -> float:
    """When the content was written, seconds; 0 where there is none."""
    key = object_of(path)
    with told(address(path)):
        if not key:
            return path.stat().st_mtime if path.exists() else 0.0
        found = system(key).get_file_info(key).mtime
        return found.timestamp() if found else 0.0


def stamp(path: Path) -> list[Any]:
    """Changes with the content; empty where there is none."""
    key = object_of(path)
    try:
        if not key:
            stat = path.stat()
            return [stat.st_size, stat.st_mtime_ns]
        with system(key).open_input_stream(key) as stream:
            about = stream.metadata()
            return [str(about.get("ETag")), str(about.get("Last-Modified"))]
    except OSError:
        return []


def age(path: Path) -> float:
    """Seconds since the content was written, by this machine's clock."""
    return time.time() - modified(path)
