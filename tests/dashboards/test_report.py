"""Tests of reports: complete, self-contained, and replaced as a whole."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from drawn_store import add_sweep, run_of
from html_pages import Document
from wsss.dashboards.site import Site
from wsss.platform.cli import main
from wsss.platform.errors import InputError
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.store import Store


@pytest.fixture(scope="session")
def scenes(few_scenes: Path) -> Path:
    """Let the tests of this file work on fewer images."""
    return few_scenes


def test_a_report_replaces_an_earlier_one_without_dead_links(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "report"
    for name in ("run-0", "run-1"):
        Site(store, runs=[name], sweeps=[]).write(out)
    assert (out / "run.run-1.html").exists()
    assert not (out / "run.run-0.html").exists()
    for page in out.glob("*.html"):
        for name in Document(page.read_text()).files():
            assert (out / name).is_file(), (page.name, name)


def test_a_report_replaces_nothing_else(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="something other"):
        Site(store).write(other)
    with pytest.raises(InputError, match="is a file"):
        Site(store).write(other / "thesis.tex")
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]


def test_a_report_that_fails_leaves_the_earlier_report(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "report"
    before = Site(store, runs=["run-0"], sweeps=[]).write(out).read_text()
    key = run_of(store, "run-1").maps[ResultId(localizer="cam")]["val"]
    store.open("maps", key).files(".parquet")[0].write_bytes(b"broken")
    with pytest.raises(InputError, match="no intact artifact"):
        Site(store).write(out)
    assert (out / "index.html").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report", "store"]


def test_the_command_says_which_page_to_open(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_sweep(store)
    for words, page in (
        ((), "index.html"),
        (("--run", "run-1"), "run.run-1.html"),
        (("--sweep", "sweep-0"), "sweep.sweep-0.html"),
    ):
        out = tmp_path / page
        command = ["report", str(out), "--store", str(store), *words]
        assert main(command) == 0
        assert capsys.readouterr().out == f"page: {(out / page).as_uri()}\n"
        assert (out / page).is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("dashboard", "--store", "nowhere"), "there is no store "),
        (("report", "out", "--store", "nowhere"), "there is no store "),
        (("report", "out", "--run", "../x"), "'../x' is not allowed"),
        (("report", "out", "--sweep", "gone"), "there is no "),
        (("report", "store", "--single-file"), "store is a folder"),
        (("report", "store/data/scenes.json", "--single-file"), "something other than a report"),
    ],
)
def test_bad_input_is_one_sentence_and_code_two(
    store: Store,
    words: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(store.storage.local_folder.parent)
    data_file = store.storage.local_folder / "data" / "scenes.json"
    data_file.parent.mkdir(exist_ok=True)
    data_file.write_text("{}")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not Path("out").exists()
    assert data_file.read_text() == "{}"


def test_a_report_in_one_file_replaces_an_earlier_one(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report holds every file of the site unchanged."""
    out = tmp_path / "new" / "report.html"
    command = ["report", str(out), "--store", str(store), "--run", "run-1", "--single-file"]
    for _ in range(2):
        assert main(command) == 0
    assert capsys.readouterr().out == 2 * f"page: {out.as_uri()}\n"
    site = Site(store, runs=["run-1"], sweeps=[])
    content = dict(re.findall(r'data-path="([^"]+)">([^<]*)<', out.read_text()))
    assert set(content) == set(site.paths())
    for path in ("run.run-1.html", "plotly.min.js", min(p for p in content if p.endswith(".jpg"))):
        assert base64.b64decode(content[path]) == site.file(path)
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
