"""What runs, how far it is and what comes next, for a terminal or a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO


class Silent:
    """Progress that nobody watches."""

    @contextlib.contextmanager
    def under(self, folder: Path, record: Any) -> Iterator[None]:
        """While the block runs, progress is that of the run or sweep `record`, whose files are in
        `folder`."""
        yield

    def plan(self, titles: Sequence[str]) -> None:
        """The titles of all steps, in order."""

    def start(self, title: str) -> None:
        """A step begins."""

    def update(self, text: str, done: int, total: int) -> None:
        """How far the step is; `total` 0 where nobody knows."""

    def note(self, text: str) -> None:
        """Something to know of the step, beside how far it is."""

    def finish(self, cached: bool) -> None:
        """The step is done, or was done before."""


class Lines(Silent):
    """One line a step, rewritten in place on a terminal; elsewhere a line every few seconds."""

    def __init__(self, stream: TextIO | None = None, every: float = 5.0) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.every = every
        self.titles: list[str] = []
        self.at = 0
        self.title = ""
        self.started = self.shown = time.monotonic()
        self.first: tuple[float, int] | None = None

    def plan(self, titles: Sequence[str]) -> None:
        self.titles, self.at = list(titles), 0

    def start(self, title: str) -> None:
        self.at += 1
        self.title = title
        self.started = time.monotonic()
        self.shown = 0.0
        self.first = None
        self._show("")

    def update(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        self.first = self.first or (now, done)  # the start does not count in the time left
        if now - self.shown < (0.2 if self.live else self.every):
            return
        parts = [text] if text else []
        if total:
            parts.append(f"{done}/{total}")
        since, before = self.first
        if total and done > before and now - since > 3:
            left = (now - since) * (total - done) / (done - before)
            parts.append(f"about {left:.0f} s left")
        self._show(", ".join(parts))

    def finish(self, cached: bool) -> None:
        seconds = time.monotonic() - self.started
        self._write(f"{self._head()}  {'already there' if cached else f'{seconds:.1f} s'}", True)

    def note(self, text: str) -> None:
        self._write(f"{self._head()}  {text}", True)

    def _head(self) -> str:
        return f"[{self.at}/{max(self.at, len(self.titles))}] {self.title}"

    def _show(self, text: str) -> None:
        self.shown = time.monotonic()
        following = self.titles[self.at] if self.at < len(self.titles) else ""
        after = f"  (next: {following})" if following else ""
        if self.live or text:
            self._write(f"{self._head()}  {text}{after}", False)

    def _write(self, line: str, final: bool) -> None:
        with contextlib.suppress(OSError):  # nobody reads it; the work goes on
            if self.live:
                self.stream.write(f"\r\x1b[2K{line}" + ("\n" if final else ""))
            else:
                self.stream.write(line + "\n")
            self.stream.flush()
