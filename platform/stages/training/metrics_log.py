"""The metrics file of a training, one line of JSON for each step, and its follower.

Displays and trackers follow the file, because Ray Train's controller callback gets a report only
once an epoch and runs in the process of the controller, which may be on another machine.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ...errors import InputError
from ...records.progress import Metrics, ProgressDisplay
from ...records.progress_file import parse_metrics, read_metrics
from ...storage.storage import Location

UPLOAD_SECONDS = 20.0
"""Seconds between two uploads of the file to an object store; each checkpoint uploads it too."""
POLL_SECONDS = 5.0
"""Seconds between two reads of a file that another machine writes."""
QUIET_SECONDS = 30.0
"""Seconds without a first step after which a training may say what it waits for."""


class Log:
    """A metrics file of JSON lines, one for each step.

    Args:
        file: the file; lines of `step` and later steps are dropped, as they come after the
            checkpoint.
        step: number of the next step.
    """

    def __init__(self, file: Location, step: int) -> None:
        earlier = [row for row in read_metrics(file) if row["step"] < step]
        path = file.storage.local_copy(file.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in earlier))
        self.file, self.uploaded_at = file, time.monotonic()
        self.stream = path.open("a", buffering=1)

    def write(self, /, **row: Any) -> None:
        """Append the metrics of one step."""
        self.stream.write(json.dumps(row) + "\n")
        if time.monotonic() - self.uploaded_at > UPLOAD_SECONDS:
            with suppress(InputError):  # the next upload includes these lines
                self.upload()

    def upload(self) -> None:
        """Bring all lines into the storage, where the file that is written is only a copy."""
        self.uploaded_at = time.monotonic()
        self.file.storage.upload_copy(self.file.name)


class NewRows:
    """The rows that a metrics file gains; each line of the file is parsed once.

    A worker that starts anew writes the file again from its checkpoint on. The file is then read
    from its beginning, and its rows count as new where it has more of them than were taken before.

    Args:
        file: the metrics file.
    """

    def __init__(self, file: Location) -> None:
        self.file, self.copy = file, file.storage.local_copy(file.name)
        self.offset, self.last_line = 0, b""
        self.rows = self.taken = 0
        self.untaken: list[Metrics] = []

    def read(self) -> list[Metrics]:
        """Return the rows of the lines that were written since the last call.

        A line without its end is left for the next call. Storage that cannot be read now gives no
        rows.
        """
        rows = parse_metrics(self._lines())
        known = max(0, self.taken + len(self.untaken) - self.rows)
        self.untaken += rows[known:]
        self.rows += len(rows)
        return rows

    def take(self) -> list[Metrics]:
        """Return the new rows since the last call."""
        rows, self.untaken = self.untaken, []
        self.taken += len(rows)
        return rows

    def _lines(self) -> bytes:
        """Return the whole lines after those that were read, or all lines of a file made anew."""
        start = self.offset - len(self.last_line)
        data = self._content(start)
        if data is not None and not data.startswith(self.last_line):
            self.rows, self.untaken, self.last_line = 0, [], b""
            start, data = 0, self._content(0)
        if data is None:
            return b""
        lines = data[len(self.last_line) : data.rfind(b"\n") + 1]
        self.offset = start + len(self.last_line) + len(lines)
        if lines:
            self.last_line = lines[lines.rfind(b"\n", 0, -1) + 1 :]
        return lines

    def _content(self, start: int) -> bytes | None:
        """Return the content from a position on, or None where the file cannot be read now."""
        try:
            if not self.copy.exists():
                return self.file.read()[start:]
            with self.copy.open("rb") as stream:
                stream.seek(start)
                return stream.read()
        except (InputError, FileNotFoundError):
            return None


@contextmanager
def following(
    file: Location, progress: ProgressDisplay, waits_for: Callable[[], str]
) -> Iterator[None]:
    """Follow a metrics file that a training writes and report new steps.

    Where another machine writes the file, new steps are those that have reached the object store.

    Args:
        file: the metrics file.
        progress: display of the steps; it also takes the metrics, those of steps that an
            interrupted training left included.
        waits_for: returns what the training waits for; empty if for nothing that is known.
    """
    stop = threading.Event()
    file.storage.drop_copy(file.name)  # a copy of an earlier try is out of date
    earlier = read_metrics(file)  # an interrupted training may have left it
    last_step = earlier[-1]["step"] if earlier else -1

    def follow() -> None:
        reported_step, new = last_step, NewRows(file)
        began, may_wait = time.monotonic(), True
        while not stop.wait(1.0 if new.copy.exists() else POLL_SECONDS):
            rows = new.read()
            if rows and rows[-1]["step"] != reported_step:
                row = rows[-1]
                reported_step = row["step"]
                may_wait = False
                text = f"epoch {row['epoch'] + 1}, loss {row['loss']:.3f}"
                progress.update(text, int(row["step"]) + 1, int(row["steps"]))
                if metrics := new.take():  # a worker that starts anew writes some again
                    progress.metrics(metrics)
                continue
            is_quiet = may_wait and time.monotonic() - began > QUIET_SECONDS
            if is_quiet and (missing := waits_for()):
                progress.note(f"waits for {missing}")
                may_wait = False

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
