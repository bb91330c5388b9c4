"""Search spaces and figures of papers by their name, from `tune_spaces/` or a file."""

from __future__ import annotations

import importlib
import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypedDict

from ...errors import InputError
from ...method import methods
from ...ray_runtime.quirks.settings import set_environment
from .domains import Space
from .reading import space_from

FigureRow = tuple[float | str, Mapping[str, object], float | None]
"""Label of a point, the fields that it changes, and the mIoU in percent that the paper prints."""
SPACES_ATTRIBUTE = "SPACES"
COMBINATION = "combination"
"""Name of the field whose values, METHOD[:LOCALIZER][@BASELINE], stand for whole experiments (see
`Sweep`)."""
ADVICE_BY_FIXED_FIELD = {
    "method": f"vary {COMBINATION!r} instead",
    "localizer": f"vary {COMBINATION!r} instead",
    "data": "a sweep has one data set",
    "seed": "use --repeats instead",
}
"""Fields that no space can vary, and what to do instead."""


class PaperFigure(TypedDict):
    """A figure or table of a paper, as the `FIGURES` in `tune_spaces` list it."""

    title: str
    published: str
    panels: Mapping[str, Sequence[FigureRow]]


def find_space(method: str, text: str) -> tuple[str, Space]:
    """Return a space and its name.

    Args:
        method: name of the method whose spaces are searched for a name without a file.
        text: name of a space, or a Python file that holds `SPACES` as the files of `tune_spaces/`
            do; `FILE:NAME` where the file holds several. The file is run.

    Raises:
        InputError: there is no such space, or its value is not a space.
    """
    path, name = split_file_and_name(text)
    if path:
        spaces, where = _spaces_in_file(Path(path)), path
        if not name and len(spaces) == 1:
            name = next(iter(spaces))
    else:
        spaces, where, name = spaces_of_method(method), f"method {method!r}", text
    if name not in spaces:
        raise InputError(f"unknown space {name!r} of {where}; there are {', '.join(spaces)}")
    title = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{Path(path).stem}-{name}") if path else name
    try:
        return title, space_from(spaces[name])
    except InputError as error:
        raise InputError(f"{path}: space {name!r}: {error}" if path else str(error)) from None


def split_file_and_name(text: str) -> tuple[str, str]:
    """Return the file and the name in FILE.py[:NAME]; the file is empty where `text` has none."""
    match = re.fullmatch(r"(.*?\.py)(?::(.*))?", text, re.DOTALL)
    return (match[1], match[2] or "") if match else ("", text)


def find_figure(text: str) -> tuple[str, PaperFigure]:
    """Return the method and the figure of its paper for a text `METHOD-NAME`.

    Raises:
        InputError: there is no such figure; the message lists the figures that exist.
    """
    method, _, name = text.partition("-")
    figures: dict[str, Mapping[str, PaperFigure]] = {
        m: getattr(_module(m), "FIGURES", {}) for m in methods() if _module(m)
    }
    if name not in figures.get(method, {}):
        names = ", ".join(f"{m}-{n}" for m, of_method in figures.items() for n in of_method)
        raise InputError(f"unknown figure {text!r}; there are {names}")
    return method, figures[method][name]


def _module(method: str) -> ModuleType | None:
    set_environment()  # the file may import Ray
    name = f"wsss.tune_spaces.{method.replace('-', '_')}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # the method's file lacks a package
            raise
        return None


def spaces_of_method(method: str) -> Mapping[str, Mapping[str, object]]:
    """Return the spaces of a method, including the spaces that all methods share."""
    specific, common = _module(method), _module("common")
    return {**getattr(specific, SPACES_ATTRIBUTE, {}), **getattr(common, SPACES_ATTRIBUTE, {})}


def _spaces_in_file(path: Path) -> Mapping[str, Mapping[str, object]]:
    if not path.is_file():
        raise InputError(f"there is no {path}")
    set_environment()  # the file may import Ray
    try:
        spaces = runpy.run_path(str(path)).get(SPACES_ATTRIBUTE)
    except (Exception, SystemExit) as error:  # the file may do anything
        raise InputError(f"{path} fails: {type(error).__name__}: {error}") from error
    if not isinstance(spaces, Mapping) or not spaces:
        raise InputError(f"{path} holds no {SPACES_ATTRIBUTE}, a dict of spaces by name")
    for name, space in spaces.items():
        named = isinstance(space, Mapping) and all(isinstance(field, str) for field in space)
        if not named or not space or not isinstance(name, str):
            raise InputError(f"{path}: space {name!r} is not a dict of fields with values to try")
    return spaces
