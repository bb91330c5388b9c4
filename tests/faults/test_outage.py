"""Test of an object store that is away for ten seconds in the middle of a job."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disturbed import CHAIN, DATA, Fault, Job
from limits import HANG

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2 * HANG)]

AWAY = 10.0
MOMENTS = (
    Fault("methods.cam:CAM.losses", call=5, act="tell"),
    Fault("platform.stages.inference.class_maps:Infer.work", act="tell"),
    Fault("platform.stages.labels.pseudo_labels:label_slice", act="tell"),
)


class Line:
    """Line to the server that can be cut: it then refuses connections and ends open connections."""

    def __init__(self, server: str) -> None:
        host, _, port = server.removeprefix("http://").partition(":")
        self.server, self.open = (host, int(port)), True
        self.ends: list[socket.socket] = []
        self.port = 0
        self.listen()

    def listen(self) -> None:
        self.entry = socket.create_server(("127.0.0.1", self.port))
        self.port = self.entry.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.entry,), daemon=True).start()

    def cut(self) -> None:
        for end in [self.entry, *self.ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def _accept(self, entry: socket.socket) -> None:
        while True:
            try:
                near, _ = entry.accept()
                far = socket.create_connection(self.server)
            except OSError:
                return
            self.ends += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(s3_server: str) -> Iterator[Line]:
    connection = Line(s3_server)
    yield connection
    connection.cut()


def test_a_job_survives_ten_seconds_without_the_object_store(
    bucket: str, line: Line, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    job = Job(bucket, tmp_path / "marks", {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}"})
    job.run(DATA)
    stop, times = threading.Event(), []

    def watch() -> None:
        waiting = [job.mark(fault) for fault in MOMENTS]
        while waiting and not stop.wait(0.05):
            if waiting[0].exists():
                del waiting[0]
                line.cut()
                times.append(time.monotonic())
                time.sleep(AWAY)
                line.listen()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        job.run(CHAIN, MOMENTS)
    finally:
        stop.set()
        watcher.join()
    assert len(times) == len(MOMENTS)
    assert job.result() == undisturbed
