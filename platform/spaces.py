"""Search spaces: values to try by dotted field, those of `tune_spaces/` or a user's own."""

from __future__ import annotations

import importlib
import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import InputError
from .method import methods

Space = Mapping[str, Sequence[Any]]
ATTRIBUTE = "SPACES"
COMBINATION = "combination"
"""The field of a space whose values, METHOD[:LOCALIZER][@HOST], are whole experiments (see
`trial.Sweep`)."""
UNVARIED = {
    "method": f"{COMBINATION!r} varies it",
    "localizer": f"{COMBINATION!r} varies it",
    "data": "a sweep has one data set",
    "seed": "--repeats tries several",
}
"""Fields that no space varies, and what to do instead."""


def find(method: str, text: str) -> tuple[str, Space]:
    """A space and its name.

    Args:
        method: whose spaces a plain name is looked up in.
        text: a name, or a Python file that holds `SPACES` as those of `tune_spaces/` do;
            `FILE:NAME` where it holds several. The file is run.

    Raises:
        InputError: there is no such space, or it is none.
    """
    path, name = file_of(text)
    if path:
        found, where = _of_file(Path(path)), path
        if not name and len(found) == 1:
            name = next(iter(found))
    else:
        found, where, name = _of_method(method), f"method {method!r}", text
    if name not in found:
        raise InputError(f"unknown space {name!r} of {where}; there are {', '.join(found)}")
    title = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{Path(path).stem}-{name}") if path else name
    return title, found[name]


def file_of(text: str) -> tuple[str, str]:
    """The file and the name that FILE.py[:NAME] gives; no file where `text` is another name."""
    parts = re.fullmatch(r"(.*?\.py)(?::(.*))?", text, re.DOTALL)
    return (parts[1], parts[2] or "") if parts else ("", text)


def figure(text: str) -> tuple[str, Mapping[str, Any]]:
    """The method and the figure of its paper that `METHOD-NAME` stands for.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    method, _, name = text.partition("-")
    every = {m: getattr(_module(m), "FIGURES", {}) for m in methods() if _module(m)}
    if name not in every.get(method, {}):
        names = ", ".join(f"{m}-{n}" for m, of in every.items() for n in of)
        raise InputError(f"unknown figure {text!r}; there are {names}")
    found: Mapping[str, Any] = every[method][name]
    return method, found


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"wsss.tune_spaces.{name}")
    except ModuleNotFoundError:
        return None


def _of_method(method: str) -> Mapping[str, Space]:
    """The spaces of a method, and those that any has."""
    own, common = _module(method), _module("common")
    return {**getattr(own, ATTRIBUTE, {}), **getattr(common, ATTRIBUTE, {})}


def _of_file(path: Path) -> Mapping[str, Space]:
    if not path.is_file():
        raise InputError(f"there is no {path}")
    try:
        found = runpy.run_path(str(path)).get(ATTRIBUTE)
    except (Exception, SystemExit) as error:  # whatever the file does
        raise InputError(f"{path} fails: {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{path} holds no {ATTRIBUTE}, a dict of spaces by name")
    for name, space in found.items():
        listed = isinstance(space, Mapping) and all(
            isinstance(k, str) and isinstance(v, list | tuple) and len(v) for k, v in space.items()
        )
        if not listed or not space or not isinstance(name, str):
            raise InputError(f"{path}: space {name!r} is no dict of fields with values to try")
    return found
