"""Test that the Ray that a command starts runs no code of a client without its token."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANG

pytestmark = pytest.mark.faults

OWNER = """
import sys
import ray
from wsss.platform.ray_runtime import cluster
cluster.connect()
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.readline()
"""
STRANGER = """
import sys
import ray
ray.init(address=sys.argv[1], logging_level="ERROR")
print("came in", ray.get(ray.remote(lambda: "and ran").remote()))
"""


def test_a_client_without_the_token_is_turned_away(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("owner", "stranger")]
    for home in homes:
        home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environments = [{**environment, "HOME": str(home)} for home in homes]
    words = [sys.executable, "-c", OWNER]
    owner = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environments[0]
    )
    assert owner.stdout
    try:
        address = owner.stdout.readline().strip()
        stranger = subprocess.run(
            [sys.executable, "-c", STRANGER, address],
            capture_output=True,
            text=True,
            timeout=HANG,
            env=environments[1],
        )
    finally:
        owner.communicate("\n", timeout=HANG)
    assert stranger.returncode != 0
    assert "came in" not in stranger.stdout
    assert "InvalidAuthToken" in stranger.stderr
    rights = (homes[0] / ".ray" / "auth_token").stat().st_mode
    assert stat.S_IMODE(rights) == 0o600
