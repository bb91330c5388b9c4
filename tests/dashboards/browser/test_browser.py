"""Tests of the pages in Chromium, from disk: at several widths, with hostile records."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from browser_tabs import DRAWN, tab, until, visit
from drawn_records import make_run, make_sweep, make_trials
from drawn_store import add_run, add_sweep
from wsss.dashboards import single_file
from wsss.dashboards.site import Site
from wsss.platform.storage.store import Store


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(1280, ("run-1",)), (390, ("run-1", "run.run-0", "sweep-0", "sweep-1"))],
)
def test_every_page_works_from_disk(
    report: Path, browser: Any, width: int, left_out: tuple[str, ...]
) -> None:
    """The pages of the second run are left out, as they are made like those of the first; on a
    narrow screen the hostile run and sweep, whose texts are longest, stand for other ones."""
    with tab(browser, "file:", width) as (page, faults):  # one tab reads each script once
        for path in sorted(report.glob("*.html")):
            if any(name in path.name for name in left_out):
                continue
            page.goto(path.as_uri())
            until(page, DRAWN)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
            assert page.locator("img[src='x']").count() == 0
            assert page.locator("h1").count() == 1
            assert page.locator("main, nav[aria-label=Site]").count() == 2
            if "hostile" in path.name:
                texts = "".join(page.locator(".js-plotly-plot").all_inner_texts())
                assert "&lt;" not in texts
            assert faults == [], path.name


CUT = (
    "[...document.querySelectorAll('.scroll')].filter(box => "
    "box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight || "
    "[...box.querySelectorAll('td, th')].some(cell => "
    "cell.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)).length"
)
"""Number of tables of which a part is cut off."""


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_the_overview_cuts_no_column(report: Path, browser: Any, width: int) -> None:
    with visit(browser, (report / "index.html").as_uri(), width) as (page, _):
        assert page.locator(".scroll").count() == 6  # three of them leaderboards
        assert page.evaluate(CUT) == 0
        page.locator("#runs").get_by_role("button", name="run", exact=True).click()
        names = page.locator("#runs tbody th").all_inner_texts()
        assert names == sorted(names, reverse=True)


@pytest.mark.parametrize("width", [1280, 390])
def test_long_names_cut_no_column(tmp_path: Path, browser: Any, width: int) -> None:
    store, long = Store(tmp_path / "store"), "a_name_without_a_place_to_break_" * 3
    add_run(store, dataclasses.replace(make_run(name=long), dataset=long, method=long, seconds=1e6))
    add_sweep(store, 8, long)
    out = Site(store).write(tmp_path / "report")
    with visit(browser, out.as_uri(), width) as (page, _):
        assert page.evaluate(CUT) == 0
        assert page.locator("#runs tbody th").inner_text() == long
        broken = (
            "cells => cells.filter(cell => { const range = document.createRange(); "
            "range.selectNodeContents(cell); return range.getClientRects().length > 1; }).length"
        )
        numbers = page.locator("#runs tbody td.number")
        assert numbers.count() > 5
        assert numbers.evaluate_all(broken) == 0


def test_tables_are_sorted_filtered_and_saved(report: Path, browser: Any) -> None:
    with visit(browser, (report / "sweep.sweep-500.html").as_uri()) as (page, _):
        page.get_by_role("button", name="mIoU %", exact=True).click()
        best = page.locator("#trials tbody th").first.inner_text()
        assert best == make_sweep(500).best  # the trial with the highest mIoU
        page.get_by_label("Filter: ").fill("failed")
        failed = sum(t.value is None for t in make_trials(500))
        assert page.locator("#trials tbody tr:visible").count() == failed
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV of 500 trials").click()
        lines = Path(download.value.path()).read_text().splitlines()
        assert len(lines) == failed + 2
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV of Optimization history").click()
        rows = Path(download.value.path()).read_text().splitlines()
        assert "240 images" in rows[1]
        assert sum(row.startswith("trial,") for row in rows) == 500 - failed
        assert rows[3].endswith(",position among the trials,best mIoU %")
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV of Parameter sensitivity").click()
        rows = Path(download.value.path()).read_text().splitlines()
        for label in make_sweep(0).labels.values():
            assert any(row.endswith(f",{label},best mIoU %") for row in rows), label
        assert page.get_by_role("button", name="CSV of Parallel coordinates").count() == 0
        with page.expect_download() as download:
            page.get_by_role("button", name="PNG of Optimization history").click()
        assert Path(download.value.path()).read_bytes()[:4] == b"\x89PNG"


def test_figures_follow_the_scheme(report: Path, browser: Any) -> None:
    with visit(browser, (report / "compare.html").as_uri(), scheme="dark") as (page, _):
        same = (
            "getComputedStyle(document.querySelector('.gtitle')).fill === "
            "getComputedStyle(document.body).color"
        )
        until(page, same)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            until(page, same)


def test_a_report_in_one_file_works_alone(scenes: Path, tmp_path: Path, browser: Any) -> None:
    """Links, the back button, figures, pictures and data work, and no other file is read."""
    shutil.copytree(scenes, tmp_path / "store")
    store = Store(tmp_path / "store")
    add_sweep(store, 24, "sweep-0")
    out = tmp_path / "report.html"
    single_file.write(Site(store), out, "run.run-0.html")
    shutil.rmtree(tmp_path / "store")
    with tab(browser, out.as_uri()) as (page, _):
        page.goto(out.as_uri())
        inner = page.frame_locator("iframe")
        inner.get_by_role("heading", name="run-0").first.wait_for()
        inner.locator(".js-plotly-plot").first.wait_for()
        inner.get_by_role("link", name="Prototypes").click()
        strip = inner.locator(".prototypes img").first
        strip.wait_for()
        assert (
            strip.evaluate("async (image) => { await image.decode(); return image.naturalHeight; }")
            == 96
        )
        page.go_back()
        inner.get_by_role("link", name="Images").click()
        inner.get_by_role("button", name="Open scene").first.click()
        inner.get_by_label("Class maps of").select_option(label="LPCAM")
        inner.locator("[name=threshold]").wait_for()
        page.keyboard.press("Escape")
        inner.get_by_role("link", name="Compare with another run").click()
        inner.locator("[name=a-of]").select_option(label="CAM on val")
        inner.locator("[name=b-of]").select_option(label="LPCAM on val")
        inner.locator("#gained .open, #lost .open").first.wait_for()
        assert inner.locator("select[name=a]").input_value() == "run-0"
        inner.get_by_role("link", name="Overview").click()
        example = inner.locator(".example img").first
        example.wait_for()
        height = "async (image) => { await image.decode(); return image.naturalHeight; }"
        assert example.evaluate(height) == 128
        inner.get_by_role("link", name="sweep-0").first.click()
        inner.get_by_role("heading", level=1).wait_for()
        assert "sweep" in page.title()
