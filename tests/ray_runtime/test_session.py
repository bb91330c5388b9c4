"""Tests of sessions of Ray: Ray starts or says why not, and ends with its command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from wsss.platform.errors import InputError
from wsss.platform.ray_runtime import session, stderr

DATA = ("data", "scenes", "--train", "4", "--val", "2", "--quiet", "--store")


@pytest.fixture
def room() -> Iterator[Path]:
    """Yield a folder for temporary files whose path is short enough for sockets."""
    folder = tempfile.mkdtemp(prefix="w", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


def wsss(*words: str, limit: int = 0, **environment: str) -> tuple[int, str]:
    """Return the exit code and the standard error of a command in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "wsss.platform.cli", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        if limit
        else None,
    )
    return process.returncode, process.stderr


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


def test_a_cluster_that_does_not_answer_is_named_while_waiting(tmp_path: Path) -> None:
    code, message = wsss(*DATA, str(tmp_path / "store"), RAY_ADDRESS=f"127.0.0.1:{free_port()}")
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


def test_an_address_where_somebody_answers_is_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        session.reach(f"127.0.0.1:{server.getsockname()[1]}")


def test_too_little_address_space_is_reported_in_one_sentence(tmp_path: Path) -> None:
    code, message = wsss(*DATA, str(tmp_path / "store"), limit=6_000_000 << 10)
    assert code == 2
    assert "ulimit -v unlimited" in message
    assert len(message.splitlines()) == 1


NATIVE = """
import os, sys
from wsss.platform.ray_runtime.stderr import capture_stderr, reporting_exit
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
        ("later", [stderr.ENDED]),
        ("end", []),
        ("never", []),
    ],
)
def test_an_end_in_native_code_is_reported(when: str, lines: list[str]) -> None:
    process = subprocess.run([sys.executable, "-c", NATIVE, when], capture_output=True, text=True)
    assert process.stderr.splitlines() == lines
    assert process.returncode == (1 if when in ("start", "later") else 0)


def test_folders_of_killed_commands_are_removed_and_no_others(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(room))
    (tmp_path / session.LOCK).touch()
    (room / "wsss-link").symlink_to(tmp_path)
    names = ("killed", "held", "kept", "other")
    for name in names:
        (room / f"wsss-{name}").mkdir()
    for name in ("killed", "held"):
        (room / f"wsss-{name}" / session.LOCK).touch()
    with (room / "wsss-held" / session.LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, first = session._folder()
        again, second = session._folder()
    assert {p.name for p in room.iterdir()} - {folder.name, again.name} == {
        "wsss-link", "wsss-held", "wsss-kept", "wsss-other"
    }  # fmt: skip
    assert folder.is_dir()
    assert (tmp_path / session.LOCK).exists()
    for one in (first, second):
        os.close(one)


def test_a_path_too_long_for_sockets_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "long" * 20)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/" + "longer" * 20)
    folder, lock = session._folder()
    with contextlib.closing(os.fdopen(lock)):
        assert folder.parent == Path("/tmp")
    shutil.rmtree(folder)


@pytest.mark.cluster
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
