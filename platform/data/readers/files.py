"""Checks of folders, and reading of whole files of a limited size."""

from __future__ import annotations

import codecs
from pathlib import Path

from ...errors import InputError, StorageError
from ..images import MAX_PIXELS

_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors of a file that do not pass by themselves."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes of the files of images, in lower case."""
MASK_SUFFIXES = (".png", ".mat")
"""Suffixes of the files of masks, in lower case; `.mat` is a mask of SBD."""
MAX_BYTES = 8 * MAX_PIXELS
"""Largest size of a file that is read at once; no image of MAX_PIXELS has more bytes."""


def check_folder(path: str | Path, what: str) -> Path:
    """Check a folder and return its absolute path, which other processes can read, too.

    Args:
        path: the folder.
        what: what the folder is, for messages.

    Raises:
        InputError: the folder is missing or empty, or is a file.
    """
    checked = Path(path).expanduser().absolute()
    if checked.is_file():
        raise InputError(f"{checked} is a file, no {what}; unpack an archive first")
    if not checked.is_dir():
        raise InputError(f"there is no {what} {checked}")
    if not any(checked.iterdir()):
        raise InputError(f"{what} {checked} is empty")
    return checked


def check_size(path: Path) -> None:
    """Check that a file is small enough to be read at once.

    Raises:
        ValueError: the file is over MAX_BYTES.
        OSError: the file is missing.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes; at most {MAX_BYTES} are read")


def read_text(path: Path) -> str:
    """Read the text of a file without its byte order mark; each line ends with a line feed.

    The text is UTF-8, or UTF-16 after a byte order mark, as some editors and shells of Windows
    write it.

    Raises:
        InputError: the file cannot be read, is over MAX_BYTES, or is in another encoding.
    """
    try:
        check_size(path)
        data = path.read_bytes()
        wide = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not read as UTF-8 text: {error}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_file(path: Path) -> bytes:
    """Read the bytes of a file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def read_bytes(root: Path, name: str, id: str) -> bytes:
    """Read the bytes of a file that belongs to an image.

    Args:
        root: folder of the source.
        name: path of the file below the folder.
        id: image id, for messages.

    Raises:
        InputError: the file is missing, may not be read, or is over MAX_BYTES.
        StorageError: the file cannot be read now, although it may be intact.
    """
    try:
        check_size(root / name)
        return (root / name).read_bytes()
    except (*_LASTING, ValueError) as error:
        raise InputError(f"image {id} cannot be read: {error}") from error
    except OSError as error:
        raise StorageError(f"image {id} cannot be read: {error}") from error
