"""Options whose values are a path each, with or without the split that the path belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import InputError


def split_and_path(text: str) -> tuple[str, str]:
    """Divide `[SPLIT=]PATH` into `SPLIT=`, or an empty text, and the path."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*=", text)
    return (match[0], text[match.end() :]) if match else ("", text)


def path_by_split(option: str, values: Sequence[str], default: str = "") -> dict[str, str]:
    """Return the paths of an option whose values are `[SPLIT=]PATH`, by split.

    Args:
        option: name of the option, for messages.
        values: values of the option.
        default: split of a path without split.

    Raises:
        InputError: two paths are of one split, or a path without split stands for all splits
            beside paths of one split.
    """
    paths: dict[str, str] = {}
    for text in values:
        start, path = split_and_path(text)
        split = start.removesuffix("=") or default
        if split in paths:
            which = f"the split {split}" if split else "all splits"
            raise InputError(f"{option} has two paths of {which}; write SPLIT=PATH for each")
        paths[split] = path
    if "" in paths and len(paths) > 1:
        raise InputError(
            f"{option} has one path for all splits and a path for one split; write SPLIT=PATH for "
            "each"
        )
    return paths
