"""Reading of labels in JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ....errors import InputError
from ....serialization import quoted
from ..files import read_text
from .rows import LabelRows, Row, cell_of, rows_by_id
from .tables import IDS, LABELS, SPLIT


def read(path: Path) -> LabelRows:
    """Read an object from image ids to labels, or a list of objects with `id` and `labels`.

    Labels are names or indices, in a list or alone.

    Raises:
        InputError: the file is no such JSON file, or names an image twice.
    """
    try:
        content = json.loads(read_text(path), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {str(error)[:200]}") from error
    if isinstance(content, list):
        entries = [_entry(entry, f"entry {k}", path) for k, entry in enumerate(content, 1)]
    elif isinstance(content, dict) and {"images", "annotations"} <= set(content):
        raise InputError(f"{path} is an annotation file of COCO; wsss data coco reads such files")
    elif isinstance(content, dict):
        entries = [(f"entry {k}", id, v, None) for k, (id, v) in enumerate(content.items(), 1)]
    else:
        raise InputError(f"{path} holds {quoted(content)}, not labels by image id")
    rows = [
        Row(id, position, cell_of(value, f"{path}, {quoted(id)}"), split)
        for position, id, value, split in entries
    ]
    return LabelRows(by_id=rows_by_id(rows, path))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, or raise ValueError for a key that it has twice."""
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in out if keys.count(key) > 1)
        raise ValueError(f"it has the key {quoted(twice)} twice")
    return out


def _entry(entry: object, position: str, path: Path) -> tuple[str, str, object, str | None]:
    """Return the position, the id, the labels and the split of an object of a list."""
    if isinstance(entry, dict):
        id = next((entry[name] for name in IDS if name in entry), None)
        named = [name for name in LABELS if name in entry]
        split = entry.get(SPLIT)
        if isinstance(id, str | int) and named and isinstance(split, str | None):
            return position, str(id), entry[named[0]], split
    raise InputError(f"{path}, {position} is no object with id and labels")
