"""The metrics file of a training, one line of JSON for each step, and its follower.

Displays and trackers follow the file, because Ray Train's controller callback gets a report only
once an epoch and runs in the process of the controller, which may be on another machine.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ...errors import InputError
from ...records.progress import ProgressDisplay
from ...records.progress_file import parse_metrics, read_metrics
from ...storage.storage import Location

UPLOAD_SECONDS = 20.0
"""Seconds between two uploads of the file to an object store; each checkpoint uploads it too."""
POLL_SECONDS = 5.0
"""Seconds between two reads of a file that another machine writes."""


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


@contextmanager
def following(file: Location, progress: ProgressDisplay) -> Iterator[None]:
    """Follow a metrics file that a training writes and report new steps.

    Where another machine writes the file, new steps are those that have reached the object store.

    Args:
        file: the metrics file.
        progress: display of the steps; it also takes the metrics, those of steps that an
            interrupted training left included.
    """
    stop, copy = threading.Event(), file.storage.local_copy(file.name)
    file.storage.drop_copy(file.name)  # a copy of an earlier try is out of date
    earlier = read_metrics(file)  # an interrupted training may have left it
    last_step = earlier[-1]["step"] if earlier else -1

    def follow() -> None:
        reported_step, sent = last_step, 0
        while not stop.wait(1.0 if copy.exists() else POLL_SECONDS):
            rows: list[dict[str, Any]] = []
            with suppress(InputError):
                rows = parse_metrics(copy.read_bytes()) if copy.exists() else read_metrics(file)
            if rows and rows[-1]["step"] != reported_step:
                row = rows[-1]
                reported_step = row["step"]
                text = f"epoch {row['epoch'] + 1}, loss {row['loss']:.3f}"
                progress.update(text, row["step"] + 1, row["steps"])
                progress.metrics(rows[sent:])
                sent = max(sent, len(rows))  # a worker that starts anew writes some again

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
