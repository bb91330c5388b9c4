"""The interface of trackers, the programs beside wsss that keep and show experiments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from PIL import Image

from .pictures import confusion_picture

OBJECTIVE = "miou"
"""Name of the number by which trackers compare runs and trials."""
TARGETS = "target \\ prediction"
"""Title of the column with the targets in the table of a confusion matrix; the titles of the
other columns are the classes, of which one may well be called `target`."""
Ending = Literal["done", "failed", "stopped"]
"""How a run ended: with a result, with an error, or by a person or a scheduler."""
Row = Mapping[str, str | int | float | None]
"""A row of a table: its cells by title of the column."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run, a sweep or a trial as trackers know it before it begins.

    Attributes:
        name: name of the record; of a trial the names of its sweep and its number.
        fields: values of all fields of the experiment, by dotted name.
        tags: facts that are no fields, such as the data set and the command.
        sweep: name of the sweep that a trial belongs to; empty for a run or a sweep.
    """

    name: str
    fields: Mapping[str, object]
    tags: Mapping[str, str] = field(default_factory=dict)
    sweep: str = ""

    @property
    def is_sweep(self) -> bool:
        """Whether it is a sweep, whose trials are runs of their own."""
        return self.tags.get("kind") == "sweep"


class Tracker(ABC):
    """One run in a tracker; the base of the kinds of trackers.

    The methods raise any error of the library, which the caller turns into a warning.

    Args:
        folder: folder for files of this machine, of trackers whose library names none.
    """

    kind: ClassVar[str]
    """Name of the tracker, as in `--log`, and of the extra that installs its package."""
    package: ClassVar[str]
    """Name of the module that the tracker needs."""
    run_id: str = ""
    """Id of the run in the tracker, once it has started. Set before the start, the tracker goes on
    with the run that has this id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the tracker keeps runs: a folder, or an address with the name of a project."""

    @abstractmethod
    def check(self) -> None:
        """Check that runs can be kept, before anything is computed.

        Raises:
            InputError: the tracker cannot be reached, or lacks a setting.
        """

    @abstractmethod
    def start(self, run: TrackedRun, sweep: Tracker | None = None) -> None:
        """Begin a run with all its fields, or go on with the run that has the id `run_id`.

        Args:
            run: the run.
            sweep: tracker of the sweep that a trial belongs to, which has started.
        """

    @abstractmethod
    def scalars(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Add numbers by name at steps.

        The part of a name before its first slash names a group of numbers with common steps.

        Args:
            rows: steps and their numbers.
        """

    @abstractmethod
    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Add a table with at least one row."""

    @abstractmethod
    def image(self, name: str, picture: Image.Image) -> None:
        """Add a picture."""

    def confusion(self, name: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """Add a confusion matrix as a table and as a picture.

        Args:
            name: name of the matrix.
            classes: names of the classes, background first.
            counts: pixels by target and then by prediction.
        """
        rows: list[Row] = [
            {TARGETS: target, **dict(zip(classes, pixels, strict=True))}
            for target, pixels in zip(classes, counts, strict=True)
        ]
        self.table(name, rows)
        self.image(f"{name}/picture", confusion_picture(classes, counts))

    @abstractmethod
    def end(self, ending: Ending) -> None:
        """End the run and bring everything to where the tracker keeps it."""
