"""Tests of the pages and pictures of a run without scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from browser_tabs import until, visit
from drawn_store import add_run, drawn_store
from html_pages import value_of
from wsss.dashboards.content import example_image
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.example_image import HEIGHT, LINE, TITLE_HEIGHT
from wsss.dashboards.content.gallery import Gallery, sources, threshold_of
from wsss.dashboards.content.strip import columns_of, strip
from wsss.dashboards.site import Site
from wsss.platform.metrics import OWN_BACKGROUND
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import FROM_FIXED_VALUE, FROM_OWN_BACKGROUND, RunRecord
from wsss.platform.storage.store import Store

CAM, LPCAM, CRF = (ResultId.parse(text) for text in ("cam", "lpcam", "lpcam/crf"))
Bare = tuple[Store, RunRecord]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """Return a store with a run as if no image had a mask; the tests only read it."""
    store, (run,) = drawn_store(tmp_path_factory.mktemp("bare") / "store", train=4, val=6)
    changed = dataclasses.replace(
        run,
        scores={id: {} for id in run.scores},
        unscored=("train", "val"),
        thresholds={CAM: 0.15, LPCAM: None},
        labels={**run.labels, CAM: {"val": run.labels[CRF]["val"]}},
    )
    return store, add_run(store, changed)


def test_class_maps_are_cut_at_the_threshold_of_the_record(bare: Bare) -> None:
    store, run = bare
    assert threshold_of(run, CAM) == (0.15, FROM_FIXED_VALUE)
    assert threshold_of(run, LPCAM) == (OWN_BACKGROUND, FROM_OWN_BACKGROUND)
    shown = [(source.id, source.threshold) for source in sources(run, "val")]
    assert shown == [(CAM, 0.15), (LPCAM, OWN_BACKGROUND), (CRF, None)]  # CAM's labels are its seed
    index = value_of(Site(store).file(f"data/{run.name}/val/index.js"))
    assert isinstance(index, dict)
    origins = [source["origin"] for source in index["sources"]]
    assert origins[:2] == ["fixed: 0.15", "from the background map"]


def test_the_example_is_the_first_image(bare: Bare) -> None:
    store, run = bare
    images = Gallery(ArtifactCache(store), run, "val")
    example = example_image.example(images)
    assert example is not None
    assert (example.id, example.score, example.images) == (images.ids()[0], None, 6)
    assert not store.location("artifacts", "image_scores").exists()


def test_a_picture_of_a_comparison_has_neither_numbers_nor_targets(bare: Bare) -> None:
    store, run = bare
    rows = [("cam", CAM, [run]), ("lpcam", LPCAM, [run])]
    picture = strip(columns_of(ArtifactCache(store), rows))
    assert picture.width == 3 * HEIGHT + 2 * LINE  # image, CAM and LPCAM
    assert picture.height >= TITLE_HEIGHT + 4 * (TITLE_HEIGHT + HEIGHT)  # five of four images


def test_prototypes_have_their_page(bare: Bare) -> None:
    store, run = bare
    page = (Site(store).file(f"prototypes.{run.name}.html") or b"").decode()
    assert "<img" in page


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_images_shows_no_scores(
    bare: Bare, tmp_path: Path, browser: Any, width: int
) -> None:
    store, run = bare
    out = Site(store).write(tmp_path / "report").parent
    with visit(browser, (out / f"images.{run.name}.html").as_uri(), width) as (page, _):
        until(page, "document.querySelectorAll('.card').length === 4")
        assert "4 images · not scored" in page.locator("#scope").inner_text()
        assert page.get_by_label("Order").is_hidden()
        assert page.get_by_label("Main error").is_hidden()
        assert page.locator(".card .scores").count() == 0
        layers = page.locator("fieldset label").all_inner_texts()
        assert layers
        assert not any("target" in layer for layer in layers)
        page.locator(".card .open").first.click()
        until(page, "document.querySelector('[name=threshold]') !== null")
        assert "Threshold (from the background map)" in page.locator(".maps").inner_text()
        assert "mIoU" not in page.locator("body").inner_text()
    with visit(browser, (out / "index.html").as_uri(), width) as (page, _):
        page.locator("#pictures").scroll_into_view_if_needed()
        until(page, "document.querySelectorAll('.example img').length === 1")
        assert "not scored" in page.locator(".example").inner_text()
