"""Tests of COCO from its files to refined labels, with images that have no label."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from wsss.platform.cli import main
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.shards import slices
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import read_run
from wsss.platform.storage.store import Store

pytestmark = pytest.mark.usefixtures("in_process")

SIDE, TRAIN, VAL = 64, 24, 8


def write_coco(root: Path) -> None:
    """Write COCO files of squares in two colours on grey; every fourth image is grey alone."""
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        folder = root / f"{split}2014"
        folder.mkdir(parents=True)
        listed, annotated = [], []
        for k in range(count):
            pixels = np.full((SIDE, SIDE, 3), 128) + rng.normal(0, 8, (SIDE, SIDE, 3))
            if k % 4:
                kind, (x, y) = k % 2, rng.integers(2, SIDE - 34, 2).tolist()
                pixels[y : y + 32, x : x + 32] += np.array([[90, -60, -60], [-60, -60, 90]])[kind]
                corners = [x, y, x + 32, y, x + 32, y + 32, x, y + 32]
                row = {"image_id": k, "category_id": (3, 8)[kind], "iscrowd": 0}
                annotated.append({**row, "segmentation": [corners]})
            data = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=90)
            name = f"COCO_{split}2014_{k:012d}.jpg"
            (folder / name).write_bytes(data.getvalue())
            listed.append({"id": k, "file_name": name, "height": SIDE, "width": SIDE})
        categories = [{"id": 3, "name": "red"}, {"id": 8, "name": "blue"}]
        whole = {"images": listed, "annotations": annotated, "categories": categories}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(whole))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("coco")
    write_coco(folder / "coco")
    return Store(folder / "store")


def test_images_without_labels_go_through_the_stages(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    root, store_options = str(store.storage.local_folder.parent / "coco"), ["--store", str(store)]
    assert main(["data", "coco", root, *store_options]) == 0
    output = capsys.readouterr().out
    assert f"coco: train {TRAIN}, train_aug {TRAIN}, val {VAL} images, 2 classes" in output
    assert "val: list " in output
    fields = {
        "training.epochs": 2,
        "scoring.splits": "('val',)",
        "training.resize": "(64,64)",
        "training.crop": 64,
        "views.scales": "(1.0,)",
        "lpcam.images": 5,
    }
    sets = [x for k, v in fields.items() for x in ("--set", f"{k}={v}")]
    options = ["--data", "coco", "--preset", "scenes", "--refine", "crf"]
    assert main(["run", "lpcam", *options, *sets, *store_options, "--name", "all", "--quiet"]) == 0
    run = read_run(store.location("runs", "all", "run.json"))
    assert set(map(str, run.scores)) == {"cam", "lpcam", "lpcam/crf"}
    assert all(np.isfinite(s.value) for by_split in run.scores.values() for s in by_split.values())
    _check_maps(store, run)


def _check_maps(store: Store, run: Any) -> None:
    """Check that images without labels have no class map and a mask of background alone."""
    shards_of = registry.open_dataset(store, "coco")
    empty = {
        row["id"]
        for piece in slices(shards_of, "val")
        for row in shards.read(piece, ("id", "labels"))
        if not row["labels"]
    }
    assert len(empty) == VAL // 4
    for name in ("cam", "lpcam"):
        files = store.open("maps", run.maps[ResultId.parse(name)]["val"]).files(".parquet")
        maps = {m.id: m for m in class_maps.read(file.local() for file in files)}
        assert len(maps) == VAL
        assert {id for id, m in maps.items() if not m.classes} == empty
    files = store.open("labels", run.labels[ResultId.parse("lpcam/crf")]["val"]).files(".parquet")
    masks = {id: plane for file in files for id, plane in label_maps.read(file.local()).items()}
    assert len(masks) == VAL
    assert not any(masks[id].any() for id in empty)
