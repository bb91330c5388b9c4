"""Numbers, ids and file names of annotation files, checked one by one."""

from __future__ import annotations

from pathlib import PurePosixPath

from ....serialization import quoted
from ...names import check_id

FIRST_TEXT = 1 << 62
"""Smallest number that stands for an id that is a text; numbers in files are below."""
LONGEST_NAME, LONGEST_PART = 1000, 255
"""Largest number of bytes of a file name with its folders, and of one folder or file."""


def whole_number(value: object, top: int = FIRST_TEXT) -> int:
    """Return a value that is a whole number from 0 to below `top`; 640.0 is a whole number.

    Raises:
        ValueError: the value is no such number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < top:
        raise ValueError(f"{quoted(value)} is no whole number from 0 to below {top}")
    return value


def zero_or_one(value: object, name: str) -> bool:
    """Return whether a value such as `iscrowd` is 1; 0, 1, "0", "1", true and false are allowed.

    Raises:
        ValueError: the value is something else.
    """
    if value not in (0, 1, "0", "1"):
        raise ValueError(f"{name} is {quoted(value)}; it must be 0 or 1")
    return value in (1, "1")


def id_number(value: object, number_by_text: dict[str, int]) -> int:
    """Return the number of an id.

    An id is a whole number, a text that is such a number ("7", but not "007"), or another text.

    Args:
        value: id of an image, a category or an annotation.
        number_by_text: numbers of the other texts, from FIRST_TEXT on; a new text is added.

    Raises:
        ValueError: the value is neither.
    """
    if not isinstance(value, str):
        return whole_number(value)
    if value.isascii() and value.isdecimal() and len(value) < 19:
        number = int(value)
        if str(number) == value and number < FIRST_TEXT:
            return number
    if not 1 <= len(value) <= LONGEST_NAME:
        raise ValueError(f"the id {quoted(value)} has {len(value)} characters")
    return number_by_text.setdefault(value, FIRST_TEXT + len(number_by_text))


def relative_path(name: object) -> str:
    """Return a file name of an annotation file as a path with forward slashes.

    A path of another machine, such as C:\\images\\a.jpg, becomes C:/images/a.jpg; its last part is
    found in the folder of images.

    Raises:
        ValueError: the name is no text, is too long, or leads out of the folder of images.
    """
    if not isinstance(name, str):
        raise ValueError(f"the file name {quoted(name)} is no text")
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise ValueError(
            f"the file name {quoted(name)} is no path below a folder of images; write it without "
            "'..', such as images/a.jpg"
        )
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(sizes) > LONGEST_PART or sum(sizes) + len(sizes) > LONGEST_NAME:
        raise ValueError(f"the file name {quoted(name)} is too long")
    return "/".join(parts)


def image_id(path: str) -> str:
    """Return the id of an image, its file name without folders and suffix.

    Raises:
        InputError: the id is not allowed.
    """
    return check_id(PurePosixPath(path).stem)
