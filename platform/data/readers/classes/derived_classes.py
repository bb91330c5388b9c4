"""Class names that are taken from the labels of a file, where no file of classes names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from ....errors import InputError
from ....serialization import quoted
from ...names import check_classes
from .class_names import BACKGROUND, SEPARATORS, spelling_key

Label: TypeAlias = str | tuple[str, ...]
"""Labels of one image: a text to divide into names, or names."""
MISSING = ("nan", "<na>", "n/a", "#n/a", "null", "none")
"""What programs write for a missing value, in small letters."""
_SEPARATOR = re.compile(f"[{re.escape(SEPARATORS)}]")


def is_separated(cells: Mapping[str, Label]) -> bool:
    """Return whether a separator divides the names of any cell, so that blanks divide none."""
    return any(isinstance(cell, str) and _SEPARATOR.search(cell) for cell in cells.values())


def derived_classes(cells: Mapping[str, Label], path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Return the class names among the labels of a file, sorted, and notes on names with blanks.

    A semicolon, a bar or a comma divides names. Without them a text such as "cat dog" is two names
    if both words also stand alone in the file; else it may be one name.

    Args:
        cells: labels by image id.
        path: the file, for messages.

    Raises:
        InputError: a text may be one name or several, two names differ in their spelling alone,
            or a name is not allowed or stands for a missing value.
    """
    id_by_name: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for id, cell in cells.items():
        parts = _SEPARATOR.split(cell) if isinstance(cell, str) else list(map(str, cell))
        for name in filter(None, map(str.strip, parts)):
            alone = isinstance(cell, str) and len(parts) == 1
            (doubtful if alone and len(name.split()) > 1 else id_by_name).setdefault(name, id)
    notes = []
    if doubtful:
        notes = _divide_or_keep(doubtful, id_by_name, is_separated(cells), path)
    names = sorted(name for name in id_by_name if name.casefold() not in BACKGROUND)
    _check_missing(names, id_by_name, path)
    _check_spellings(names, id_by_name, path)
    spaced = [repr(name) for name in names if len(name.split()) > 1]
    if spaced:
        notes.append(f"{path.name}: names with blanks are one class each: {', '.join(spaced[:8])}")
    ids = {index: id_by_name[name] for index, name in enumerate(names)}
    return check_classes(names, str(path), ids), notes


def _divide_or_keep(
    doubtful: Mapping[str, str], id_by_name: dict[str, str], separated: bool, path: Path
) -> list[str]:
    """Settle whether texts with blanks are one name or several, and return a note.

    Args:
        doubtful: id of an image by the text that is its label.
        id_by_name: id of an image by name; names are added.
        separated: whether a separator divides names anywhere in the file.
        path: the file, for messages.
    """
    divided = []
    for text, id in doubtful.items():
        all_alone = all(word in id_by_name for word in text.split())
        if text in id_by_name or (separated and not all_alone):
            id_by_name.setdefault(text, id)
        elif separated or not all_alone:
            raise InputError(
                f"{path}, {id}: the label {quoted(text)} may be one class or several; divide "
                "names by ';', also a name alone ('name;'), or list the classes in classes.txt"
            )
        else:
            divided.append(text)
    if not divided:
        return []
    return [
        f"{path.name}: blanks divide names, as in {quoted(divided[0])}, since each word is also "
        "the label of an image"
    ]


def _check_missing(names: list[str], id_by_name: Mapping[str, str], path: Path) -> None:
    """Check that no name is what programs write for a missing value."""
    for name in names:
        if name.casefold() in MISSING:
            raise InputError(
                f"{path}, {id_by_name[name]}: the label {quoted(name)} may be a missing value; "
                "leave the labels of such an image empty, or list the classes in classes.txt"
            )


def _check_spellings(names: list[str], id_by_name: Mapping[str, str], path: Path) -> None:
    """Check that no two names differ in their spelling alone, such as Cat and cat."""
    name_by_key: dict[str, str] = {}
    for name in names:
        other = name_by_key.setdefault(spelling_key(name), name)
        if other is not name:
            raise InputError(
                f"{path}, {id_by_name[name]}: the labels {quoted(other)} and {quoted(name)} may be "
                "one class; spell it in one way, or list the classes in classes.txt"
            )
