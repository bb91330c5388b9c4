"""Reading of lists of image ids."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ..names import check_id
from .files import read_text


def read_list(path: Path) -> list[str]:
    """Read the ids of a list file from the first column of each line.

    Raises:
        InputError: the file is missing or empty, or an id is not allowed or listed twice.
    """
    if not path.is_file():
        raise InputError(f"there is no list {path}")
    ids = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
    if not ids:
        raise InputError(f"list {path} is empty")
    seen: set[str] = set()
    for id in ids:
        try:
            check_id(id)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if id in seen:
            raise InputError(f"list {path} names {id} twice")
        seen.add(id)
    return ids
