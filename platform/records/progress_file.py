"""Progress files, which show other processes how far a run or sweep is, and training metrics."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..serialization import from_json, typed
from ..storage.json_files import Readable, read_json, record_from_json, write_json
from ..storage.storage import Location
from .progress import ForwardingDisplay, Metrics, ProgressDisplay, ProgressLines
from .schema import RunRecord, SweepRecord

PROGRESS = "progress.json"
"""Name of the progress file, in the folder of the record; removed when the record is written."""
LOCK = "progress.lock"
"""Name of the lock that the process holds which writes the progress file."""
WRITE_INTERVAL = 0.5
"""Least seconds between two writes of a step's progress on disk."""
METRICS = "metrics.jsonl"
"""Name of the file with a training's metrics, in the folder of its artifact."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a run or sweep.

    Attributes:
        record: JSON form of the record, as far as it is known.
        titles: titles of all steps.
        step: number of the running step, from 1 on; 0 before the first.
        text: what the step reports in words.
        done: finished units of the step.
        total: units of the step; 0 where the number is unknown.
        alive: whether the process still runs; False where it ended without a result.
    """

    record: dict[str, object]
    titles: tuple[str, ...]
    step: int
    text: str
    done: int
    total: int
    alive: bool

    def __post_init__(self) -> None:
        if min(self.step, self.done, self.total) < 0:
            raise ValueError("its step, done or total is negative")


class ProgressRecorder(ForwardingDisplay):
    """A display that passes progress on to `inner`, and inside `track` also writes it to a file."""

    def __init__(self, inner: ProgressDisplay) -> None:
        super().__init__(inner)
        self.file: Location | None = None
        self.written, self.every = 0.0, WRITE_INTERVAL
        self.step = 0
        self.row: dict[str, object] = {"titles": [], "step": 0, "text": "", "done": 0, "total": 0}

    @contextlib.contextmanager
    def track(self, folder: Location, record: RunRecord | SweepRecord) -> Iterator[None]:
        """Write progress to a file during a block; after an error the last state stays.

        A lock shows that this process lives. Nothing is written where another process holds the
        lock, as that process reports, or where the store cannot be written.

        Args:
            folder: folder of the file.
            record: record of the run or sweep, as far as it is known.
        """
        file, lock = folder / PROGRESS, folder / LOCK
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock.lock(wait=False))
            except (InputError, BlockingIOError):
                yield
                return
            self.file, self.row = file, {**self.row, "record": record}
            self.every = WRITE_INTERVAL * folder.storage.pace
            self._write()
            try:
                yield
                with contextlib.suppress(InputError):  # the work is done and recorded
                    file.remove()
                    lock.remove()
            finally:
                self.file = None

    def plan(self, titles: Sequence[str]) -> None:
        self.inner.plan(titles)
        self.step = 0
        self.row |= {"titles": list(titles), "step": 0}

    def start(self, title: str) -> None:
        self.inner.start(title)
        self.step += 1
        self.row |= {"step": self.step, "text": "", "done": 0, "total": 0}
        self._write()

    def update(self, text: str, done: int, total: int) -> None:
        self.inner.update(text, done, total)
        self.row |= {"text": text, "done": done, "total": total}
        if time.monotonic() - self.written >= self.every:
            self._write()

    def _write(self) -> None:
        if self.file:
            self.written = time.monotonic()
            with contextlib.suppress(InputError):  # the work goes on without the file
                write_json(self.file, self.row)


@contextlib.contextmanager
def progress_display(quiet: bool = False) -> Iterator[ProgressRecorder]:
    """Yield a display of progress on standard error, which also writes progress files.

    Args:
        quiet: whether nothing is shown; otherwise bars on a terminal, and lines elsewhere.
    """
    display = ProgressDisplay() if quiet else ProgressLines()
    if not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from .terminal_progress import Terminal

        display = Terminal()
    try:
        yield ProgressRecorder(display)
    finally:
        display.close()


def is_alive(folder: Location) -> bool:
    """Return whether a process holds the lock of the progress file in `folder`."""
    return (folder / LOCK).is_locked()


def read_progress(folder: Location) -> Progress | None:
    """Return the progress in `folder`, or None where there is no progress file.

    Raises:
        InputError: the file is damaged, or is not a regular file.
    """
    file = folder / PROGRESS
    try:
        row = read_json(file)
    except FileNotFoundError:
        return None
    fields = {**row, "alive": is_alive(folder)} if isinstance(row, dict) else row
    progress: Progress = record_from_json(fields, Progress, file)
    return progress


def read_metrics(file: Readable) -> list[Metrics]:
    """Return the metrics that a training wrote, one row for each step that was logged.

    Without a file there are no rows. A line that a killed process or a power cut left damaged is
    skipped.

    Raises:
        InputError: `file` is not a regular file.
    """
    try:
        return parse_metrics(file.read())
    except FileNotFoundError:
        return []


def parse_metrics(data: bytes) -> list[Metrics]:
    """Return the rows of a metrics file's content, skipping damaged lines."""
    rows = [_row_of(line) for line in data.splitlines()]
    return [row for row in rows if row]


def _row_of(line: bytes) -> Metrics | None:
    """Return the metrics in one line, or None if the line is damaged."""
    try:
        row: Metrics = typed(dict[str, int | float], from_json(line, nan=True), nan=True)
    except ValueError:
        return None
    whole = {"step", "steps", "epoch", "loss"} <= set(row) and isinstance(row["step"], int)
    return row if whole and row["step"] >= 0 else None
