"""Tests of the pictures of a run: boundaries, prototypes, and scores of single images."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn_store import run_of
from html_pages import Document, value_of
from PIL import Image
from wsss.dashboards.content import gallery, image_scores
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.layers import seed
from wsss.dashboards.site import Site
from wsss.platform.data.formats import label_maps, shards
from wsss.platform.data.images import decode_image, decode_mask
from wsss.platform.metrics import ConfusionMatrix
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.store import Store

CAM, LPCAM = ResultId(localizer="cam"), ResultId(localizer="lpcam")


def test_boundaries_are_files_of_the_maps_that_used_them(store: Store) -> None:
    site, run = Site(store), run_of(store)
    edge_paths = [p for p in site.paths() if p.endswith(".edges.png")]
    runs = (run, run_of(store, "run-1"))
    keys = {key[:16] for r in runs for key in r.maps[LPCAM].values()}
    assert {p.split("/")[1] for p in edge_paths} == keys
    piece = shards.slices(store.open("shards", run.shards), "val")[0]
    folder = store.open("maps", run.maps[LPCAM]["val"]).folder
    edges = label_maps.file_of_slice(folder, piece, label_maps.EDGES)
    id, levels = next(iter(label_maps.read(edges.local()).items()))
    maps_key = run.maps[LPCAM]["val"][:16]
    picture = Image.open(io.BytesIO(site.file(f"layers/{maps_key}/{id}.edges.png") or b""))
    np.testing.assert_array_equal(np.array(picture), levels)
    assert site.file(f"layers/{run.maps[CAM]['val'][:16]}/{id}.edges.png") is None
    shutil.rmtree(folder.path)
    index = value_of(Site(store).file(f"data/{run.name}/val/index.js"))
    assert isinstance(index, dict)
    assert not any(source["edges"] for source in index["sources"])


@pytest.mark.parametrize(
    ("experiment", "splits"),
    [
        ({}, ["val", "train"]),
        ({"scoring": {"splits": ["train", "val"]}}, ["val", "train"]),
        ({"scoring": {"splits": ["val", "train"]}}, ["train", "val"]),
        ({"scoring": {"splits": ["train"]}}, ["val", "train"]),
        ({"scoring": {"splits": ["val"]}}, ["train", "val"]),
        ({"scoring": "a foreign record"}, ["val", "train"]),
    ],
)
def test_the_split_of_the_threshold_is_the_last_one(
    store: Store, experiment: dict[str, object], splits: list[str]
) -> None:
    """Records keep the splits in the order of the alphabet."""
    run = dataclasses.replace(run_of(store), experiment=experiment)
    assert gallery.scored_splits(run) == splits


def test_superpixels_that_are_missing_leave_the_other_layers(store: Store) -> None:
    run = run_of(store)
    regions = next(stage for stage in run.stages if stage.stage == "superpixels")
    store.folder(regions.stage, regions.key).remove_tree()
    site = Site(store)
    images = gallery.Gallery(site.artifacts, run, "val")
    assert images.regions is None
    index = value_of(site.file(f"data/{run.name}/val/index.js"))
    assert isinstance(index, dict)
    assert index["regions"] == index["regionsTitle"] == ""
    assert len(list(images.layers())) == 20 * (2 + 3 + 4 + 1)


def test_pictures_are_found_by_artifact_and_image(scenes: Path) -> None:
    site, run = Site(Store(scenes)), run_of(Store(scenes))
    images = gallery.Gallery(site.artifacts, run, "val")
    paths = list(images.layers())
    assert len(paths) == 20 * (2 + 3 + 4 + 1 + 1)
    for path in paths[:20]:
        picture = site.file(path)
        assert picture is not None, path
        assert picture[:4] in (b"\xff\xd8\xff\xe0", b"\x89PNG", b"wsss")
        stem, _, _ = path.rpartition("/")
        assert site.file(f"{stem}/nobody.jpg") is None


def test_each_prototype_has_a_strip_of_its_closest_images(scenes: Path) -> None:
    """The images of a strip are cut around the position that is closest to the prototype."""
    store = Store(scenes)
    run, site, artifacts = run_of(store), Site(store), ArtifactCache(store)
    document = Document((site.file("prototypes.run-0.html") or b"").decode())
    pictures = [a for t, a in document.tags if t == "img"]
    patches_of = artifacts.patches(run.maps[LPCAM]["train"])
    assert len(pictures) == len(patches_of) > 2
    (value, number), patches = min(patches_of.items())
    assert [p.cosine for p in patches] == sorted((p.cosine for p in patches), reverse=True)
    attributes = pictures[0]
    assert patches[0].id in str(attributes["alt"])
    strip = Image.open(io.BytesIO(site.file(str(attributes["src"])) or b""))
    assert strip.size == (96 * len(patches[:6]), 96)
    row = artifacts.images(run.shards, artifacts.slice_of(run.shards, patches[0].id))[patches[0].id]
    image = decode_image(row["image"], "a")
    center = [int(v * n) for v, n in zip((patches[0].y, patches[0].x), image.shape, strict=False)]
    expected = np.zeros((96, 96, 3))
    for y, x in np.ndindex(*image.shape[:2]):
        position = (48 - center[0] + y, 48 - center[1] + x)
        if min(position) >= 0 and max(position) < 94:
            expected[position] = image[y, x]
    difference = np.abs(np.asarray(strip)[:, :94] - expected[:, :94]).mean(-1)
    difference[38:58, 38:58] = 0  # the box in the middle
    assert np.mean(difference > 40) < 0.02
    assert site.file(f"prototypes/{run.maps[LPCAM]['train'][:16]}/{value}.77.jpg") is None
    assert site.file(f"prototypes/{run.shards[:16]}/{value}.{number}.jpg") is None


def test_limited_images_are_spread_over_the_split(scenes: Path) -> None:
    site, run = Site(Store(scenes)), run_of(Store(scenes))
    few = gallery.Gallery(site.artifacts, run, "val", limit=10)
    every = gallery.Gallery(site.artifacts, run, "val")
    assert len(every.ids()) == 20
    assert 10 <= len(few.ids()) < 20
    assert set(few.ids()) < set(every.ids())


def test_a_chunk_holds_the_scores_of_its_images(scenes: Path) -> None:
    store = Store(scenes)
    site, run = Site(store), run_of(store)
    index = value_of(site.file("data/run-0/val/index.js"))
    rows = value_of(site.file("data/run-0/val/0.js"))
    assert isinstance(index, dict)
    assert isinstance(rows, list)
    assert [s["title"] for s in index["sources"]] == ["CAM", "LPCAM", "LPCAM, DenseCRF"]
    origins = [s["origin"] for s in index["sources"]]
    assert origins[:2] == ["chosen on train: 0.22", "chosen on train: 0.35"]
    assert index["chunks"] == [len(rows)]
    artifacts = ArtifactCache(store)
    position = 7
    id = index["ids"][position]
    piece = artifacts.slice_of(run.shards, id)
    row = artifacts.images(run.shards, piece)[id]
    target = decode_mask(row["mask"], id)
    prediction = seed(
        artifacts.maps(run.maps[LPCAM]["val"], piece)[id], index["sources"][1]["threshold"]
    )
    matrix = ConfusionMatrix(7)
    matrix.update(target, prediction)
    height, width, classes, figures = rows[position]
    assert (height, width) == target.shape
    assert classes == [c + 1 for c in row["labels"]]
    assert figures[1][0] == pytest.approx(matrix.mean_iou(), abs=1e-4)
    wrong = int((target != prediction)[target != 255].sum()) / int((target != 255).sum())
    assert sum(figures[1][1:]) == pytest.approx(wrong, abs=2e-4)


def test_a_set_of_image_scores_is_computed_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Site(store).file("data/run-0/val/0.js")

    def never(*_: object) -> None:
        raise AssertionError("judged again")

    monkeypatch.setattr(image_scores, "score_of_image", never)
    assert Site(store).file("data/run-0/val/0.js") == first


def test_the_figure_of_sizes_names_their_bounds_and_objects(scenes: Path) -> None:
    site = Site(Store(scenes))
    figure = value_of(site.file("data/run-0/val/sizes.js"))
    assert isinstance(figure, dict)
    assert [trace["name"] for trace in figure["data"]] == ["CAM", "LPCAM", "LPCAM, DenseCRF"]
    ticks = figure["layout"]["yaxis"]["ticktext"]
    assert [tick.split("<br>")[0] for tick in ticks] == ["small", "medium", "large"]
    objects = [int(tick.split("<br>")[2].split()[0]) for tick in ticks]
    rows = value_of(site.file("data/run-0/val/0.js"))
    assert isinstance(rows, list)
    assert sum(objects) == sum(len(row[2]) for row in rows)
    assert "thirds of the objects" in figure["layout"]["title"]["subtitle"]["text"]
    page = Document((site.file("run.run-0.html") or b"").decode())
    figures = [a for t, a in page.tags if t == "figure"]
    files = [a.get("data-file") for a in figures]
    at = files.index("data/run-0/val/sizes.js")
    assert figures[at - 1]["aria-label"] == "IoU % by class"
