"""What runs right now, kept as JSON for whoever looks at the store meanwhile."""

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
"""Beside where the record will be; gone when that is written."""
EVERY = 0.5
"""Seconds between two writes, at least, while a step goes on; to an object store FAR as many."""
FAR = 20


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far something is: `record` as far as it is known, `step` of the titles (from 1), and
    what the step says of itself. `alive` is false where the process has ended without a result."""

    record: dict[str, Any]
    titles: tuple[str, ...]
    step: int
    text: str
    done: int
    total: int
    alive: bool

    def __post_init__(self) -> None:
        if min(self.step, self.done, self.total) < 0:
            raise ValueError("it has gone less than no steps")


class Recorded(Silent):
    """Progress that goes to `inner`, and inside `under` to a file as well."""

    def __init__(self, inner: Silent) -> None:
        self.inner = inner
        self.path: Path | None = None
        self.written, self.every = 0.0, EVERY
        self.row: dict[str, Any] = {"titles": [], "step": 0, "text": "", "done": 0, "total": 0}

    @contextlib.contextmanager
    def under(self, folder: Path, record: RunRecord | SweepRecord) -> Iterator[None]:
        """Keeps progress in `folder` until the block ends; after an error the last state stays.

        A lock says that this process lives. Where another process holds it, that one tells; in a
        store that cannot be written, nobody does.
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

    def note(self, text: str) -> None:
        self.inner.note(text)

    def finish(self, cached: bool) -> None:
        self.inner.finish(cached)

    def _write(self) -> None:
        if self.path:
            self.written = time.monotonic()
            with contextlib.suppress(InputError, OSError):  # nobody sees it; the work goes on
                write_json(self.path, self.row)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def is_alive(folder: Path) -> bool:
    """Whether a process holds the lock of the progress in `folder`."""
    return locks.is_held(_lock_of(folder / PROGRESS))


def read_progress(folder: Path) -> Progress | None:
    """The progress in `folder`; None where there is none.

    Raises:
        InputError: it is damaged, or something else than a file.
    """
    path = folder / PROGRESS
    try:
        row = read_json(path)
    except FileNotFoundError:
        return None
    noted = {**row, "alive": is_alive(folder)} if isinstance(row, dict) else row
    progress: Progress = record_from_json(noted, Progress, filesystem.address(path))
    return progress


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines that a training wrote, one a step; none where there is no file. A line that
    a killed process or a power cut left damaged is passed over.

    Raises:
        InputError: there is something else than a file.
    """
    return metrics_of(filesystem.read(path)) if filesystem.exists(path) else []


def metrics_of(data: bytes) -> list[dict[str, Any]]:
    """The whole lines of what a training wrote, as far as it has."""
    rows = [_metrics_of(line) for line in data.splitlines()]
    return [row for row in rows if row]


def _metrics_of(line: bytes) -> dict[str, Any] | None:
    """The metrics of a step, if the line is whole."""
    try:
        row: dict[str, Any] = typed(dict[str, int | float], from_json(line, nan=True), nan=True)
    except ValueError:
        return None
    whole = {"step", "steps", "epoch", "loss"} <= set(row) and isinstance(row["step"], int)
    return row if whole and row["step"] >= 0 else None
