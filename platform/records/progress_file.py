"""Progress files, which show other processes how far a run or sweep is, and training metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..serialization import from_json, typed
from ..storage import filesystem, locks
from ..storage.json_files import read_json, record_from_json, write_json
from .progress import Silent
from .schema import RunRecord, SweepRecord

PROGRESS = "progress.json"
"""Name of the progress file, in the folder of the record; removed when the record is written."""
EVERY = 0.5
"""Least seconds between two writes of a step's progress; FAR times as many in an object store."""
FAR = 20


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

    record: dict[str, Any]
    titles: tuple[str, ...]
    step: int
    text: str
    done: int
    total: int
    alive: bool

    def __post_init__(self) -> None:
        if min(self.step, self.done, self.total) < 0:
            raise ValueError("its step, done or total is negative")


class Recorded(Silent):
    """A display that passes progress on to `inner`, and inside `under` also writes it to a file."""

    def __init__(self, inner: Silent) -> None:
        self.inner = inner
        self.path: Path | None = None
        self.written, self.every = 0.0, EVERY
        self.row: dict[str, Any] = {"titles": [], "step": 0, "text": "", "done": 0, "total": 0}

    @contextlib.contextmanager
    def under(self, folder: Path, record: RunRecord | SweepRecord) -> Iterator[None]:
        """Write progress to a file during a block; after an error the last state stays.

        A lock shows that this process lives. Nothing is written where another process holds the
        lock, as that process reports, or where the store cannot be written.

        Args:
            folder: folder of the file.
            record: record of the run or sweep, as far as it is known.
        """
        path = folder / PROGRESS
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.held(_lock_of(path), wait=False))
            except (InputError, OSError):
                yield
                return
            self.path, self.row = path, {**self.row, "record": record}
            self.every = EVERY * (FAR if filesystem.object_of(path) else 1)
            self._write()
            try:
                yield
                filesystem.remove(path)
                filesystem.remove(_lock_of(path))
            finally:
                self.path = None

    def plan(self, titles: Sequence[str]) -> None:
        self.inner.plan(titles)
        self.row |= {"titles": list(titles), "step": 0}

    def start(self, title: str) -> None:
        self.inner.start(title)
        self.row |= {"step": self.row["step"] + 1, "text": "", "done": 0, "total": 0}
        self._write()

    def update(self, text: str, done: int, total: int) -> None:
        self.inner.update(text, done, total)
        self.row |= {"text": text, "done": done, "total": total}
        if time.monotonic() - self.written >= self.every:
            self._write()

    def running(self, titles: Sequence[str]) -> None:
        self.inner.running(titles)

    def note(self, text: str) -> None:
        self.inner.note(text)

    def finish(self, cached: bool) -> None:
        self.inner.finish(cached)

    def close(self) -> None:
        self.inner.close()

    def _write(self) -> None:
        if self.path:
            self.written = time.monotonic()
            with contextlib.suppress(InputError, OSError):  # the work goes on without the file
                write_json(self.path, self.row)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def is_alive(folder: Path) -> bool:
    """Return whether a process holds the lock of the progress file in `folder`."""
    return locks.is_held(_lock_of(folder / PROGRESS))


def read_progress(folder: Path) -> Progress | None:
    """Return the progress in `folder`, or None where there is no progress file.

    Raises:
        InputError: the file is damaged, or is not a regular file.
    """
    path = folder / PROGRESS
    try:
        row = read_json(path)
    except FileNotFoundError:
        return None
    fields = {**row, "alive": is_alive(folder)} if isinstance(row, dict) else row
    progress: Progress = record_from_json(fields, Progress, filesystem.address(path))
    return progress


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the metrics that a training wrote, one row for each step that was logged.

    Without a file there are no rows. A line that a killed process or a power cut left damaged is
    skipped.

    Raises:
        InputError: `path` is not a regular file.
    """
    return metrics_of(filesystem.read(path)) if filesystem.exists(path) else []


def metrics_of(data: bytes) -> list[dict[str, Any]]:
    """Return the rows of a metrics file's content, skipping damaged lines."""
    rows = [_row_of(line) for line in data.splitlines()]
    return [row for row in rows if row]


def _row_of(line: bytes) -> dict[str, Any] | None:
    """Return the metrics in one line, or None if the line is damaged."""
    try:
        row: dict[str, Any] = typed(dict[str, int | float], from_json(line, nan=True), nan=True)
    except ValueError:
        return None
    whole = {"step", "steps", "epoch", "loss"} <= set(row) and isinstance(row["step"], int)
    return row if whole and row["step"] >= 0 else None
