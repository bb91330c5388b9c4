"""Progress displays, which show the running step and the next one; the plain one is for logs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeAlias

from ..storage.storage import Location
from .schema import RunRecord, SweepRecord, Trial

Metrics: TypeAlias = dict[str, int | float]
"""What a training logged at one step: the step, the epoch, the loss and its terms, by name."""


class ProgressDisplay:
    """A progress display that shows nothing; the base of all displays."""

    def __reduce__(self) -> tuple[type[ProgressDisplay], tuple[()]]:
        """Return what a copy for another process or a file is made of: it shows nothing.

        Ray Tune writes the callback of a sweep to a file, and the stream of a notebook cannot be
        written there.
        """
        return ProgressDisplay, ()

    @contextlib.contextmanager
    def track(self, folder: Location, record: RunRecord | SweepRecord) -> Iterator[None]:
        """Attribute the progress of a block to a run or sweep.

        Args:
            folder: folder of the files of the run or sweep.
            record: its record, as far as it is known.
        """
        yield

    def plan(self, titles: Sequence[str]) -> None:
        """Take note of the titles of all steps, in order."""

    def start(self, title: str) -> None:
        """Begin the next step."""

    def update(self, text: str, done: int, total: int) -> None:
        """Show how far the step is: `done` of `total`, where a total of 0 is unknown."""

    def running(self, titles: Sequence[str]) -> None:
        """Show what runs side by side within the step."""

    def metrics(self, rows: Sequence[Metrics]) -> None:
        """Take note of what the training of the step has logged since the last call."""

    def trial(self, trial: Trial) -> None:
        """Take note of a trial that has ended."""

    def note(self, text: str) -> None:
        """Show a remark on the step."""

    def finish(self, cached: bool) -> None:
        """End the step; `cached` where its artifact was in the store already."""

    def close(self) -> None:
        """End the display, also in the middle of a step."""


class ForwardingDisplay(ProgressDisplay):
    """A display that passes everything on to `inner`; the base of displays that do more with it."""

    def __init__(self, inner: ProgressDisplay) -> None:
        self.inner = inner

    @contextlib.contextmanager
    def track(self, folder: Location, record: RunRecord | SweepRecord) -> Iterator[None]:
        with self.inner.track(folder, record):
            yield

    def plan(self, titles: Sequence[str]) -> None:
        self.inner.plan(titles)

    def start(self, title: str) -> None:
        self.inner.start(title)

    def update(self, text: str, done: int, total: int) -> None:
        self.inner.update(text, done, total)

    def running(self, titles: Sequence[str]) -> None:
        self.inner.running(titles)

    def metrics(self, rows: Sequence[Metrics]) -> None:
        self.inner.metrics(rows)

    def trial(self, trial: Trial) -> None:
        self.inner.trial(trial)

    def note(self, text: str) -> None:
        self.inner.note(text)

    def finish(self, cached: bool) -> None:
        self.inner.finish(cached)

    def close(self) -> None:
        self.inner.close()


class ProgressLines(ProgressDisplay):
    """A progress display in lines of text, one every few seconds.

    Args:
        stream: stream to write to (default: standard error).
        every: seconds between two lines.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 5.0) -> None:
        self.stream = stream or sys.stderr
        self.every = every
        self.titles: list[str] = []
        self.at = 0
        self.title = ""
        self.started = self.written = time.monotonic()
        self.first: tuple[float, int] | None = None

    def plan(self, titles: Sequence[str]) -> None:
        self.titles, self.at = list(titles), 0

    def start(self, title: str) -> None:
        self.at += 1
        self.title = title
        self.started = self.written = time.monotonic()
        self.first = None

    def update(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        self.first = self.first or (now, done)  # the time before does not count in the estimate
        if now - self.written < self.every:
            return
        words = [text] if text else []
        if total:
            words.append(f"{done}/{total}")
        since, before = self.first
        if total and done > before and now - since > 3:
            seconds = (now - since) * (total - done) / (done - before)
            words.append(f"about {seconds:.0f} s left")
        if words:
            self._show(", ".join(words))

    def finish(self, cached: bool) -> None:
        seconds = time.monotonic() - self.started
        self._write(f"{self._head()}  {'already there' if cached else f'{seconds:.1f} s'}")

    def note(self, text: str) -> None:
        self._write(f"{self._head()}  {text}")

    def _head(self) -> str:
        return f"[{self.at}/{max(self.at, len(self.titles))}] {self.title}"

    def _show(self, text: str) -> None:
        self.written = time.monotonic()
        following = self.titles[self.at] if self.at < len(self.titles) else ""
        after = f"  (next: {following})" if following else ""
        self._write(f"{self._head()}  {text}{after}")

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the work goes on when the reader is gone
            self.stream.write(line + "\n")
            self.stream.flush()
