"""Job of all stages as commands in their own processes, and the faults that may disturb it."""

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
from wsss.platform.storage.store import open_store

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
    """Fault at one call of one function, see `saboteur`."""

    function: str
    call: int = 1
    act: str = "kill"

    def description(self, mark: Path) -> dict[str, Any]:
        module, _, name = self.function.partition(":")
        return {
            "module": f"wsss.{module}",
            "function": name,
            "call": self.call,
            "act": self.act,
            "mark": str(mark),
        }


def running(session: int) -> list[tuple[int, str]]:
    """Return the processes of a session except its leader, with their command lines."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            title = (folder / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
        except OSError:  # the process has ended
            continue
        if int(sid) == session != int(folder.name) and state not in "ZX":
            processes.append((int(folder.name), title))
    return processes


@dataclass
class Job:
    """Job with its own store."""

    store: Path | str
    marks: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, words: Sequence[str], faults: Sequence[Fault] = ()) -> subprocess.Popen[str]:
        """Start a command in its own process."""
        self.marks.mkdir(parents=True, exist_ok=True)
        descriptions = [f.description(self.mark(f)) for f in faults]
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
                "WSSS_FAULTS": json.dumps(descriptions),
                "PYTHONPATH": f"{SABOTEUR}:{old}" if old else str(SABOTEUR),
            },
        )

    def call(self, words: Sequence[str], faults: Sequence[Fault] = ()) -> tuple[int, str]:
        """Return the exit code and the output of a command."""
        process = self.start(words, faults)
        output = process.communicate(timeout=HANG)
        return process.returncode, "".join(output)

    def hunt(
        self, words: Sequence[str], titles: Sequence[str], seconds: float, once: str = ""
    ) -> tuple[int, str, list[str]]:
        """Run a command, kill the first process of each title `seconds` after it appears, but not
        before a process with `once` in its title was seen, and wait until no process of the command
        is left; return exit code, output and killed titles."""
        process = self.start(words)
        seen_at: dict[str, float] = {}
        killed: list[str] = []
        begun = False
        while process.poll() is None:
            processes = list(running(process.pid))
            begun |= any(once in title for _, title in processes)
            for pid, title in processes if begun else ():
                hit = next((t for t in titles if t in title and t not in killed), None)
                if hit and time.monotonic() > seen_at.setdefault(hit, time.monotonic()) + seconds:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(hit)
            time.sleep(0.1)
        output = "".join(process.communicate())
        while running(process.pid):  # the test's limit is the guard
            time.sleep(0.1)
        return process.returncode, output, killed

    def run(self, words: Sequence[str], faults: Sequence[Fault] = ()) -> str:
        """Return the output of a command, which must succeed and in which each fault must occur."""
        code, output = self.call(words, faults)
        assert code == 0, (code, output)
        assert "Traceback" not in output, output
        assert all(self.mark(f).exists() for f in faults)
        return output

    def mark(self, fault: Fault) -> Path:
        return self.marks / f"{fault.act}-{fault.function.replace(':', '-')}-{fault.call}"

    def result(self) -> dict[str, dict[str, Any]]:
        """Return the SHA-256 of each file of the artifacts, by stage, key and file name."""
        digests: dict[str, dict[str, Any]] = {}
        store = open_store(self.store)
        for stage, key in store.artifacts():
            files = store.open(stage, key).manifest["files"]
            file_digests = {name: entry["sha256"] for name, entry in files.items()}
            digests.setdefault(stage, {})[key] = file_digests
        return digests

    def tidy(self) -> bool:
        """Return whether nothing half-written is left: no attempt, no checkpoint, and no partial
        file outside of quarantine."""
        root = Path(self.store)
        leftovers = [*root.glob("attempts/*"), *root.glob("training/*")]
        leftovers += [
            p for p in root.rglob(".*") if p.is_file() and root / "quarantine" not in p.parents
        ]
        return not leftovers
