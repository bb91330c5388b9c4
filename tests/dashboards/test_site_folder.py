"""Tests that writing a report keeps links and the files of other programs, even when killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from wsss.dashboards import single_file, site_folder
from wsss.dashboards.site import Site
from wsss.platform.cli import main, resolve, run_commands
from wsss.platform.errors import InputError
from wsss.platform.interop import exports, voc_submission
from wsss.platform.pipeline import planner
from wsss.platform.records.schema import read_run
from wsss.platform.storage.store import Store

MARK = '<meta name="generator" content="wsss report">'
OLD = {"index.html": b"old", "same.css": b"same", "data/a/run.js": b"a", "run.a.html": b"page a"}
NEW = {"index.html": b"new", "same.css": b"same", "data/b/run.js": b"b", "run.b.html": b"page b"}


@pytest.fixture(scope="session")
def scenes(few_scenes: Path) -> Path:
    """Let the tests of this file work on fewer images."""
    return few_scenes


def write(out: Path, files: Mapping[str, bytes]) -> None:
    site_folder.write(out, list(files), files.get)


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder by path, without the list of the site's files."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    files.pop(site_folder.LIST, None)
    return files


def test_a_site_replaces_its_own_files_and_no_others(tmp_path: Path) -> None:
    out = tmp_path / "site"
    write(out, OLD)
    user_files = {"CNAME": b"example.org", "data/a/notes.txt": b"mine", "img/me.png": b"me"}
    for path, data in user_files.items():
        (out / path).parent.mkdir(exist_ok=True)
        (out / path).write_bytes(data)
    (out / "empty").mkdir()
    for files in (NEW, NEW, OLD):
        write(out, files)
        assert content(out) == {**files, **user_files}
        assert not (out / "data" / "b").exists() or files is NEW
        listed = json.loads((out / site_folder.LIST).read_text())
        assert listed == {p: [hashlib.sha256(b).hexdigest()] for p, b in files.items()}
    assert (out / "empty").is_dir()


@pytest.mark.parametrize(
    "path", ["run.b.html", "index.html", "data/b/run.js", "data/b", "data/a", "data"]
)
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_a_path_that_is_in_the_way_is_named_and_kept(tmp_path: Path, path: str, kind: str) -> None:
    out, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    write(out, dict.fromkeys(("index.html", "run.a.html"), b""))
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("years")
    obstacle = out / path
    obstacle.parent.mkdir(exist_ok=True, parents=True)
    obstacle.unlink(missing_ok=True)
    if kind == "file":
        obstacle.write_text("mine")
    elif kind == "folder":
        obstacle.mkdir()
    else:
        obstacle.symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    (out / "CNAME").write_text("mine")
    files = {**NEW, "data/a/run.js": b"a"}
    before = content(out), (out / site_folder.LIST).read_bytes()
    if kind == "folder" and path in ("data", "data/a", "data/b"):
        write(out, files)
        return
    with pytest.raises(InputError, match=f"/site/{path} is in the way"):
        write(out, files)
    assert (content(out), (out / site_folder.LIST).read_bytes()) == before
    assert obstacle.is_symlink() == (kind in ("link", "dangling link"))
    assert [p.name for p in elsewhere.iterdir()] == ["thesis.tex"]
    assert not list(out.glob(".wsss*"))


def test_a_file_that_a_user_changed_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "site"
    write(out, OLD)
    (out / "run.a.html").write_text("with my remarks")
    with pytest.raises(InputError, match=r"run\.a\.html is in the way"):
        write(out, OLD)
    write(out, NEW)
    assert content(out) == {**NEW, "run.a.html": b"with my remarks"}


@pytest.mark.parametrize("name", ["thesis.tex", ".git", "index.html"])
def test_a_folder_with_other_files_is_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "pub"
    out.mkdir()
    (out / name).write_text(f"{MARK} years")
    with pytest.raises(InputError, match="something other than a report"):
        write(out, NEW)
    with pytest.raises(InputError, match="is a file; name a folder"):
        write(out / name, NEW)
    with pytest.raises(InputError, match="is a file; name a folder"):
        write(out / name / "deep" / "er", NEW)
    assert content(out) == {name: f"{MARK} years".encode()}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', '{"../thesis.tex": ["0"]}', '{"/etc/x": ["0"]}', "[" * 9999]
)
def test_a_damaged_list_of_files_is_refused(tmp_path: Path, text: str) -> None:
    out = tmp_path / "site"
    write(out, OLD)
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("years")
    (out / site_folder.LIST).write_text(
        text.replace('"0"', json.dumps(hashlib.sha256(b"years").hexdigest()))
    )
    with pytest.raises(InputError):
        write(out, NEW)
    assert content(out) == OLD
    assert thesis.read_text() == "years"


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    out, target = tmp_path / "site", tmp_path / "disk" / "target"
    target.mkdir(parents=True)
    out.symlink_to(target)
    for files in (OLD, NEW):
        write(out, files)
        assert out.is_symlink()
        assert content(target) == files
    assert [p.name for p in target.parent.iterdir()] == ["target"]
    out.unlink()
    out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a link that leads nowhere"):
        write(out, NEW)


@pytest.mark.parametrize("before", ["nothing", "folder", "site"])
def test_a_site_that_cannot_be_written_changes_nothing(tmp_path: Path, before: str) -> None:
    out = tmp_path / "site"
    if before != "nothing":
        out.mkdir()
    if before == "site":
        write(out, OLD)

    def failing(path: str) -> bytes | None:
        if path == "run.b.html":
            raise InputError("no intact artifact")
        return NEW[path]

    with pytest.raises(InputError, match="no intact artifact"):
        site_folder.write(out, list(NEW), failing)
    assert out.exists() == (before != "nothing")
    assert content(out) == (OLD if before == "site" else {})
    assert not list(tmp_path.rglob(".*"))


def test_a_file_changed_while_a_site_is_written_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "site"
    write(out, OLD)

    def editing(path: str) -> bytes:
        (out / "index.html").write_text("mine")
        return NEW[path]

    with pytest.raises(InputError, match=r"index\.html is in the way"):
        site_folder.write(out, list(NEW), editing)
    assert content(out) == {**OLD, "index.html": b"mine"}


class KilledError(BaseException):
    """The end of a process that is killed."""


def killed_at(number: int, action: Callable[[], None]) -> bool:
    """Return whether an action is killed at its disk change `number` instead of ending before.

    As after the death of its process, nothing on the disk changes from then on.
    """
    done = 0

    def dying(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*args: object, **kwargs: object) -> object:
            nonlocal done
            done += 1
            if done > number:
                raise KilledError
            return change(*args, **kwargs)

        return changed

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError):
        for name in ("mkdir", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr(Path, "write_bytes", dying(Path.write_bytes))
        action()
    return done > number


@pytest.mark.parametrize("before", ["nothing", "folder", "site"])
def test_a_killed_report_is_repaired_by_the_next_report(tmp_path: Path, before: str) -> None:
    number, killed = 0, True
    user_files = {"CNAME": b"example.org", "data/a/mine": b"x"} if before == "site" else {}
    while killed:
        out = tmp_path / str(number) / "site"
        out.parent.mkdir()
        if before == "folder":
            out.mkdir()
        if before == "site":
            write(out, OLD)
        for path, data in user_files.items():
            (out / path).write_bytes(data)
        killed = killed_at(number, lambda out=out: write(out, NEW))  # type: ignore[misc]
        for path, data in user_files.items():
            assert (out / path).read_bytes() == data
        for path in ("index.html", "same.css"):
            if before == "site":  # never a torn file
                assert (out / path).read_bytes() in (OLD[path], NEW[path])
        third = {**OLD, "index.html": b"newest"}
        write(out, third)
        assert content(out) == {**third, **user_files}
        assert not list(out.glob(".wsss*"))
        number += 1
    assert number > 8


def test_reports_into_one_folder_take_turns(tmp_path: Path) -> None:
    out = tmp_path / "site"
    sites = [{f"{k}.html": bytes([k, j]) for k in range(20)} for j in range(4)]
    children = []
    for files in sites:
        process = os.fork()
        if process == 0:
            try:
                for _ in range(5):
                    write(out, files)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(process)
    assert [os.waitpid(process, 0)[1] for process in children] == [0] * 4
    assert content(out) in sites
    write(out, NEW)
    assert content(out) == NEW


def test_the_report_command_keeps_files_that_no_report_wrote(
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--store", str(scenes), "--run", "run-1"]
    thesis = tmp_path / "pub" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years")
    assert main(["report", "pub/index.html", "--single-file", *words]) == 0
    assert main(["report", "pub", *words]) == 2
    assert "pub holds something other than a report" in capsys.readouterr().err
    assert sorted(p.name for p in thesis.parent.iterdir()) == ["index.html", "thesis.tex"]
    assert main(["report", "site", *words]) == 0
    Path("site/CNAME").touch()
    assert main(["report", "site", *words]) == 0
    assert Path("site/CNAME").is_file()
    assert main(["report", "site/index.html", "--single-file", *words]) == 2
    assert "index.html is something other than a report in one file" in capsys.readouterr().err
    assert main(["report", "", *words]) == 2
    assert capsys.readouterr().err == "wsss: OUT is empty; it must be a path\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pub", "site"]


def test_the_page_of_a_run_is_written_to_the_given_folder(
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run is a finished one; it does not begin where its page cannot be written."""
    page = "~/a b/c"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    record, begun = read_run(Store(scenes).location("runs", "run-0", "run.json")), []
    monkeypatch.setattr(resolve, "experiment", lambda *_: None)
    monkeypatch.setattr(planner, "plan", lambda *_: None)
    monkeypatch.setattr(run_commands, "check_used", lambda *_: None)
    monkeypatch.setattr(run_commands, "carry_out", lambda *_: begun.append(1) or record)
    words = ["run", "lpcam", "--store", str(scenes), "--page", page]
    folder = Path(page.replace("~", "home")).absolute()
    assert main(words) == 0
    assert f"page: {folder.as_uri()}/run.run-0.html\n" in capsys.readouterr().out
    assert (folder / "run.run-0.html").is_file()
    (folder / "index.html").write_text("mine")
    assert main(words) == 2
    assert "index.html is in the way" in capsys.readouterr().err
    (folder / site_folder.LIST).unlink()
    assert main(words) == 2
    assert "holds something other than a report" in capsys.readouterr().err
    assert begun == [1]


def test_a_page_in_one_file_replaces_only_an_unchanged_page(scenes: Path, tmp_path: Path) -> None:
    site = Site(Store(scenes), runs=[], sweeps=[])
    page, link = tmp_path / "report.html", tmp_path / "link.html"
    link.symlink_to(page.name)
    for name in (page, link):
        single_file.write(site, name, "index.html")
    assert link.is_symlink()
    written = page.read_bytes()
    for changed in (
        written + b"<!-- mine -->\n",
        written[:-1],
        written.replace(b"wsss", b"mine", 1),
    ):
        page.write_bytes(changed)
        for name in (page, link):
            with pytest.raises(InputError, match="was changed since it was written"):
                single_file.write(site, name, "index.html")
        assert page.read_bytes() == changed
    for text in (b"", b"mine", MARK.encode()):
        page.write_bytes(text)
        with pytest.raises(InputError, match="something other than a report"):
            single_file.write(site, page, "index.html")
        assert page.read_bytes() == text


def test_a_file_that_appears_meanwhile_is_kept(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file appears at the path of a page in one file, of an archive or of a label folder."""
    store, run = Store(scenes), read_run(Store(scenes).location("runs", "run-0", "run.json"))
    site, page = Site(store, runs=[], sweeps=[]), tmp_path / "page.html"

    def appear(name: str) -> bytes:
        (tmp_path / name).write_text("mine")
        return b""

    monkeypatch.setattr(site, "file", lambda _: appear("page.html"))
    with pytest.raises(InputError, match="something other than a report"):
        single_file.write(site, page, "index.html")
    monkeypatch.setattr(exports, "_labels", lambda _: [(appear(name), np.zeros((2, 2), np.uint8))])
    monkeypatch.setattr(exports, "encode_png", lambda _: b"")
    monkeypatch.setattr(voc_submission, "check", lambda *_: None)
    for name, kind in (("a.tgz", "comp5"), ("b", "png")):
        with pytest.raises(InputError, match=f"{name} exists"):
            exports.write(store, run, tmp_path / name, kind, "lpcam/crf", "val")
    assert content(tmp_path) == dict.fromkeys(("page.html", "a.tgz", "b"), b"mine")


@pytest.mark.parametrize(("name", "kind"), [("a.tgz", "comp5"), ("a.tgz", "png"), ("b", "png")])
def test_an_export_overwrites_nothing(
    scenes: Path, tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tgz").write_text("years")
    (tmp_path / "b").symlink_to("nowhere")
    words = ["--to", kind, "--what", "lpcam/crf", "--run", "run-0", "--store", str(scenes)]
    assert main(["export", str(tmp_path / name), *words]) == 2
    assert f"{name} exists; name another path" in capsys.readouterr().err
    assert (tmp_path / "a.tgz").read_text() == "years"
    assert (tmp_path / "b").is_symlink()
