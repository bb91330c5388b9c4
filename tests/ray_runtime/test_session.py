"""Tests of sessions of Ray: Ray starts or says why not, and ends with its command."""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import os
import resource
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import ray
from wsss.platform.cli import main
from wsss.platform.errors import InputError
from wsss.platform.ray_runtime import folders, session
from wsss.platform.ray_runtime.quirks import native_output

DATA = ("data", "scenes", "--train", "4", "--val", "2", "--quiet", "--store")


@pytest.fixture
def room() -> Iterator[Path]:
    """Yield a folder for temporary files whose path is short enough for sockets."""
    folder = tempfile.mkdtemp(prefix="w", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
def impatient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str]]:
    """Return a function that runs a command which waits for Ray at an address for a moment only; it
    returns the exit code and the standard error."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session, "JOIN_SECONDS", 2.0)
    monkeypatch.setattr(session, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.5)

    def run(address: str) -> tuple[int, str]:
        monkeypatch.setenv("RAY_ADDRESS", address)
        code = main([*DATA, str(tmp_path / "store")])
        return code, capfd.readouterr().err

    return run


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nobody_answers_is_refused(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "JOIN_SECONDS", 0.0)
    address = form.format(free_port())
    with pytest.raises(InputError, match=f"nobody answers at RAY_ADDRESS '{address}'"):
        session.reach(address)


def test_a_cluster_that_does_not_answer_is_named_while_waiting(
    impatient: Callable[[str], tuple[int, str]],
) -> None:
    code, message = impatient(f"127.0.0.1:{free_port()}")
    assert code == 2
    assert "wsss: waiting for Ray at 127.0.0.1:" in message
    assert "nobody answers at RAY_ADDRESS" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("address", ["auto", "elsewhere://name", "host"])
def test_other_addresses_are_left_to_ray(address: str) -> None:
    session.reach(address)


@pytest.mark.parametrize("address", ["host:0x10", "host:99999", "http://[x/"])
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="write HOST:PORT"):
        session.reach(address)


@pytest.fixture
def grpc_port() -> Iterator[int]:
    """Yield the port of a gRPC server without any service."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def test_a_grpc_server_that_is_not_ray_is_refused(grpc_port: int) -> None:
    with pytest.raises(InputError, match="does not answer as Ray does; correct the address"):
        session.reach(f"127.0.0.1:{grpc_port}")
    session.reach(f"ray://localhost:{grpc_port}")  # Ray's client asks further


@pytest.mark.cluster
def test_ray_is_recognised(ray_session: None) -> None:
    address = ray.get_runtime_context().gcs_address
    session.reach(address)


class Silent(socketserver.BaseRequestHandler):
    """A server that accepts connections, reads, and never answers."""

    def handle(self) -> None:
        while self.request.recv(1024):
            pass


class Web(http.server.BaseHTTPRequestHandler):
    """A server that answers in HTTP/1.1, as a browser expects it."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(params=[Silent, Web])
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of a server that is not Ray."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), request.param) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_is_not_ray_is_refused_in_one_sentence(
    stranger: str, impatient: Callable[[str], tuple[int, str]]
) -> None:
    code, message = impatient(stranger)
    assert code == 2
    lines = [line for line in message.splitlines() if "waiting for Ray" not in line]
    assert len(lines) == 1, message
    assert lines[0].startswith(f"wsss: what listens at RAY_ADDRESS '{stranger}' does not answer")


TOO_SMALL = 6_000_000 << 10  # bytes


def test_too_little_address_space_is_refused_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.resource, "getrlimit", lambda _: (TOO_SMALL, TOO_SMALL))
    assert main([*DATA, str(tmp_path / "store")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("wsss: this process may map 6.1 GB of memory")
    assert line.endswith("raise the limit: ulimit -v unlimited")


@pytest.mark.faults
def test_too_little_address_space_is_reported_in_one_sentence(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "wsss.platform.cli", *DATA, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (TOO_SMALL, TOO_SMALL)),
    )
    assert process.returncode == 2
    assert "ulimit -v unlimited" in process.stderr
    assert len(process.stderr.splitlines()) == 1


NATIVE = """
import os, sys
from wsss.platform.ray_runtime.quirks.native_output import capture_stderr, reporting_exit
with capture_stderr() as captured:
    with reporting_exit(captured) as reporter:
        reporter.set_message("Ray did not start")
        os.write(2, b"mmap failed\\n")
        if sys.argv[1] == "start":
            os._exit(1)
    if sys.argv[1] == "end":
        os.write(2, b"noise\\n")
        reporter.dismiss()
if sys.argv[1] == "later":
    os._exit(1)
"""


@pytest.mark.parametrize(
    ("when", "lines"),
    [
        ("start", ["mmap failed", "Ray did not start"]),
        ("later", [native_output.ENDED]),
        ("end", []),
        ("never", []),
    ],
)
def test_an_end_in_native_code_is_reported(when: str, lines: list[str]) -> None:
    process = subprocess.run([sys.executable, "-c", NATIVE, when], capture_output=True, text=True)
    assert process.stderr.splitlines() == lines
    assert process.returncode == (1 if when in ("start", "later") else 0)


WEEK = folders.KEPT_SECONDS


@pytest.mark.parametrize(
    ("name", "mark", "age", "is_removed"),
    [
        ("wsss-killed00", folders.LOCK, 0.0, True),
        ("wsss-just_now", folders.KEPT, 0.0, False),
        ("wsss-sixdays0", folders.KEPT, WEEK - 3600, False),
        ("wsss-week_old", folders.KEPT, WEEK + 3600, True),
        ("wsss-unmarked", "other", 2 * WEEK, False),
        ("wsss-notes", folders.KEPT, 2 * WEEK, False),
        ("wsss-killed", folders.LOCK, 2 * WEEK, False),
        ("wsss-UPPER_CA", folders.KEPT, 2 * WEEK, False),
        ("mine-week_old", folders.KEPT, 2 * WEEK, False),
    ],
)
def test_folders_of_dead_commands_expire_and_no_others(
    room: Path, name: str, mark: str, age: float, is_removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(room))
    (room / name).mkdir()
    (room / name / mark).touch()
    os.utime(room / name / mark, (time.time() - age,) * 2)
    folder, lock = folders.make()
    assert (room / name).exists() is not is_removed
    folders.remove(folder, lock)
    assert not folder.exists()


@pytest.mark.parametrize("mark", [folders.LOCK, folders.KEPT])
def test_folders_of_living_commands_stay(
    room: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(room))
    held = room / "wsss-living00"
    held.mkdir()
    with (held / mark).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(held / mark, (0, 0))
        folder, first = folders.make()
        again, second = folders.make()
    assert held.is_dir()
    assert folder.is_dir()  # its own command lives
    folders.remove(folder, first)
    folders.remove(again, second)


def test_links_and_folders_of_other_users_stay(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(room))
    (tmp_path / folders.LOCK).touch()
    (room / "wsss-linked00").symlink_to(tmp_path)
    (room / "wsss-foreign0").mkdir()
    (room / "wsss-foreign0" / folders.LOCK).touch()
    folder, lock = folders.make()
    assert (tmp_path / folders.LOCK).exists()
    assert not (room / "wsss-foreign0").exists()
    (room / "wsss-foreign0").mkdir()
    (room / "wsss-foreign0" / folders.LOCK).touch()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    again, second = folders.make()
    assert (room / "wsss-foreign0").exists()
    folders.remove(folder, lock)
    folders.remove(again, second)


def test_a_kept_folder_stays_locked_until_its_process_ends(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(room))
    folder, lock = folders.make()
    folders.keep(folder)
    os.utime(folder / folders.KEPT, (0, 0))
    again, second = folders.make()
    assert folder.exists()
    os.close(lock)  # as the end of the process does
    last, third = folders.make()
    assert not folder.exists()
    folders.remove(again, second)
    folders.remove(last, third)


def test_a_path_too_long_for_sockets_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "long" * 20)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/" + "longer" * 20)
    folder, lock = folders.make()
    assert folder.parent == Path("/tmp")
    folders.remove(folder, lock)


@pytest.mark.faults
def test_nothing_of_ray_outlives_a_command(tmp_path: Path, room: Path) -> None:
    words = [sys.executable, "-m", "wsss.platform.cli", *DATA, str(tmp_path / "store")]
    environment = {**os.environ, "RAY_TMPDIR": str(room)}
    with subprocess.Popen(words, env=environment, start_new_session=True) as process:
        process.wait()
    assert process.returncode == 0
    assert list(room.iterdir()) == []
    sessions = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            sessions.append(int(stat.read_text().rpartition(")")[2].split()[3]))
    assert process.pid not in sessions
