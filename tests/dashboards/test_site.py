"""Tests of the pages of a site: complete, safe, and of nothing but its records."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_records import HOSTILE, QUOTES
from drawn_store import add_hostile, add_sweep, run_of
from html_pages import Document
from wsss.dashboards.pages.layout import POLICY
from wsss.dashboards.published import leaderboard, tables
from wsss.dashboards.site import Site
from wsss.platform.records.schema import SpeedRecord, SpeedRow
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.storage.store import Store


def test_a_run_whose_data_set_is_gone_keeps_its_scores(store: Store, tmp_path: Path) -> None:
    run = run_of(store)
    store.folder("shards", run.shards).remove_tree()
    out = Site(store).write(tmp_path / "report").parent
    assert "LPCAM" in (out / "run.run-0.html").read_text()
    assert not list(out.glob("prototypes*"))


def test_speeds_are_listed_by_machine_and_over_time(store: Store) -> None:
    site = Site(store)
    assert "speed.html" not in set(site.paths())
    assert site.file("speed.html") is None
    assert b"speed.html" not in (site.file("index.html") or b"")
    for number, machine in ((1, "2 cores"), (2, "2 cores"), (3, "a <b>GPU</b>")):
        rows = (
            SpeedRow(stage="walk", unit="images/s", ours=6.0 * number, peer=2.0, limit=0.5),
            SpeedRow(stage="alone", unit="images/s", ours=1.0),
        )
        if number == 3:
            checked = {"difference": 0.0004, "allowed": 0.001, "memory": 3 << 30}
            rows = (SpeedRow(stage="walk", unit="images/s", ours=1.0, **checked),)  # type: ignore[arg-type]
        started = f"2026-01-0{number}T00:00:00+00:00"
        record = SpeedRecord(name=str(number), started=started, machine=machine, rows=rows)
        write_json(store.location("speeds", f"{number}.json"), record)
    store.location("speeds", "4.json").write(b"{}")
    site = Site(store)
    assert "speed.html" in set(site.paths())
    page = (site.file("speed.html") or b"").decode()
    assert page.count("<table") == 2
    assert 'data-v="6.0"' in page  # 12 against 2 images/s, the newest of the machine
    assert page.count('class="plot"') == 1
    assert page.count("GPU memory, GiB") == page.count("0.000400") == page.count("3.00") == 1
    assert "<b>GPU" not in page
    assert "4.json" in (site.file("index.html") or b"").decode()
    assert "speed.html" not in set(Site(store, runs=[], sweeps=[]).paths())


def test_every_page_has_the_policy_and_no_inline_script(store: Store) -> None:
    add_sweep(store)
    site = Site(store)
    for path in site.paths():
        if not path.endswith(".html"):
            continue
        page = Document((site.file(path) or b"").decode())
        assert [a["content"] for t, a in page.tags if a.get("http-equiv")] == [POLICY]
        for tag, attributes in page.tags:
            if tag == "script":
                assert attributes.get("src") or attributes.get("type") == "application/json"
            assert tag != "style"
            assert not any(name.startswith("on") for name in attributes)
    assert POLICY.startswith("default-src 'none'; script-src 'self';")


def test_a_site_of_one_run_or_one_sweep_has_no_other_pages(store: Store) -> None:
    add_sweep(store)
    paths = set(Site(store, runs=["run-1"], sweeps=[], images=16).paths())
    assert "run.run-1.html" in paths
    assert not {"run.run-0.html", "compare.html", "sweep.sweep-0.html"} & paths
    site = Site(store, runs=[], sweeps=["sweep-0"])
    assert {"index.html", "sweep.sweep-0.html"} <= set(site.paths())
    assert site.file("run.run-1.html") is None


def test_an_empty_store_has_an_overview(tmp_path: Path) -> None:
    site = Site(Store(tmp_path / "nothing"))
    assert b"no run yet" in (site.file("index.html") or b"")
    assert {"index.html", "papers.html"} <= set(site.paths())


def test_a_damaged_record_is_named_and_hides_no_other_record(store: Store) -> None:
    (store.storage.local_folder / "runs" / "run-0" / "run.json").write_text('{"scores": {}}')
    text = (Site(store).file("index.html") or b"").decode()
    assert "cannot be read by this version" in text
    assert "run.run-1.html" in text


def test_a_site_with_one_readable_run_has_no_link_to_a_comparison(store: Store) -> None:
    (store.storage.local_folder / "runs" / "run-0" / "run.json").write_text('{"scores": {}}')
    (store.storage.local_folder / "runs" / "empty").mkdir()
    site = Site(store)
    paths = set(site.paths())
    assert "compare.html" not in paths
    for path in ("index.html", "run.run-1.html", "images.run-1.html"):
        assert path in paths
        assert "compare.html" not in (site.file(path) or b"").decode()


def test_the_pages_of_a_report_share_one_reading_of_all_records(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page would otherwise ask a bucket for the records of all runs; a server has to."""
    read: list[str] = []

    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(storage: LocalStorage, name: str, *rest: Any) -> Any:
            read.append(name)
            return method(storage, name, *rest)

        return call

    add_sweep(store)
    for name in ("names", "version"):
        monkeypatch.setattr(LocalStorage, name, noted(getattr(LocalStorage, name)))
    pages = ("index.html", "compare.html", "run.run-1.html", "images.run-1.html", "papers.html")
    for live in (False, True):
        read.clear()
        site = Site(store, live=live)
        for path in pages:
            assert site.file(path)
        counts = [read.count(name) for name in ("runs", "speeds", "runs/run-0/run.json")]
        assert (counts == [1, 1, 1]) is not live


def test_hostile_texts_are_escaped(store: Store) -> None:
    add_hostile(store)
    site = Site(store)
    for path in ("index.html", "compare.html", "run.hostile.html", "sweep.hostile.html"):
        text = (site.file(path) or b"").decode()
        for raw in (HOSTILE, QUOTES, "<img src=x", "</style>"):
            assert raw not in text, path
        tags = Document(text).tags
        assert sum(t == "script" for t, _ in tags) == text.count("</script>")
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    "path",
    [
        "../store/runs/run-0/run.json", "runs/run-0/run.json", "run...html", "run.%2e%2e.html",
        "data/../run.js", "data/run-0/run.json", "data/run-0/val/999.js", "data/run-0/../index.js",
        "layers/../x.jpg", "examples/../x.jpg", "examples/0000000000000000.jpg",
        "data/run-0/../example.js", "data/run-0/train/../sizes.js", "data/run-0/nobody/sizes.js",
        "layers/0000000000000000/a.jpg", "", ".", "app.js/", "papers.json",
        "live.js", "run.nobody.html", "images.nobody.html", "sweep.run-0.html", "\x00.html",
    ],
)  # fmt: skip
def test_a_site_has_no_files_but_its_pages(scenes: Path, path: str) -> None:
    assert Site(Store(scenes)).file(path) is None


def test_each_figure_of_the_leaderboard_is_in_the_table_that_it_cites() -> None:
    table_of = {(t["paper"], t["table"]): t for t in tables()}
    assert len(table_of) == len(tables())
    assert {p for p, _ in table_of} == {"lpcam", "sipe", "cpal", "psdpm", "ssc"}
    for t in tables():
        assert all(len(row) == len(t["columns"]) for row in t["rows"]), t["caption"]
    for line in leaderboard():
        for value in line.figures.values():
            cited = re.findall(r"(\w+) paper, Table ([\w, ]+)", line.sources)
            rows = [
                row
                for paper, numbers in cited
                for number in numbers.split(", ")
                for row in table_of[paper.lower(), number]["rows"]
            ]
            assert any(value in row for row in rows), (line, value)


def test_rows_of_the_store_are_marked_as_other_data(scenes: Path) -> None:
    text = (Site(Store(scenes)).file("index.html") or b"").decode()
    board = text[text.index('id="leaderboard"') :]
    assert "other data: scenes" in board
    assert board.count("VOC 2012, COCO 2014") == len(leaderboard())


def test_a_report_is_whole_and_loads_nothing_from_elsewhere(store: Store, tmp_path: Path) -> None:
    add_sweep(store)
    out = Site(store, images=16).write(tmp_path / "report").parent
    pages = sorted(out.glob("*.html"))
    assert {p.name for p in pages} == {
        "index.html", "compare.html", "papers.html", "sweep.sweep-0.html",
        *(f"{kind}.run-{k}.html" for kind in ("run", "images", "prototypes") for k in (0, 1)),
    }  # fmt: skip
    for page in pages:
        for name in Document(page.read_text()).files():
            assert not re.match(r"[a-z]+:|//", name)
            assert (out / name).is_file(), (page.name, name)
    for file in [*out.glob("*.html"), *out.glob("*.js"), *out.glob("*.css")]:
        if file.name != "plotly.min.js":
            assert not re.search(r"https?://", file.read_text()), file.name
    assert not (out / "live.js").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report", "store"]
