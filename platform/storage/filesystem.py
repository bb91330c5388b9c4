"""Files, folders and file locks on this machine's disk."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError

CHUNK = 16 << 20


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_address(text: str) -> bool:
    """Return whether a text is meant as an address such as s3://BUCKET, well-formed or not."""
    return "://" in text


def absolute(text: str, what: str, addresses: bool = False) -> str:
    """Return the absolute form of a path that a user gave.

    Args:
        text: the path; `~` and `~NAME` stand for home folders.
        what: name of the option or field, for the error message.
        addresses: whether an address is allowed, which is returned unchanged.

    Raises:
        InputError: the path is empty, or is an address such as s3://BUCKET that is not allowed.
    """
    if not text:
        raise InputError(f"{what} is empty; it must be a path")
    if is_address(text):
        if addresses:
            return text
        raise InputError(f"{what} is an address; it must be a path")
    return str(Path(os.path.expanduser(text)).absolute())


def cache() -> Path:
    """Return the folder in which this machine keeps files of object stores.

    The environment variable WSSS_CACHE names it; all machines that work together need the same one.
    """
    return Path(os.environ.get("WSSS_CACHE") or "~/.cache/wsss").expanduser().absolute()


def regular(path: Path) -> Path:
    """Return a path after checking that it is a regular file, or does not exist.

    A folder cannot be read, and opening a pipe would never end.

    Raises:
        InputError: there is something other than a regular file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; put a file there")
    return path


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, which need not exist yet.

    Raises:
        InputError: the folder cannot be written or created.
    """
    try:
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); choose another folder"
        ) from error


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


def write_atomic(path: Path, write: Callable[[Any], Any]) -> None:
    """Write a file that appears under its name only when it is complete.

    Args:
        path: the file.
        write: writes the content into the binary stream that it is given.
    """
    with replacing(path) as stream:
        write(stream)


def create(path: Path, data: bytes, mode: int = 0o666) -> os.stat_result | None:
    """Write a new file that appears under its name only when it is complete.

    On a file system without hard links, such as exFAT, it has its name while it is written.

    Args:
        path: the file.
        data: its content.
        mode: its permissions, less those that the process's umask takes away.

    Returns:
        The state of the file; None where there is something of its name.

    Raises:
        StorageError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with write_errors(path):
        state = _write_new(part, data, mode)
        try:
            os.link(part, path)
        except FileExistsError:
            return None
        except OSError:
            with contextlib.suppress(FileExistsError):
                return _write_new(path, data, mode)
            return None
        finally:
            part.unlink(missing_ok=True)
    return state


def _write_new(path: Path, data: bytes, mode: int) -> os.stat_result:
    """Write a file whose name is free and return its state; after an error nothing of it stays."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
        return path.stat()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it exists.

    A folder stays if another process writes into it meanwhile.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` during a block; the system frees it if the holder dies.

    Args:
        path: file of the lock.
        wait: whether to wait while another process holds the lock.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is False.
        StorageError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with write_errors(path):  # errors of the block pass unchanged
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(path.open("a"))
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock file `path`."""
    if not path.is_file():  # opening a pipe would never end
        return False
    try:
        with path.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn errors of writing on this machine's disk into one sentence.

    Args:
        path: the file or folder that the block writes.

    Raises:
        BlockingIOError: another process holds a lock, and the block does not wait for it.
        StorageError: any other OSError of the block.
    """
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def storage_errors(address: object) -> Iterator[None]:
    """Turn errors of an object store and of the operating system into one sentence.

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
