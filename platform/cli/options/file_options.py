"""Options of a command that an experiment file gives."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...serialization import quoted
from .experiment_options import (
    AblateOptions,
    CompareOptions,
    ExperimentOptions,
    FigureOptions,
    RunOptions,
    SweepOptions,
)

if TYPE_CHECKING:
    from ...method.experiment_files import ExperimentFile

SUFFIXES = (".yaml", ".yml")
"""The endings of experiment files."""
SUBJECTS: dict[type[ExperimentOptions], tuple[str, str, str]] = {
    RunOptions: ("run", "method", "method: NAME"),
    SweepOptions: ("sweep", "method", "method: NAME"),
    AblateOptions: ("ablate", "method", "method: NAME"),
    FigureOptions: ("figure", "figure", "figure: NAME"),
    CompareOptions: ("compare", "methods", "compare: {methods: [NAME, NAME]}"),
}
"""By kind of options: the section of a file that gives them, the argument in whose place a file may
stand, and how a file gives this argument."""
TEXTS = ("method", "localizer", "preset", "recipe", "data", "imported")
"""The fields of an experiment that are texts, and options of the same name."""


def with_file(options: ExperimentOptions, given: Collection[str]) -> ExperimentOptions:
    """Return the options with those that the experiment file of a command gives.

    Args:
        options: options of the command line, whose method, figure or methods may be a file.
        given: names of the options that the command line gives, which count more than the file's.

    Raises:
        InputError: the file cannot be read, holds something that is not allowed there, or lacks the
            method, figure or methods of the command.
    """
    section, subject, example = SUBJECTS[type(options)]
    value = getattr(options, subject)
    words = value if isinstance(value, tuple) else (value,)
    if not words[0].endswith(SUFFIXES):
        return options
    from ...method.experiment_files import ExperimentFile

    file = ExperimentFile.read(Path(os.path.expanduser(words[0])))
    values = _values(file, section)
    if words[1:]:
        values[subject] = words[1:]
    if not values.get(subject):
        raise InputError(f"{file.path}: it gives no {subject}; write {example}")
    names = {field.name for field in dataclasses.fields(options)} - {*given} | {subject}
    kept = {name: v for name, v in values.items() if name in names}
    return dataclasses.replace(options, file=file, **kept)


def _values(file: ExperimentFile, section: str) -> dict[str, Any]:
    """Return the options that a file gives, by name.

    Raises:
        InputError: the random seed is no whole number.
    """
    from ...config.fields import fields_of
    from ...method.sections import SECTIONS

    values: dict[str, Any] = {name: file.text(name) for name in TEXTS if name in file.fields}
    if file.baseline:
        values["baseline"] = file.baseline
    if "seed" in file.fields:
        entry = file.fields["seed"]
        seed = entry.value
        if not isinstance(seed, int):
            several = "seeds" if "seeds" in fields_of(SECTIONS[section]) else "repeats"
            raise InputError(
                f"{entry.place}: seed is {quoted(seed)}; it must be one whole number, and several "
                f"seeds are for {section}.{several}"
            )
        values |= {"seed": seed, "seeds": (seed,)}
    if file.space:
        values["space"] = ""
    for name, value in file.options(section).items():
        name = "figure" if (section, name) == ("figure", "name") else name
        values[name] = tuple(value) if isinstance(value, list) else value
    return values
