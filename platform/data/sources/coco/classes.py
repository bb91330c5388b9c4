"""The classes of annotation files: which of their categories are classes, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....errors import InputError
from ....serialization import quoted
from ...names import check_classes
from ...readers.classes.class_names import BACKGROUND
from .contents import Category, Contents
from .values import zero_or_one


def class_categories(
    files: Sequence[Contents], stuff: bool = False
) -> tuple[list[list[int]], tuple[str, ...], list[str]]:
    """Choose the categories that are classes.

    Three kinds of categories are none: stuff of panoptic files (sky, grass), unless `stuff` is
    true; a category without annotation in all files that is the supercategory of all other
    categories, as Roboflow writes it; and a category without annotation in all files that is
    called background. Classes are in the order of category ids, or in the order of the file where
    an id is no number.

    Args:
        files: contents of the annotation files of a data set.
        stuff: whether stuff is a class.

    Returns:
        For each file, the numbers of the categories that are classes, in the order of the classes;
        the class names; and sentences on the choices.

    Raises:
        InputError: a name is not allowed, or two files have different categories.
    """
    used = {name for contents in files for name in _annotated_names(contents)}
    chosen: list[list[int]] = []
    classes: tuple[str, ...] = ()
    notes: list[str] = []
    for contents in files:
        left_out = _without_class(contents, used, stuff)
        rows = contents.categories
        order = rows if contents.categories_by_text else sorted(rows)
        numbers = [k for k in order if k not in left_out]
        names = check_classes(
            [rows[k].name for k in numbers],
            str(contents.path),
            {k: f"categories at byte {rows[n].start}" for k, n in enumerate(numbers)},
        )
        if chosen and names != classes:
            raise InputError(_difference(classes, names, files[0].path, contents.path))
        classes = names
        chosen.append(numbers)
        notes += _notes(contents, left_out)
    return chosen, classes, list(dict.fromkeys(notes))


def _annotated_names(contents: Contents) -> set[object]:
    """Return the names of the categories that have an annotation."""
    numbers = np.unique(np.array(contents.category, np.int64)).tolist()
    names = (contents.categories[k].name for k in numbers if k in contents.categories)
    return {name for name in names if isinstance(name, str)}


def _without_class(contents: Contents, used: set[object], stuff: bool) -> dict[int, str]:
    """Return the reasons for which categories are no classes, by number of the category."""
    reasons = {}
    rows = contents.categories
    for number, row in rows.items():
        others = (other for k, other in rows.items() if k != number)
        if contents.panoptic and not stuff and not _is_thing(row, contents.path):
            reasons[number] = (
                "is stuff (isthing 0) and counts as background; --stuff makes it a class"
            )
        elif not isinstance(row.name, str) or row.name in used:
            continue
        elif row.name.lower() in BACKGROUND:
            reasons[number] = "has no annotation and is no class, because of its name"
        elif len(rows) > 1 and all(other.supercategory == row.name for other in others):
            reasons[number] = (
                "has no annotation and is no class, because it is the supercategory of all other "
                "categories"
            )
    return reasons


def _is_thing(row: Category, path: Path) -> bool:
    try:
        return zero_or_one(row.isthing, "isthing")
    except ValueError as error:
        raise InputError(
            f"{path}, categories at byte {row.start}: {error} in a panoptic file; 1 is for objects "
            "and 0 for stuff such as sky"
        ) from None


def _notes(contents: Contents, left_out: dict[int, str]) -> list[str]:
    """Return the sentences on the choice of classes in one file."""
    categories_by_reason: dict[str, list[str]] = {}
    for number, reason in left_out.items():
        name = contents.categories[number].name
        categories_by_reason.setdefault(reason, []).append(quoted(name))
    notes = [
        f"the category {names[0]} {reason}"
        if len(names) == 1
        else f"each of {len(names)} categories, such as {names[0]}, {reason}"
        for reason, names in categories_by_reason.items()
    ]
    if contents.categories_by_text:
        notes.append("the ids of categories are texts; classes are in the order of the file")
    return notes + [
        f"the category {quoted(row.name)} has annotations and is a class beside the background"
        for number, row in contents.categories.items()
        if str(row.name).lower() in BACKGROUND and number not in left_out
    ]


def _difference(first: Sequence[str], second: Sequence[str], path: Path, other: Path) -> str:
    """Return the sentence on two files with different classes."""
    if missing := [name for name in first if name not in second]:
        detail = f"{quoted(missing[0])} is missing"
    elif added := [name for name in second if name not in first]:
        detail = f"{quoted(added[0])} is not in {path}"
    else:
        detail = "the names are in another order of ids"
    return (
        f"{other} has other categories than {path}: {detail}; give both files the same categories"
    )
