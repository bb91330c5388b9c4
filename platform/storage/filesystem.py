"""Read and write files of a store, local or in an object store.

A store `s3://BUCKET/PREFIX` has a folder on each machine, CACHE/s3/BUCKET/PREFIX, laid out like a
store on disk. A path inside that folder stands for an object, which the functions of this module
read and write; any other path stands for itself. The folder itself keeps only the files of
artifacts (`artifact_files`). All machines that work together need the same CACHE (environment
variable WSSS_CACHE).
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
"""Path pattern of one attempt to compute an artifact; `artifact_files` names its objects."""
CHUNK = 16 << 20
ATTEMPTS = 10
"""Most attempts at a request that the object store does not answer. The pause before an attempt
doubles each time; all attempts take 25 seconds, so that a job outlives an outage of 12 seconds."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def absolute(text: str, what: str) -> str:
    """Return the absolute form of a path that a user gave.

    Args:
        text: the path; `~` and `~NAME` stand for home folders.
        what: name of the option or field, for the error message.

    Raises:
        InputError: the path is empty, or is an address such as s3://BUCKET.
    """
    if not text:
        raise InputError(f"{what} is empty; it must be a path")
    if "://" in text:
        raise InputError(f"{what} is an address; it must be a path")
    return str(Path(os.path.expanduser(text)).absolute())


def cache() -> Path:
    """Return the folder in which this machine keeps files of object stores."""
    return Path(os.environ.get("WSSS_CACHE") or "~/.cache/wsss").expanduser().absolute()


def root_of(address: str) -> Path:
    """Return the folder of this machine that stands for an object store.

    Raises:
        InputError: the address is malformed, the bucket does not exist, or the object store cannot
            be reached.
    """
    if not _ADDRESS.fullmatch(address) or "/." in address:
        without_keys = re.sub(r"//.*@|\?.*", "//...", address)  # secrets are not repeated
        raise InputError(
            f"{without_keys!r} is not the address of a store; write s3://BUCKET/PREFIX, and put "
            "keys and endpoint into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_ENDPOINT_URL)"
        )
    root = cache() / "s3" / address.removeprefix(SCHEME).rstrip("/")
    _check_bucket(address.removeprefix(SCHEME).split("/")[0], *_endpoint_and_region())
    return root


@functools.cache
def _check_bucket(bucket: str, endpoint: str, region: str) -> None:
    """Check, once a process, that a bucket exists; raises InputError if it does not."""
    with storage_errors(f"{SCHEME}{bucket}"):
        info = _connected(bucket, endpoint, region, 2).get_file_info(bucket)
    if info.type.name == "NotFound":
        raise InputError(f"there is no bucket {SCHEME}{bucket}" + (endpoint and f" at {endpoint}"))


def _endpoint_and_region() -> tuple[str, str]:
    """Return endpoint and region from the environment; each is empty where it is not set."""
    variable = os.environ.get
    endpoint = variable("AWS_ENDPOINT_URL_S3") or variable("AWS_ENDPOINT_URL") or ""
    return endpoint, variable("AWS_REGION") or variable("AWS_DEFAULT_REGION") or ""


@functools.cache
def _connected(bucket: str, endpoint: str, region: str, attempts: int = 0) -> Any:
    from pyarrow import fs

    if not region:
        region = "us-east-1" if endpoint else fs.resolve_s3_region(bucket)
    scheme, _, host = endpoint.rpartition("://")

    class Patient(fs.S3FileSystem):  # type: ignore[misc]
        """An S3 file system that keeps its number of attempts when it is pickled.

        Ray Train pickles it; pyarrow's own class would lose the number.
        """

        def __reduce__(self) -> tuple[Any, ...]:
            return _connected, (bucket, endpoint, region, attempts)

    return Patient(
        region=region,
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
        connect_timeout=5,
        retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=attempts or ATTEMPTS),
        request_timeout=30,  # S3 takes a while to copy or join a large object
        allow_delayed_open=True,  # a small object then takes one request
    )


@contextlib.contextmanager
def storage_errors(address: object) -> Iterator[None]:
    """Turn errors of S3 and of the operating system into one sentence.

    Args:
        address: what the block uses, for the message.

    Raises:
        FileNotFoundError: the object or file does not exist.
        StorageError: any other OSError of the block.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:  # there is a file in the place of a folder
        raise FileNotFoundError(error.errno, error.strerror, error.filename) from error
    except OSError as error:
        reason = str(error).partition("AWS Error ")[2] or error.strerror or str(error)
        raise StorageError(f"{address} cannot be used: {reason}") from error


def object_of(path: Path) -> str:
    """Return BUCKET/KEY of the object that a path stands for, or "" for a file on disk."""
    text = str(path)
    start = f"{cache()}/s3/"
    return text.removeprefix(start) if text.startswith(start) and not ATTEMPT.search(text) else ""


def system(key: str) -> Any:
    """Return the connection to the bucket of BUCKET/KEY."""
    return _connected(key.split("/")[0], *_endpoint_and_region())


def address(path: Path) -> str:
    """Return a path as a person would write it: a path on disk, or an s3:// address."""
    key = object_of(path)
    return f"{SCHEME}{key}" if key else str(path)


def storage(path: Path) -> dict[str, Any]:
    """Return a path as keyword arguments of Ray's RunConfig."""
    key = object_of(path)
    if not key:
        return {"storage_path": str(path)}
    return {"storage_path": key, "storage_filesystem": system(key)}


def regular(path: Path) -> Path:
    """Return a path on this disk after checking that it is a regular file, or does not exist.

    A folder cannot be read, and opening a pipe would never end.

    Raises:
        InputError: there is something other than a regular file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; put a file there")
    return path


def read(path: Path) -> bytes:
    """Return the content of a file or object.

    Raises:
        FileNotFoundError: there is no such file or object.
        InputError: there is something other than a regular file.
        StorageError: the file cannot be read, or the object store cannot be used.
    """
    key = object_of(path)
    if not key:
        with storage_errors(path):
            return regular(path).read_bytes()
    with stream(key) as source:
        data: bytes = source.read()
        return data


@contextlib.contextmanager
def stream(key: str) -> Iterator[Any]:
    """Open the object BUCKET/KEY for reading; raises the same errors as `read`."""
    with storage_errors(f"{SCHEME}{key}"), system(key).open_input_file(key) as source:
        yield source


def write(path: Path, data: bytes) -> None:
    """Write a file or object so that a reader sees the old content or the new, never half of it."""
    key = object_of(path)
    if key:
        with storage_errors(address(path)), system(key).open_output_stream(key) as stream:
            stream.write(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(data)


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder of this disk, which need not exist yet.

    Raises:
        InputError: the folder cannot be written or created.
    """
    try:
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """Open a binary stream whose content replaces a file when the block ends without an error."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with part.open("wb") as stream:
            yield stream
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def append(path: Path, data: bytes) -> None:
    """Add content to the end of a file or object; an object is written anew.

    Only one process at a time may append to a path.
    """
    if not object_of(path):
        with path.open("ab") as stream:
            stream.write(data)
        return
    before = b""
    with contextlib.suppress(FileNotFoundError):
        before = read(path)
    write(path, before + data)


def send(path: Path, key: str) -> None:
    """Upload a file as BUCKET/KEY."""
    with (
        storage_errors(f"{SCHEME}{key}"),
        path.open("rb") as source,
        system(key).open_output_stream(key) as stream,
    ):
        shutil.copyfileobj(source, stream, CHUNK)


def exists(path: Path) -> bool:
    """Return whether a file or folder exists; in an object store, an empty folder does not."""
    key = object_of(path)
    with storage_errors(address(path)):
        if not key:
            return path.exists()
        return bool(system(key).get_file_info(key).type.name != "NotFound")


def names(folder: Path, suffix: str = "") -> list[str]:
    """Return the names in a folder that end in `suffix` and have no leading dot, in order.

    A folder that does not exist has no names.
    """
    key = object_of(folder)
    if key:
        entries = [info.base_name for info in listing(key, recursive=False)]
    else:
        with storage_errors(folder):
            entries = os.listdir(folder) if folder.is_dir() else []
    return sorted(n for n in entries if n.endswith(suffix) and not n.startswith("."))


def listing(key: str, recursive: bool = True) -> list[Any]:
    """Return pyarrow's `FileInfo` of each object and folder under BUCKET/KEY."""
    from pyarrow import fs

    selector = fs.FileSelector(key, recursive=recursive, allow_not_found=True)
    with storage_errors(f"{SCHEME}{key}"):
        entries: list[Any] = system(key).get_file_info(selector)
        return entries


def remove(path: Path) -> None:
    """Remove a file or object, if it exists."""
    key = object_of(path)
    if not key:
        path.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError), storage_errors(address(path)):
        system(key).delete_file(key)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all that is in it; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if key := object_of(folder):
        empty(key)


def empty(key: str) -> None:
    """Remove all objects under BUCKET/KEY; objects that cannot be removed stay."""
    with contextlib.suppress(OSError):
        system(key).delete_dir(key)


def modified(path: Path) -> float:
    """Return the time when a file or object was written, in seconds of the epoch.

    It is 0 where nothing exists.
    """
    key = object_of(path)
    with storage_errors(address(path)):
        if not key:
            return path.stat().st_mtime if path.exists() else 0.0
        time_written = system(key).get_file_info(key).mtime
        return time_written.timestamp() if time_written else 0.0


def stamp(path: Path) -> list[Any]:
    """Return a value that changes with the content of a file or object; empty if none exists."""
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
    """Return the seconds since a file or object was written, by this machine's clock."""
    return time.time() - modified(path)
