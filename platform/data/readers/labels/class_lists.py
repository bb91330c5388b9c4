"""Reading of VOC's lists of one class, `ImageSets/Main/cat_trainval.txt`, as labels of images."""

from __future__ import annotations

import re
from pathlib import Path

from ....errors import InputError
from ..files import read_text
from .rows import LabelRows, Row, rows_by_id

_FILE = re.compile(r"(.+)_(?:trainval|train|val|test)\.txt")
PRESENT = {"-1": False, "0": True, "1": True, "+1": True}
"""Whether an image has the class by the number in a list; 0 marks difficult objects alone."""


def read(folder: Path) -> LabelRows:
    """Read lists with an image and -1, 0 or 1 in each line, one or more files for each class.

    Raises:
        InputError: the folder has no such list, two lists contradict each other, or an image is
            missing in the lists of a class.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match and path.is_file():
            files.setdefault(match[1], []).append(path)
    if not files:
        raise InputError(
            f"the folder {folder} has no lists of classes, such as cat_trainval.txt with an id and "
            "-1, 0 or 1 in each line"
        )
    flags = {name: _flags(paths) for name, paths in files.items()}
    ids = {id for flag_by_id in flags.values() for id in flag_by_id}
    rows = []
    for id in sorted(ids):
        absent = next((name for name, flag_by_id in flags.items() if id not in flag_by_id), None)
        if absent:
            raise InputError(f"{folder}: no list of the class {absent} names image {id}")
        present = tuple(name for name in flags if PRESENT[flags[name][id]])
        rows.append(Row(id, f"image {id}", present))
    difficult = sum(flag == "0" for flag_by_id in flags.values() for flag in flag_by_id.values())
    note = (
        f"{folder.name}: {len(files)} classes have lists of -1, 0 and 1; 0 (difficult objects "
        f"alone, {difficult} cases) counts as present"
    )
    return LabelRows(by_id=rows_by_id(rows, folder), columns=tuple(flags), notes=(note,))


def _flags(paths: list[Path]) -> dict[str, str]:
    """Return -1, 0 or 1 by image id from the lists of one class."""
    out: dict[str, str] = {}
    for path in paths:
        for number, line in enumerate(read_text(path).split("\n"), 1):
            words = line.split()
            if not words:
                continue
            if len(words) != 2 or words[1] not in PRESENT:
                raise InputError(f"{path}, line {number} is no image id with -1, 0 or 1")
            if out.setdefault(words[0], words[1]) != words[1]:
                raise InputError(
                    f"{path}, line {number}: image {words[0]} has {words[1]}, but "
                    f"{out[words[0]]} in another line or list of the class"
                )
    return out
