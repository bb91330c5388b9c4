"""Checks of the names of images, classes, splits and records."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from ..errors import InputError
from ..serialization import quoted

MOST_CLASSES = 254
"""Largest number of classes: a mask has one byte per pixel, 0 for background and 255 for void."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, surrogates and line breaks."""


def check_id(id: str) -> str:
    """Check that an image id can be a file name and return it.

    An id has up to 200 letters, digits, dots, underscores and dashes. It may begin with a dash, as
    the names of video frames do, because it never stands alone on a command line.

    Raises:
        InputError: the id is not allowed.
    """
    if not _ID.fullmatch(id) or id in (".", ".."):
        raise InputError(
            f"image id {quoted(id)} is not allowed; an id is made of A-Z, a-z, 0-9, '.', '_' and "
            "'-', 200 at most"
        )
    return id


def check_name(name: str) -> str:
    """Check that a record in the store or a split can have a name and return the name.

    A name has the characters of an id, see `check_id`, and begins with a letter or a digit, so
    that it is neither a hidden file nor mistaken for an option.

    Raises:
        InputError: the name is not allowed.
    """
    if not is_name(name):
        raise InputError(
            f"the name {quoted(name)} is not allowed; a name is made of A-Z, a-z, 0-9, '.', '_' "
            "and '-', 200 at most, and begins with a letter or a digit"
        )
    return name


def is_name(text: str) -> bool:
    """Return whether a record in the store or a split can have a text as its name."""
    return _NAME.fullmatch(text) is not None


def check_classes(
    names: Sequence[object], where: str, positions: Mapping[int, str] | None = None
) -> tuple[str, ...]:
    """Check the class names of a data set and return them.

    A data set has 1 to MOST_CLASSES different names of up to 200 characters, without control
    characters and surrogates.

    Args:
        names: class names, in the order of the classes.
        where: file of the names, for messages.
        positions: position of each name in the file by index, where known, for messages.

    Raises:
        InputError: a name is not allowed, or there are too many or no names.
    """
    if not 1 <= len(names) <= MOST_CLASSES:
        raise InputError(
            f"{where} names {len(names)} classes; a data set has 1 to {MOST_CLASSES} of them"
        )
    known: set[str] = set()
    for index, name in enumerate(names):
        position = f"{where}, {positions[index]}" if positions else where
        fault = _class_fault(name)
        if fault:
            raise InputError(f"{position}: the class name {ascii(name)[:80]} {fault}")
        if name in known:
            raise InputError(f"{position}: the class name {name!r} is listed twice; list it once")
        known.add(str(name))
    return tuple(map(str, names))


def _class_fault(name: object) -> str:
    """Return the fault of one class name, or an empty text for an allowed name."""
    if not isinstance(name, str):
        return "is no text"
    if not name.strip():
        return "is empty"
    if any(unicodedata.category(c) in _UNSEEN for c in name):
        return "holds a control character or a surrogate"
    return "has over 200 characters" if len(name) > 200 else ""
