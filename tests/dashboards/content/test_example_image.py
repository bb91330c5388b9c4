"""Tests of the example image of a run: which image it is, and the parts of its picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from drawn_store import run_of
from html_pages import value_of
from PIL import Image
from wsss.dashboards.content.example_image import HEIGHT, LINE, example, picture_path
from wsss.dashboards.content.gallery import Gallery
from wsss.dashboards.site import Site
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.store import Store

CRF = ResultId.parse("lpcam/crf")
PARTS = ["image", "CAM", "LPCAM", "LPCAM, DenseCRF", "target"]


def data_of(site: Site) -> dict[str, object]:
    value = value_of(site.file("data/run-0/example.js"))
    assert isinstance(value, dict)
    return value


def parts_of(site: Site) -> list[np.ndarray]:
    """Return the parts of the picture of run-0 as float `[H,W,3]`."""
    data = site.file(str(data_of(site)["picture"])) or b""
    pixels = np.asarray(Image.open(io.BytesIO(data)), np.float64)
    parts = data_of(site)["parts"]
    assert isinstance(parts, list)
    assert list(pixels.shape[1::-1]) == data_of(site)["size"]
    return np.split(pixels, len(parts), axis=1)


def test_the_example_is_the_image_with_the_median_score(scenes: Path) -> None:
    store = Store(scenes)
    site = Site(store)
    images = Gallery(site.artifacts, run_of(store), "val")
    rows = value_of(site.file("data/run-0/val/0.js"))
    assert isinstance(rows, list)
    last = [(row[3][-1][0], id) for row, id in zip(rows, images.ids(), strict=True)]
    chosen = example(images)
    assert chosen is not None
    assert (chosen.score, chosen.id) == sorted(last)[9]
    assert (chosen.result, chosen.images) == ("LPCAM, DenseCRF", 20)
    data = data_of(site)
    assert (data["id"], data["split"]) == (chosen.id, "val")


def test_the_picture_shows_image_maps_labels_and_target(scenes: Path) -> None:
    site = Site(Store(scenes))
    assert data_of(site)["parts"] == PARTS
    parts = parts_of(site)
    assert {part.shape for part in parts} == {(HEIGHT, HEIGHT + LINE, 3)}
    changed = [np.abs(part - parts[0]).mean() > 2 for part in parts]
    assert changed == [False, True, True, True, True]
    assert all(part[:, -1].mean() < 40 for part in parts)  # the black line
    assert (data_of(site)["picture"]) in set(site.paths())


def test_parts_whose_artifacts_are_gone_leave_no_hole(store: Store) -> None:
    run = run_of(store)
    assert Site(store).file("data/run-0/val/0.js")  # the scores stay in the store
    store.folder("labels", run.labels[CRF]["val"]).remove_tree()
    site = Site(store)
    assert data_of(site)["parts"] == ["image", "CAM", "LPCAM", "target"]
    assert len(parts_of(site)) == 4
    for key in (by_split["val"] for by_split in run.maps.values()):
        store.folder("maps", key).remove_tree()
    assert data_of(Site(store))["parts"] == ["image", "target"]


def test_a_run_without_scores_that_can_be_made_has_no_example(store: Store) -> None:
    run = run_of(store)
    for stage, by_result in (("maps", run.maps), ("labels", run.labels)):
        for by_split in by_result.values():
            store.folder(stage, by_split["val"]).remove_tree()
    store.location("artifacts", "image_scores").remove_tree()
    site = Site(store)
    assert value_of(site.file("data/run-0/example.js")) is None
    assert site.file(picture_path(run)) is None
    assert b'data-run="run-0"' in (site.file("index.html") or b"")
    store.folder("shards", run.shards).remove_tree()
    assert b"data-run" not in (Site(store).file("index.html") or b"")


def test_the_path_of_a_picture_changes_with_its_artifacts(store: Store) -> None:
    file = store.location("runs", "run-0", "run.json")
    before = data_of(Site(store))["picture"]
    assert data_of(Site(store))["picture"] == before
    row = json.loads(file.read())
    row["maps"]["lpcam"] = row["maps"]["cam"]
    file.write(json.dumps(row).encode())
    assert data_of(Site(store))["picture"] != before
