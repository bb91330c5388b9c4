"""Trackers for tests: one that keeps what it gets in memory, and one that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from PIL import Image
from wsss.platform.trackers.tracker import Ending, Row, TrackedRun, Tracker


class Recorder(Tracker):
    """A tracker whose runs are events in the order in which they came."""

    kind = "recorder"
    package = "json"
    address = "nowhere"
    events: ClassVar[list[tuple[Any, ...]]] = []

    def check(self) -> None:
        """Do nothing: it can be used."""

    def start(self, run: TrackedRun, sweep: Tracker | None = None) -> None:
        self.events.append(("start", run))

    def scalars(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self.events.append(("scalars", [*rows]))

    def table(self, name: str, rows: Sequence[Row]) -> None:
        self.events.append(("table", name, [*rows]))

    def image(self, name: str, picture: Image.Image) -> None:
        self.events.append(("image", name, picture.size))

    def end(self, ending: Ending) -> None:
        self.events.append(("end", ending))


class Broken(Recorder):
    """A tracker that fails with the first numbers."""

    kind = "broken"
    events: ClassVar[list[tuple[Any, ...]]] = []

    def scalars(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        raise OSError("the disk is full\nwrite failed")
