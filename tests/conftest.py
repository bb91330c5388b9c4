"""What tests of several folders share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def two_workers(tmp_path: Path) -> Callable[[str], list[str]]:
    """Runs a script as two processes at once, with its rank and the file where they meet; what
    each prints. A process that fails fails the test with what it said."""

    def run(script: str) -> list[str]:
        words = [sys.executable, "-c", script]
        workers = [
            subprocess.Popen(
                [*words, str(rank), str(tmp_path / "meeting")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        said = []
        for worker in workers:
            out, err = worker.communicate(timeout=240)
            assert worker.returncode == 0, err
            said.append(out)
        return said

    return run
