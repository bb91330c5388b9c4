"""Tests of the page of a data set."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from drawn_datasets import HOSTILE_NAMES, Drawn, add_dataset
from drawn_records import HOSTILE, QUOTES
from drawn_store import add_run, run_of
from html_pages import Document, value_of
from PIL import Image
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.dataset_images import picture
from wsss.dashboards.site import Site
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store


def text_of(site: Site, path: str) -> str:
    return (site.file(path) or b"").decode()


def test_the_page_has_check_counts_pictures_and_origin(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    add_dataset(store, "mine", Drawn(("cat", "dog", "cow")))
    site = Site(store)
    text = text_of(site, "dataset.mine.html")
    assert "labels and masks agree in all 6 images that have both" in text
    assert "smallest 60x40, median 60x40, largest 60x40" in text
    assert "images/*.jpg" in text
    assert text.count("<table") == 2
    paths = [name for name in Document(text).files() if name.startswith("datasets/")]
    assert len(paths) == 6
    assert set(paths) <= set(site.paths())
    for path in paths:
        with Image.open(io.BytesIO(site.file(path) or b"")) as image:
            assert image.size == (2 * 144 + 2, 96)
    overview = text_of(site, "index.html")
    assert 'href="dataset.mine.html"' in overview
    assert "0 findings" in overview


def test_a_picture_shows_the_mask_beside_the_image(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    key = add_dataset(store, "mine", Drawn(("cat", "dog")))
    artifacts = ArtifactCache(store)
    check = artifacts.check(key)
    assert check is not None
    data = picture(artifacts, key, check, "2.0.jpg")
    pixels = np.asarray(Image.open(io.BytesIO(data or b""))).astype(int)
    left, right = pixels[:, :144], pixels[:, 146:]
    changed = np.abs(left - right).sum(2) > 150
    assert changed[30:66, 30:66].mean() > 0.5  # the square of the class, at 2.4 times its size
    assert changed[80:, 80:].mean() < 0.05
    for file in ("3.0.jpg", "0.0.jpg", "2.9.jpg", "x.jpg", "2.0.png"):
        assert picture(artifacts, key, check, file) is None


@pytest.mark.parametrize("masks", [True, False])
def test_ninety_hostile_classes_are_shown_and_escaped(tmp_path: Path, masks: bool) -> None:
    store = Store(tmp_path / "store")
    add_dataset(
        store, "odd", Drawn(HOSTILE_NAMES, masks), quarantined=[f"image {HOSTILE} is broken"]
    )
    site = Site(store)
    text = text_of(site, "dataset.odd.html")
    for raw in (HOSTILE, QUOTES, "<img src=x", "</style>"):
        assert raw not in text
    tags = Document(text).tags
    assert sum(t == "script" for t, _ in tags) == text.count("</script>")
    assert sum(t == "figure" for t, _ in tags) == 90
    assert ("no image has both a label and a mask" in text) is not masks
    assert site.file(next(p for p in site.paths() if p.startswith("datasets/")))


def test_shards_without_a_check_have_a_page_that_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    add_dataset(store, "old", Drawn(("cat",)), check=None, origin=None)
    site = Site(store)
    assert "wsss doctor old checks it" in text_of(site, "dataset.old.html")
    assert "not checked" in text_of(site, "index.html")
    assert not [p for p in site.paths() if p.startswith("datasets/")]


def test_a_data_set_without_shards_hides_no_other_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    add_dataset(store, "mine", Drawn(("cat",)))
    write_json(store.location("data", "gone.json"), {"key": "ab" * 32, "source": "voc"})
    store.location("data", "torn.json").write(b"{")
    site = Site(store)
    assert "dataset.gone.html" not in set(site.paths())
    assert site.file("dataset.gone.html") is None
    assert site.file("dataset.torn.html") is None
    overview = text_of(site, "index.html")
    assert "the store holds no intact artifact" in overview
    assert 'href="dataset.mine.html"' in overview


def test_a_report_of_one_run_has_the_data_set_of_that_run_alone(store: Store) -> None:
    run = run_of(store)
    write_json(store.location("data", "scenes.json"), {"key": run.shards, "source": "scenes"})
    add_dataset(store, "mine", Drawn(("cat",)))
    paths = set(Site(store, runs=["run-0"], sweeps=[]).paths())
    assert "dataset.scenes.html" in paths
    assert "dataset.mine.html" not in paths


@pytest.mark.parametrize(
    "path",
    [
        "dataset.nobody.html", "dataset..html", "datasets/../x.jpg",
        "datasets/0000000000000000/1.0.jpg",
        "datasets/", "dataset.mine.html/x", "datasets/{}/99.0.jpg", "datasets/{}/../../x",
    ],
)  # fmt: skip
def test_a_site_has_no_other_files_of_data_sets(tmp_path: Path, path: str) -> None:
    store = Store(tmp_path / "store")
    key = add_dataset(store, "mine", Drawn(("cat",)))
    assert Site(store).file(path.format(key[:16])) is None


def test_a_followed_overview_changes_with_its_data_sets(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    site = Site(store, live=True)
    before = site.state("index.html")
    add_dataset(store, "mine", Drawn(("cat",)))
    assert site.state("index.html") != before


def test_runs_on_unlike_data_stand_in_different_leaderboards(store: Store) -> None:
    digests = {s: {"ids": "a" * 64, "masks": "b" * 64} for s in ("train", "val")}
    other = {**digests, "train": {"ids": "a" * 64, "masks": "c" * 64}}
    for name, method, shards_key, known in (
        ("one", "cam", "1" * 64, digests),
        ("two", "lpcam", "2" * 64, digests),  # other shards with the same images and masks
        ("three", "sipe", "3" * 64, other),
    ):
        run = dataclasses.replace(run_of(store), name=name, shards=shards_key, digests=known)
        add_run(store, dataclasses.replace(run, method=method, dataset=name))
    site = Site(store)
    text = text_of(site, "index.html")
    boards = text[text.index('id="leaderboard"') :].split("<table")[1:]
    holders = {
        name: [k for k, board in enumerate(boards) if f"run.{name}.html" in board]
        for name in ("run-0", "one", "two", "three")
    }
    assert all(len(tables) == 1 for tables in holders.values())
    assert holders["one"] == holders["two"]
    assert len({holders[name][0] for name in ("run-0", "one", "three")}) == 3
    assert len(boards) == 4  # three groups, and the papers
    keys = {
        name: [score["data"] for score in value_of(site.file(f"data/{name}/run.js"))["scores"]]
        for name in ("one", "two", "three")
    }
    assert keys["one"] == keys["two"]
    assert keys["one"] != keys["three"]
