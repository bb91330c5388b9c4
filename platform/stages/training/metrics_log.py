"""What a training writes of each step, a line of JSON, and who follows it meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...records.progress_file import metrics_of, read_metrics
from ...storage import filesystem

KEPT_EVERY = 20.0
"""Seconds after which lines go to an object store; at each checkpoint they go too."""
EVERY = 5.0
"""Seconds between two looks at what another machine writes."""


class Log:
    """Metrics as JSON lines, one a step; on resume, lines past the checkpoint are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [r for r in read_metrics(path) if r["step"] < step]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in kept))
        self.path, self.kept = path, time.monotonic()
        self.stream = path.open("a", buffering=1)

    def write(self, /, **row: Any) -> None:
        self.stream.write(json.dumps(row) + "\n")
        if time.monotonic() - self.kept > KEPT_EVERY:
            with suppress(InputError):  # the next time brings these lines too
                self.keep()

    def keep(self) -> None:
        """Brings the lines so far to where other machines find them."""
        self.kept = time.monotonic()
        if key := filesystem.object_of(self.path):
            filesystem.send(self.path, key)


@contextmanager
def following(path: Path, progress: Callable[[str, int, int], None]) -> Iterator[None]:
    """Reads the metrics file while training writes it, and tells `progress` what is new. Where
    another machine writes it, that is what has come to the object store."""
    stop = threading.Event()
    if filesystem.object_of(path):
        path.unlink(missing_ok=True)  # of an earlier try, which this machine may have lost since
    before = read_metrics(path)  # of a training that was broken off; it may be cut back
    last = before[-1]["step"] if before else -1

    def follow() -> None:
        shown = last
        while not stop.wait(1.0 if path.exists() else EVERY):
            rows: list[dict[str, Any]] = []
            with suppress(InputError):
                rows = metrics_of(path.read_bytes()) if path.exists() else read_metrics(path)
            if rows and rows[-1]["step"] != shown:
                row = rows[-1]
                shown = row["step"]
                text = f"epoch {row['epoch'] + 1}, loss {row['loss']:.3f}"
                progress(text, row["step"] + 1, row["steps"])

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
