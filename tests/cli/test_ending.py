"""Tests of how commands end: unread streams, internal errors, folders that are not a store."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from limits import HANG
from wsss.dashboards.server import Server
from wsss.platform.cli import ending, main, run_commands, store_commands
from wsss.platform.cli.ending import BROKEN_PIPE
from wsss.platform.cli.tables import Table
from wsss.platform.errors import InputError
from wsss.platform.records import progress
from wsss.platform.storage.store import Store

WSSS = (sys.executable, "-m", "wsss.platform.cli")


@pytest.fixture
def unread() -> Any:
    """Yield the writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    ("closed", "words", "expected"),
    [
        (">&-", ("--help",), 0),
        ("<&- >&- 2>&-", ("--help",), 0),
        (">&-", ("completion", "odd"), 2),
        ("2>&-", ("odd",), 2),
    ],
)
def test_closed_streams_do_not_break_a_command(
    closed: str, words: tuple[str, ...], expected: int
) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *WSSS, *words]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == expected
    assert "Traceback" not in done.stderr
    if "2>" not in closed:
        assert len(done.stderr.splitlines()) == (1 if expected else 0)


def test_no_file_gets_the_descriptor_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom wsss.platform.cli import ending\n"
        "with ending.guarded_streams():\n"
        "    opened = open(sys.argv[1], 'w')\n"
        "    opened.write(str(opened.fileno()))\n"
    )
    path = tmp_path / "number"
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code, str(path)]
    assert subprocess.run(shell, timeout=HANG, check=False).returncode == 0
    assert int(path.read_text()) > 2


def test_a_reader_that_went_away_ends_the_command_quietly(unread: int) -> None:
    done = subprocess.run(
        [*WSSS, "completion", "bash"],
        stdout=unread,
        stderr=subprocess.PIPE,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


def test_a_command_whose_errors_nobody_reads_ends_quietly(unread: int) -> None:
    words = [*WSSS, "odd"]
    assert subprocess.run(words, stderr=unread, timeout=HANG, check=False).returncode == 2
    words = [*WSSS, "--help"]
    done = subprocess.run(words, stdout=unread, stderr=unread, timeout=HANG, check=False)
    assert done.returncode == BROKEN_PIPE


def test_a_full_output_device_is_reported_in_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*WSSS, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=HANG, check=False
        )
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("wsss: standard output cannot be written: ")


def test_a_name_that_is_not_valid_text_is_printed_with_escapes(capsys: Any) -> None:
    with ending.guarded_streams():
        ending.say("\udcff")
    assert capsys.readouterr().out == "\\udcff\n"


def test_progress_that_nobody_reads_does_not_stop_the_work(unread: int) -> None:
    with open(os.dup(unread), "w") as stream:
        lines = progress.ProgressLines(stream)
        lines.plan(["one"])
        lines.start("one")
        lines.note("something")
        lines.finish(False)
        assert stream.fileno() >= 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the temporary folder of a command that ends with an internal error."""

    def breaks(*arguments: object) -> None:
        try:
            raise LookupError("the first of two")
        except LookupError as error:
            raise RuntimeError(f"with {os.environ['MY_API_TOKEN']} \udcff") from error

    monkeypatch.setenv("MY_API_TOKEN", "not-for-others")
    monkeypatch.setattr(store_commands, "methods", breaks)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_internal_error_is_written_to_a_file(fault: Path, capsys: Any) -> None:
    assert main(["methods", "a b"]) == 1
    out, err = capsys.readouterr()
    (path,) = fault.iterdir()
    assert re.fullmatch(rf"wsss-crash-\d{{8}}-\d{{6}}-{os.getpid()}\.txt", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert out == ""
    (line,) = err.splitlines()
    assert "RuntimeError" in line
    assert f"report it with the file {path}" in line
    text = path.read_text()
    assert "wsss methods 'a b'" in text
    assert re.search(r"wsss \d.*torch \d", text)
    assert text.index("LookupError: the first of two") < text.index("RuntimeError: with")
    assert "<MY_API_TOKEN>" in text
    assert "not-for-others" not in text


def test_an_internal_error_is_printed_where_no_file_can_be_written(
    fault: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(fault / "gone"))
    assert main(["methods"]) == 1
    err = capsys.readouterr().err
    assert "LookupError: the first of two" in err
    assert "RuntimeError: with" in err
    assert "not-for-others" not in err


WITHOUT_PACKAGES = """
import sys
sys.modules["torch"] = sys.modules["pycocotools"] = None
from wsss.platform.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["doctor", "run cam"])
def test_packages_that_are_missing_are_named(command: str, tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_PACKAGES, *command.split(), "--store", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    message = "wsss: missing packages: pycocotools, torch; install them with make env\n"
    assert done.stderr == message


def test_a_dashboard_that_the_user_ends_has_ended_well(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(server: object) -> None:
        raise KeyboardInterrupt

    Store(tmp_path).location("runs", "begun", "note").write(b"")
    monkeypatch.setattr(Server, "serve_forever", interrupted)
    assert main(["dashboard", "--store", str(tmp_path), "--port", "0"]) == 0
    out, err = capsys.readouterr()
    assert "(Ctrl-C ends it)" in out
    assert err == ""


def test_the_page_of_a_run_is_written_although_its_picture_fails(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def fail(*_: object) -> None:
        raise InputError("no result of the table has class maps or labels")

    record = SimpleNamespace(name="r")
    monkeypatch.setattr(run_commands, "run_records", lambda *_: [record])
    monkeypatch.setattr(run_commands, "score_rows", lambda records: [])
    empty = Table(head=[], rows=[], values=[])
    monkeypatch.setattr(run_commands, "comparison_table", lambda rows: empty)
    monkeypatch.setattr(run_commands, "write_picture", fail)
    monkeypatch.setattr(run_commands, "write_run_pages", lambda *words: written.append(words[3]))
    words = ["run", "cam", "--store", str(tmp_path), "--picture", str(tmp_path / "x.png")]
    assert main(words) == 2
    assert "no result of the table has class maps" in capsys.readouterr().err
    assert written == [["r"]]


NEED_A_STORE = [
    line.split()
    for line in """
    data scenes
    run cam
    sweep lpcam
    figure lpcam-5
    compare cam lpcam
    ablate sipe
    report out
    dashboard --port 0
    export out
    import irn . --data scenes --name a
    doctor
    doctor --verify
    """.strip().splitlines()
]


@pytest.mark.parametrize("command", NEED_A_STORE, ids=" ".join)
def test_a_path_that_is_not_a_store_is_refused(
    command: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "thesis" / "data").mkdir(parents=True)
    (tmp_path / "thesis" / "thesis.tex").write_text("mine")
    (tmp_path / "older" / "artefacts").mkdir(parents=True)
    (tmp_path / "older" / "runs").mkdir()
    files = sorted(tmp_path.rglob("*"))
    for where, sentence in (
        ("file", "file is a file; name a folder"),
        ("file/deep", "file is a file; name a folder"),
        ("thesis", "thesis is not a store, as it holds 'thesis.tex'"),
        ("older", "older was made by an older version of wsss"),
    ):
        assert main([*command, "--store", where]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert sentence in err
        assert len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == files


def test_a_folder_that_may_become_a_store_is_accepted(tmp_path: Path, capsys: Any) -> None:
    for name in ("empty", "hidden", "disk", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "hidden" / ".DS_Store").touch()
    (tmp_path / "disk" / "lost+found").mkdir()
    (tmp_path / "store" / "notes.txt").touch()
    with Store(tmp_path / "store").lock("x"):
        pass
    for name in ("empty", "hidden", "disk", "store", "missing"):
        assert main(["doctor", "--store", str(tmp_path / name)]) == 0, capsys.readouterr()
    assert not (tmp_path / "missing").exists()
