"""A job of all stages as commands of their own processes, and what may happen to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limits import HANG
from wsss.platform.storage.s3_store import open_store

SABOTEUR = Path(__file__).parent / "saboteur"
SMALL = {
    "training.epochs": 2,
    "training.batch_size": 8,
    "views.scales": "(1.0,)",
    "views.actors": 2,
    "refine.training.epochs": 1,
    "segment.training.epochs": 1,
}
DATA = ("data", "scenes", "--train", "24", "--val", "8")
CHAIN = (
    "run", "lpcam", "--refine", "irn", "--segment", "deeplabv2", "--name", "chain", "--quiet",
    *(word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")),
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What happens at one call of one function, see `saboteur`."""

    function: str
    call: int = 1
    act: str = "kill"

    def happens(self, mark: Path) -> dict[str, Any]:
        module, _, name = self.function.partition(":")
        return {
            "module": f"wsss.{module}",
            "function": name,
            "call": self.call,
            "act": self.act,
            "mark": str(mark),
        }


def running(session: int) -> list[tuple[int, str]]:
    """The processes of a session but its leader, and their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            title = (folder / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
        except OSError:  # it has gone
            continue
        if int(sid) == session != int(folder.name) and state not in "ZX":
            found.append((int(folder.name), title))
    return found


@dataclass
class Job:
    """The job in a store of its own."""

    store: Path | str
    marks: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, words: Sequence[str], faults: Sequence[Fault] = ()) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        self.marks.mkdir(parents=True, exist_ok=True)
        told = [f.happens(self.mark(f)) for f in faults]
        old = os.environ.get("PYTHONPATH")
        return subprocess.Popen(
            [sys.executable, "-m", "wsss.platform.cli", *words, "--store", str(self.store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={
                **os.environ,
                **self.environment,
                "WSSS_FAULTS": json.dumps(told),
                "PYTHONPATH": f"{SABOTEUR}:{old}" if old else str(SABOTEUR),
            },
        )

    def call(self, words: Sequence[str], faults: Sequence[Fault] = ()) -> tuple[int, str]:
        """Exit code and what was said."""
        process = self.start(words, faults)
        said = process.communicate(timeout=HANG)
        return process.returncode, "".join(said)

    def hunted(
        self, words: Sequence[str], titles: Sequence[str], seconds: float
    ) -> tuple[int, str, list[str]]:
        """Exit code and what was said of a command under which the first process of each title
        was killed, so many seconds after it was there, and the titles of those; when it has ended,
        no process of it is left a moment later."""
        process = self.start(words)
        first: dict[str, float] = {}
        killed: list[str] = []
        while process.poll() is None:
            for pid, title in running(process.pid):
                hit = next((t for t in titles if t in title and t not in killed), None)
                if hit and time.monotonic() > first.setdefault(hit, time.monotonic()) + seconds:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(hit)
            time.sleep(0.1)
        said = "".join(process.communicate())
        while running(process.pid):  # the test's limit is the guard
            time.sleep(0.1)
        return process.returncode, said, killed

    def done(self, words: Sequence[str], faults: Sequence[Fault] = ()) -> str:
        """What a command said that ended well; no fault that it was given stayed away."""
        code, said = self.call(words, faults)
        assert code == 0, (code, said)
        assert "Traceback" not in said, said
        assert all(self.mark(f).exists() for f in faults)
        return said

    def mark(self, fault: Fault) -> Path:
        return self.marks / f"{fault.act}-{fault.function.replace(':', '-')}-{fault.call}"

    def result(self) -> dict[str, dict[str, Any]]:
        """What the artifacts of each stage hold: by key, the SHA-256 of each file."""
        found: dict[str, dict[str, Any]] = {}
        store = open_store(self.store)
        for stage, key in store.artifacts():
            files = store.open(stage, key).manifest["files"]
            of = {name: entry["sha256"] for name, entry in files.items()}
            found.setdefault(stage, {})[key] = of
        return found

    def tidy(self) -> bool:
        """Whether nothing half-written is left: no attempt, no checkpoint, no part of a file but
        in quarantine."""
        root = Path(self.store)
        left = [*root.glob("attempts/*"), *root.glob("training/*")]
        left += [
            p for p in root.rglob(".*") if p.is_file() and root / "quarantine" not in p.parents
        ]
        return not left
