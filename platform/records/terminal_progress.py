"""A progress display for a terminal, drawn with Rich."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from .progress import ProgressDisplay

SHOWN = 3
"""Most steps to come that are listed; further ones are counted."""
NARROW = 70
"""Width in columns below which a terminal gets neither a bar nor a rate."""


class Terminal(ProgressDisplay):
    """A progress display on a terminal.

    Steps that are done stay as lines. Below them are the running step with a bar, its rate and the
    time left, what runs side by side within it, and the next steps; this part is redrawn in place,
    and disappears at the end.

    Args:
        descriptor: file descriptor of the terminal, which is copied, as Ray's start redirects
            standard error.
    """

    def __init__(self, descriptor: int = 2) -> None:
        self.stream = os.fdopen(os.dup(descriptor), "w", errors="replace")
        self.console = Console(file=self.stream, highlight=False)
        self.titles: list[str] = []
        self.title, self.at = "", 0
        self.started = 0.0
        self.since: dict[str, float] = {}
        self.bar = Progress(*_columns(self.console), console=self.console, expand=True)
        self.task = self.bar.add_task("", words="")
        self.live: Live | None = None

    def __reduce__(self) -> tuple[type[ProgressDisplay], tuple[()]]:
        """Return what a copy in another process is: a display that shows nothing."""
        return ProgressDisplay, ()

    def plan(self, titles: Sequence[str]) -> None:
        self.titles, self.at = list(titles), 0

    def start(self, title: str) -> None:
        self.at += 1
        self.title = f"[{self.at}/{max(self.at, len(self.titles))}] {title}"
        self.started, self.since = time.monotonic(), {}
        self.bar.remove_task(self.task)
        self.task = self.bar.add_task(self.title, total=None, words="")
        self._draw()

    def update(self, text: str, done: int, total: int) -> None:
        self.bar.update(self.task, completed=done, total=total or None, words=text)

    def running(self, titles: Sequence[str]) -> None:
        now = time.monotonic()
        self.since = {title: self.since.get(title, now) for title in titles}
        self._draw()

    def note(self, text: str) -> None:
        self._print(Text.assemble(("! ", "yellow"), f"{self.title}  {text}"))

    def finish(self, cached: bool) -> None:
        seconds = f"{time.monotonic() - self.started:.1f} s"
        words = (f"  {'already there' if cached else seconds}", "dim")
        mark = "+ " if self.console.options.ascii_only else "✓ "
        self.since = {}
        self.bar.update(self.task, visible=False)
        self._draw()
        self._print(Text.assemble((mark, "green"), self.title, words))
        if self.at >= len(self.titles):
            self.close()

    def close(self) -> None:
        live, self.live = self.live, None
        if live:
            with contextlib.suppress(OSError):
                live.stop()

    def _draw(self) -> None:
        """Draw what runs, from now on four times a second."""
        with contextlib.suppress(OSError):  # the work goes on when the terminal is gone
            if self.live:
                self.live.refresh()
                return
            self.live = Live(
                get_renderable=self._rendered,
                console=self.console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
            )
            self.live.start(refresh=True)

    def _print(self, line: Text) -> None:
        with contextlib.suppress(OSError):
            self.console.print(line, soft_wrap=True)

    def _rendered(self) -> Group:
        """Return the running step, what runs side by side within it, and the steps to come."""
        now = time.monotonic()
        beside = [f"    {title}  {now - since:.0f} s" for title, since in self.since.items()]
        coming = [f"  {title}" for title in self.titles[self.at : self.at + SHOWN]]
        if len(self.titles) > self.at + SHOWN:
            coming.append(f"  and {len(self.titles) - self.at - SHOWN} more")
        lines = [*((line, "") for line in beside), *((line, "dim") for line in coming)]
        return Group(
            self.bar.get_renderable(),
            *(Text(line, style, no_wrap=True, overflow="ellipsis") for line, style in lines),
        )


class Count(ProgressColumn):
    """The column of finished units, or of the seconds so far where their number is unknown."""

    def render(self, task: Task) -> Text:
        if not task.total:
            return Text(f"{task.elapsed or 0:.0f} s", style="dim")
        return Text(f"{task.completed:.0f}/{task.total:.0f}")


class Rate(ProgressColumn):
    """The column of the finished units per second and the time left."""

    def render(self, task: Task) -> Text:
        words = [f"{task.speed:.3g}/s"] if task.total and task.speed else []
        if task.time_remaining is not None:
            words.append(f"{_duration(task.time_remaining)} left")
        return Text("  ".join(words))


def _duration(seconds: float) -> str:
    """Return a duration as minutes and seconds, or as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns(console: Console) -> list[ProgressColumn]:
    """Return the columns of the running step's line on a terminal."""
    title = TextColumn(
        "{task.description}  {task.fields[words]}",
        markup=False,
        table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
    )
    spinner = SpinnerColumn("line" if console.options.ascii_only else "dots")
    whole = Column(no_wrap=True)
    if console.width < NARROW:
        return [spinner, title, Count(whole)]
    return [spinner, title, BarColumn(console.width // 8), Count(whole), Rate(whole)]
