"""What tests of several folders share."""

from __future__ import annotations

import logging
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
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


SECRET = "the-secret-key-of-the-tests"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on loopback."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it names each request
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store in an empty bucket; this machine has a cache of its own."""
    from pyarrow import fs

    known = {"ACCESS_KEY_ID": "tester", "SECRET_ACCESS_KEY": SECRET, "REGION": "us-east-1"}
    for name, value in {**known, "ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    fs.S3FileSystem(
        endpoint_override=s3_server,
        region="us-east-1",
        allow_bucket_creation=True,
        request_timeout=60,
    ).create_dir(name)
    return f"s3://{name}/some/store"
