"""Tests of images, class maps and masks on the pages in Chromium."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_tabs import until, visit
from drawn_store import drawn_store, run_of
from PIL import Image
from wsss.dashboards.content import layers
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.site import Site
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.store import Store


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


def test_images_are_ordered_and_filtered(report: Path, browser: Any) -> None:
    with visit(browser, (report / "images.run-0.html").as_uri()) as (page, _):
        until(page, "document.querySelectorAll('.card .scores').length === 20")
        assert page.get_by_label("Order").input_value() == "worst"
        assert "classes in its target or prediction" in page.locator("#scope").inner_text()
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


def test_an_image_is_opened_and_changed_by_keyboard(report: Path, browser: Any) -> None:
    with visit(browser, (report / "images.run-0.html").as_uri()) as (page, _):
        until(page, "document.querySelectorAll('.card .scores').length === 20")
        page.get_by_label("Scores of").select_option(label="LPCAM")
        until(page, "document.querySelectorAll('.card .scores').length === 20")
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


def saved(page: Any, button: str) -> list[list[str]]:
    """Return the rows of the CSV file that a button saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return list(csv.reader(Path(download.value.path()).read_text().splitlines()))


def test_runs_on_unlike_data_gain_no_points(report: Path, browser: Any) -> None:
    url = (report / "compare.html").as_uri() + "?a=run-0&b=hostile"
    with visit(browser, url) as (page, _):
        until(page, "document.querySelectorAll('#differences tbody tr').length > 1")
        gains = page.locator("#differences tbody td:last-child").all_inner_texts()
        assert set(gains) == {"–"}
        store = Store(report.parent / "store")
        scores = [run_of(store, name).scores for name in ("run-0", "hostile")]
        classes = {c for s in scores for c in s[ResultId(localizer="lpcam")]["val"].classes}
        assert len(gains) == 1 + len(classes)  # the mean, and classes of either run
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
        absent = run.scores[ResultId(localizer="cam")]["val"].classes[-1]
        table = saved(page, "CSV of IoU by class: LPCAM")
        assert table[2][0] == "mean"
        assert table[2][3] == f"{gain:.1f}"
        assert table[-1] == [absent, "", "", ""]
        figure = saved(page, "CSV of IoU by class of two runs")
        assert ["A: CAM", "absent", absent, "", "IoU %", ""] in figure
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


def test_means_over_different_classes_gain_no_points(report: Path, browser: Any) -> None:
    url = (report / "compare.html").as_uri() + "?a=run-0&b=run-1"
    with visit(browser, url) as (page, _):
        until(page, "document.querySelectorAll('#differences tbody tr').length > 1")
        page.evaluate(
            "(() => { const b = chosen('b'); b.classes.shift(); b.iou.shift(); compare(); })()"
        )
        gains = page.locator("#differences tbody td:last-child").all_inner_texts()
        assert gains[:2] == ["–", "–"]
        assert gains[2] != "–"
        assert "run over different classes" in page.locator("#differences .note").inner_text()
