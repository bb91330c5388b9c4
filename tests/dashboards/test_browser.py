"""Tests of the pages in Chromium: from disk and served, at two widths, with hostile records."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_datasets import HOSTILE_NAMES, Drawn, add_dataset
from drawn_records import make_run, make_sweep, make_trials
from drawn_store import add_hostile, add_run, add_sweep, drawn_store, metrics, run_of
from limits import HANG
from PIL import Image
from wsss.dashboards import single_file
from wsss.dashboards.content import layers
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.records import TRIALS
from wsss.dashboards.server import Server
from wsss.dashboards.site import Site
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import ProgressRecorder
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import StageRecord
from wsss.platform.serialization import as_json
from wsss.platform.storage.store import Store

Visit = tuple[Any, list[str]]


def until(page: Any, condition: str) -> None:
    """Wait for a condition; Playwright's own wait needs eval, which the page's policy forbids."""
    for _ in range(10 * HANG):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {condition}")


DRAWN = (
    "document.querySelectorAll('figure.plot').length === "
    "document.querySelectorAll('.js-plotly-plot .main-svg:first-child').length"
)


def is_wrong(message: Any) -> bool:
    """Return whether a console message is a fault of the page, not of a test's canvas reading."""
    from_test = message.text.startswith("Canvas2D: Multiple readback operations")
    return message.type in ("error", "warning") and not from_test


@contextlib.contextmanager
def visit(browser: Any, url: str, width: int = 1280, scheme: str = "light") -> Iterator[Visit]:
    """Open a page; yield it and the list that receives its errors and its outside requests."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(1000 * HANG)
    faults: list[str] = []
    own = ("data:", "blob:", url[: url.index("/", 8) + 1] if url.startswith("http") else "file:")
    page.on("console", lambda m: faults.append(m.text) if is_wrong(m) else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("dialog", lambda d: (faults.append("a script ran"), d.dismiss()))
    page.on("request", lambda r: None if r.url.startswith(own) else faults.append(r.url))
    page.goto(url)
    until(page, DRAWN)
    yield page, faults
    assert faults == []
    page.close()


@pytest.fixture(scope="session")
def report(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report on a store with hostile records and sweeps of 0, 1 and 500 trials."""
    root = tmp_path_factory.mktemp("everything")
    shutil.copytree(scenes, root / "store")
    store = Store(root / "store")
    add_hostile(store)
    add_dataset(store, "hostile", Drawn(HOSTILE_NAMES))
    add_dataset(store, "bare", Drawn(("cat", "dog"), masks=False))
    for count in (0, 1, 500):
        add_sweep(store, count, f"sweep-{count}")
    add_sweep(store, 24, "failed", fail=lambda k: True)
    return Site(store).write(root / "report").parent


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(1280, ("run-1",)), (390, ("run-1", "run.run-0", "sweep-0", "sweep-1"))],
)
def test_every_page_works_from_disk(
    report: Path, browser: Any, width: int, left_out: tuple[str, ...]
) -> None:
    """The pages of the second run are left out, as they are made like those of the first; on a
    narrow screen the hostile run and sweep, whose texts are longest, stand for other ones."""
    for path in sorted(report.glob("*.html")):
        if any(name in path.name for name in left_out):
            continue
        with visit(browser, path.as_uri(), width) as (page, _):
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
            assert page.locator("img[src='x']").count() == 0
            assert page.locator("h1").count() == 1
            assert page.locator("main, nav[aria-label=Site]").count() == 2
            if "hostile" in path.name:
                texts = "".join(page.locator(".js-plotly-plot").all_inner_texts())
                assert "&lt;" not in texts


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


def test_the_overview_shows_a_picture_of_each_run(report: Path, browser: Any) -> None:
    with visit(browser, (report / "index.html").as_uri()) as (page, _):
        page.locator("#pictures").scroll_into_view_if_needed()
        until(page, "document.querySelectorAll('.example img').length === 2")
        loaded = (
            "[...document.querySelectorAll('.example img')].every(i => i.naturalHeight === 128)"
        )
        until(page, loaded)
        first = page.locator(".example").first
        names = first.locator("li").all_inner_texts()
        assert names == ["image", "CAM", "LPCAM", "LPCAM, DenseCRF", "target"]
        assert "the median of 20 images" in first.inner_text()
        id = first.locator("a").first.get_attribute("href").partition("#")[2]
        first.locator("a").first.click()
        until(page, "document.getElementById('viewer')?.open === true")
        assert page.locator("#viewer-title").inner_text() == id


def pixels(page: Any) -> Any:
    """Return the seed as the browser drew it: mask colours `[H,W,4]`."""
    canvas = page.evaluate(
        "(() => { const c = document.getElementById('seed');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "let text = ''; for (const v of d.data) text += String.fromCharCode(v);"
        "return [c.height, c.width, btoa(text)]; })()"
    )
    return np.frombuffer(base64.b64decode(canvas[2]), np.uint8).reshape(canvas[0], canvas[1], 4)


def set_range(page: Any, name: str, value: float) -> None:
    page.evaluate(
        f"(() => {{ const r = document.querySelector('[name={name}]'); r.value = {value};"
        "r.dispatchEvent(new Event('input')); })()"
    )


@pytest.mark.parametrize("size", [64, 520])
def test_the_slider_cuts_the_mask_that_python_cuts(tmp_path: Path, browser: Any, size: int) -> None:
    store, (run,) = drawn_store(tmp_path / "store", train=1, val=1, size=size)
    out = Site(store).write(tmp_path / "report").parent
    artifacts = ArtifactCache(store)
    (piece,) = artifacts.pieces(run.shards, "val")
    with visit(browser, (out / f"images.{run.name}.html").as_uri()) as (page, _):
        for id, maps in artifacts.maps(run.maps[ResultId(localizer="lpcam")]["val"], piece).items():
            page.get_by_role("button", name=f"Open {id}").click()
            page.get_by_label("Class maps of").select_option(label="LPCAM")
            until(page, "document.querySelector('[name=threshold]') !== null")
            for threshold in (0.0, 0.07, 0.35, 0.5, 0.99):
                set_range(page, "threshold", threshold)
                png = Image.open(io.BytesIO(layers.mask(layers.seed(maps, threshold))))
                expected = np.array(png.convert("RGBA"))
                expected[expected[..., 3] == 0] = 0
                np.testing.assert_array_equal(pixels(page), expected)
            page.keyboard.press("Escape")


def test_switching_a_class_off_leaves_the_other_classes(tmp_path: Path, browser: Any) -> None:
    store, (run,) = drawn_store(tmp_path / "store", train=1, val=12)
    out = Site(store).write(tmp_path / "report").parent
    artifacts = ArtifactCache(store)
    (piece,) = artifacts.pieces(run.shards, "val")
    candidates = artifacts.maps(run.maps[ResultId(localizer="lpcam")]["val"], piece).values()
    maps = next(m for m in candidates if len(m.classes) > 1)
    hidden = maps.classes[0]
    visible = dataclasses.replace(maps, classes=maps.classes[1:], planes=maps.planes[1:])
    name = run.scores[ResultId(localizer="lpcam")]["val"].classes[hidden]
    with visit(browser, (out / f"images.{run.name}.html").as_uri() + f"#{maps.id}") as (page, _):
        page.get_by_label("Class maps of").select_option(label="LPCAM")
        page.locator(".maps").get_by_label(name).uncheck()
        set_range(page, "threshold", 0.2)
        png = Image.open(io.BytesIO(layers.mask(layers.seed(visible, 0.2))))
        assert (pixels(page)[..., 3] > 0).tolist() == (np.array(png) > 0).tolist()


def test_images_are_ordered_filtered_and_opened_by_keyboard(report: Path, browser: Any) -> None:
    with visit(browser, (report / "images.run-0.html").as_uri()) as (page, _):
        until(page, "document.querySelectorAll('.card .scores').length === 20")
        assert page.get_by_label("Order").input_value() == "worst"
        parse = "cards => cards.map(c => Number(/DenseCRF ([0-9.]+)/.exec(c.textContent)[1]))"
        scores = page.locator(".card .scores").evaluate_all(parse)
        assert scores == sorted(scores)
        ids = page.locator(".card h3").all_inner_texts()
        page.get_by_label("Order").select_option(label="stored order")
        until(page, "document.querySelectorAll('.card .scores').length === 20")
        assert page.locator(".card h3").all_inner_texts() != ids
        page.get_by_label("Order").select_option(label="lowest mIoU first")
        page.get_by_label("Scores of").select_option(label="LPCAM")
        until(page, "document.querySelectorAll('.card .scores').length === 20")
        parse = "cards => cards.map(c => Number(/LPCAM ([0-9.]+)/.exec(c.textContent)[1]))"
        scores = page.locator(".card .scores").evaluate_all(parse)
        assert scores == sorted(scores)
        page.get_by_label("Error").select_option(label="false positives")
        errors = page.locator(".card .scores").all_inner_texts()
        assert all("false positives" in text for text in errors)
        assert 0 < len(errors) < 20
        page.get_by_label("Error").select_option(label="any")
        page.locator("[name=class]").select_option(value="2")
        name = page.locator("[name=class] option[value='2']").inner_text()
        texts = page.locator(".card").all_inner_texts()
        assert texts
        assert all(name in text for text in texts)
        page.locator(".card .open").first.focus()
        page.keyboard.press("Enter")
        until(page, "document.getElementById('viewer').open")
        until(page, "document.querySelector('[name=threshold]') !== null")
        title = page.locator("#viewer-title").inner_text()
        before = page.locator("[name=threshold]").input_value()
        page.keyboard.press("]")
        assert float(page.locator("[name=threshold]").input_value()) == pytest.approx(
            float(before) + 0.01
        )
        page.keyboard.press("ArrowRight")
        assert page.locator("#viewer-title").inner_text() != title
        page.keyboard.press("2")
        assert page.get_by_label("heat map", exact=True).is_checked()
        page.locator("#viewer").get_by_label("LPCAM boundaries", exact=True).check()
        boundaries = "document.querySelector('.stage img[alt$=boundaries]')"
        until(page, f"{boundaries}.naturalWidth > 0 && {boundaries}.style.visibility === ''")
        page.keyboard.press("Escape")
        assert not page.evaluate("document.getElementById('viewer').open")


def test_runs_on_unlike_data_gain_no_points(report: Path, browser: Any) -> None:
    url = (report / "compare.html").as_uri() + "?a=run-0&b=hostile"
    with visit(browser, url) as (page, _):
        until(page, "document.querySelectorAll('#differences tbody tr').length > 1")
        gains = page.locator("#differences tbody td:last-child").all_inner_texts()
        assert set(gains) == {"–"}
        assert "scored on unlike images or masks" in page.locator("#differences .note").inner_text()


def test_two_runs_are_compared(report: Path, browser: Any) -> None:
    url = (report / "compare.html").as_uri() + "?a=run-0&b=run-1"
    with visit(browser, url) as (page, _):
        page.locator("[name=a-of]").select_option(label="CAM on val")
        page.locator("[name=b-of]").select_option(label="LPCAM on val")
        until(page, "/20 of 20/.test(document.getElementById('pair-scope').textContent)")
        run = run_of(Store(report.parent / "store"))
        gain = 100 * (
            run.scores[ResultId(localizer="lpcam")]["val"].value
            - run.scores[ResultId(localizer="cam")]["val"].value
        )
        assert f"{gain:+.1f}" in page.locator("#differences tbody tr").first.inner_text()
        texts = page.locator("#gained .scores, #lost .scores").all_inner_texts()
        assert texts
        for text in texts:
            old, new = text.split(" (")[0].split(" → ")
            sign = "−" if float(new) < float(old) else "+"
            assert sign in text or old == new
        page.locator("#gained .open, #lost .open").first.click()
        set_range(page, "swipe", 20)
        clip = page.locator(".stage .right").evaluate("e => getComputedStyle(e).clipPath")
        assert "20%" in clip


def test_tables_are_sorted_filtered_and_saved(report: Path, browser: Any) -> None:
    with visit(browser, (report / "sweep.sweep-500.html").as_uri()) as (page, _):
        page.get_by_role("button", name="mIoU %", exact=True).click()
        assert "best" in page.locator("#trials tbody tr").first.inner_text()
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
        with page.expect_download() as download:
            page.get_by_role("button", name="PNG of Optimization history").click()
        assert Path(download.value.path()).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_follow_the_scheme(report: Path, browser: Any, scheme: str) -> None:
    with visit(browser, (report / "compare.html").as_uri(), scheme=scheme) as (page, _):
        same = (
            "getComputedStyle(document.querySelector('.gtitle')).fill === "
            "getComputedStyle(document.body).color"
        )
        until(page, same)
        page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
        until(page, same)


@contextlib.contextmanager
def served(store: Store) -> Iterator[str]:
    with Server(store, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


def test_a_sweep_is_followed_without_reloading(store: Store, browser: Any) -> None:
    folder = store.location("sweeps", "going")
    trials = make_trials(12)
    recorded = ProgressRecorder(ProgressDisplay())
    record = dataclasses.replace(make_sweep(0), name="going")
    with recorded.track(folder, record), served(store) as address:
        with visit(browser, f"{address}sweep.going.html") as (page, _):
            page.evaluate("window.same = true")
            assert "before the first trial" in page.locator(".going").inner_text()
            for count in (1, 12):
                lines = "".join(json.dumps(as_json(t)) + "\n" for t in trials[:count])
                (folder / TRIALS).write((lines + '{"half a li').encode())
                recorded.written = -9.0
                recorded.update("trial", count, 12)
                until(page, f"document.querySelectorAll('#trials tbody th').length === {count}")
                until(page, f"/{count} of 12/.test(document.querySelector('.going').textContent)")
            until(page, DRAWN)
            assert page.evaluate("window.same")
            page.get_by_role("button", name="mIoU %", exact=True).click()
            assert page.locator("#trials th[aria-sort=descending]").count() == 1
        with visit(browser, address) as (page, _):
            assert "running" in page.locator("#sweeps tbody").inner_text()


def test_a_training_is_followed_and_its_end_is_seen(store: Store, browser: Any) -> None:
    key = "ab" * 32
    stage = StageRecord(stage="network", title="train cam", key=key, seconds=0.0, cached=False)
    done = run_of(store)
    record = dataclasses.replace(
        done, name="going", stages=(stage,), scores={}, maps={}, labels={}, status="running"
    )
    recorded = ProgressRecorder(ProgressDisplay())
    with served(store) as address, visit(browser, address) as (page, _):
        page.evaluate("window.same = true")
        with recorded.track(store.location("runs", "going"), record):
            recorded.plan(["train cam"])
            recorded.start("train cam")
            until(page, "/running/.test(document.querySelector('#runs tbody').textContent)")
            with visit(browser, f"{address}run.going.html") as (run, _):
                log = store.storage.local_folder / "training" / f"{key[:32]}.jsonl"
                log.parent.mkdir()
                for count in (3, 9):
                    log.write_text("".join(json.dumps(row) + "\n" for row in metrics(count)))
                    until(run, f"/step {count} of 40/.test(document.body.textContent)")
        until(page, "!/running/.test(document.querySelector('#runs tbody').textContent)")
        assert page.evaluate("window.same")


def test_the_figure_of_sizes_is_made_when_it_comes_into_view(store: Store, browser: Any) -> None:
    with served(store) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(1000 * HANG)
        faults: list[str] = []
        page.on("console", lambda m: faults.append(m.text) if is_wrong(m) else None)
        sizes: list[str] = []
        page.on("request", lambda r: sizes.append(r.url) if r.url.endswith("sizes.js") else None)
        page.goto(f"{address}run.run-0.html")
        until(page, "document.querySelectorAll('.js-plotly-plot').length > 5")
        assert sizes == []
        figure = page.locator("figure[data-file='data/run-0/val/sizes.js']")
        figure.scroll_into_view_if_needed()
        figure.locator(".js-plotly-plot").wait_for()
        assert "small" in figure.inner_text()
        assert page.locator("figure .note").count() < 2
        with page.expect_download() as download:
            figure.get_by_role("button", name="CSV of mIoU % by size of object").click()
        assert "LPCAM, DenseCRF" in Path(download.value.path()).read_text()
        page.goto(address)
        page.locator("#pictures").scroll_into_view_if_needed()
        until(page, "document.querySelectorAll('.example img').length === 2")
        assert faults == []
        page.close()


def test_a_report_in_one_file_works_alone(scenes: Path, tmp_path: Path, browser: Any) -> None:
    """Links, the back button, figures, pictures and data work, and no other file is read."""
    shutil.copytree(scenes, tmp_path / "store")
    store = Store(tmp_path / "store")
    add_sweep(store, 24, "sweep-0")
    out = tmp_path / "report.html"
    single_file.write(Site(store), out, "run.run-0.html")
    shutil.rmtree(tmp_path / "store")
    faults: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * HANG)
    page.on("console", lambda m: faults.append(m.text) if is_wrong(m) else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    allowed = ("data:", "blob:", out.as_uri())
    page.on("request", lambda r: None if r.url.startswith(allowed) else faults.append(r.url))
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
    assert faults == []
    page.close()
