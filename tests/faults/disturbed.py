"""A job of all stages as commands of their own processes, and what may happen to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limits import HANG
from wsss.platform.bucket import open_store

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
        """What the artefacts of each stage hold: by key, the SHA-256 of each file."""
        found: dict[str, dict[str, Any]] = {}
        store = open_store(self.store)
        for stage, key in store.artefacts():
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
