"""Memory that the benchmarks' processes and Ray's workers on this machine take."""

from __future__ import annotations

import threading
from pathlib import Path

IDLE = (b"ray::IDLE", b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")


def private(pid: int | str) -> int:
    """Return the bytes of memory that a process shares with no other process."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields.get("RssAnon", "0 kB").split()[0]) * 1024


def workers() -> list[str]:
    """Return the ids of Ray's worker processes on this machine that are not idle."""
    ids = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                name = (path / "cmdline").read_bytes()
                if name.startswith(b"ray::") and not name.startswith(IDLE):
                    ids.append(path.name)
            except OSError:
                continue
    return ids


class Peak(threading.Thread):
    """Peak memory of a process, of the largest of Ray's workers, and of all workers together."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.stop = pid, threading.Event()
        self.own = self.largest = self.all = self.count = 0

    def run(self) -> None:
        while True:
            sizes = [size for size in map(private, workers()) if size]
            self.own = max(self.own, private(self.pid))
            self.largest = max([self.largest, *sizes])
            self.all, self.count = max(self.all, sum(sizes)), max(self.count, len(sizes))
            if self.stop.wait(0.2):
                return

    def done(self) -> str:
        self.stop.set()
        self.join()
        own, largest, whole = (round(n / 2**20) for n in (self.own, self.largest, self.all))
        return f"driver {own} MiB, largest of {self.count} workers {largest} MiB, all {whole} MiB"
