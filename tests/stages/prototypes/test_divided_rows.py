"""Tests of the division of stored features into foreground and context, and of drawn images."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from wsss.platform.data.formats import class_maps
from wsss.platform.data.formats.features import FeatureRows
from wsss.platform.errors import InputError
from wsss.platform.method import Clustering
from wsss.platform.stages.prototypes import clustering
from wsss.platform.stages.prototypes.feature_sets import draw_images, split_rows
from wsss.platform.storage.artifact_files import LocalFolder


def test_rows_are_split_by_the_threshold(tmp_path):
    """Rows above the threshold are foreground, rows below it context, rows equal to it neither."""
    file = LocalFolder(tmp_path) / "x.npy"
    planes = np.array([[[0.25, 0.5], [0.75, 0.25]]], np.float16)
    class_maps.write(
        file.with_suffix(".parquet"),
        [class_maps.ClassMaps(id="a", classes=(3,), planes=planes, height=8, width=8)],
    )
    place = FeatureRows(id="a", labels=(2,), height=8, width=8, offset=5, grids=((2, 2),))
    file.with_suffix(".json").write_bytes(json.dumps([asdict(place)]).encode())
    rows_by_set = {s: rows.tolist() for s, rows in split_rows(file, 0.5).items()}
    assert rows_by_set == {(2, 0): [7], (2, 1): [5, 8]}
    rows_by_set = {s: rows.tolist() for s, rows in split_rows(file, 0.1).items()}
    assert rows_by_set == {(2, 0): [5, 6, 7, 8], (2, 1): []}


def test_an_image_without_classes_has_no_rows(tmp_path):
    file = LocalFolder(tmp_path) / "x.npy"
    none = np.zeros((0, 2, 2), np.float16)
    one = np.array([[[0.25, 0.5], [0.75, 0.25]]], np.float16)
    rows = [("a", (), none), ("b", (3,), one)]
    class_maps.write(
        file.with_suffix(".parquet"),
        [class_maps.ClassMaps(id=i, classes=c, planes=p, height=8, width=8) for i, c, p in rows],
    )
    places = [
        FeatureRows(id=i, labels=(), height=8, width=8, offset=4 * k, grids=((2, 2),))
        for k, (i, _, _) in enumerate(rows)
    ]
    file.with_suffix(".json").write_bytes(json.dumps([asdict(p) for p in places]).encode())
    rows_by_set = {s: rows.tolist() for s, rows in split_rows(file, 0.5).items()}
    assert rows_by_set == {(2, 0): [6], (2, 1): [4, 7]}


def test_the_draw_of_images_does_not_depend_on_the_files(tmp_path):
    """Drawn are at most four, the same from any order of files, and others with another seed."""
    rng = np.random.default_rng(0)
    files, ids_by_class = [], {0: set(), 1: set(), 2: set()}
    for number in range(12):
        labels = tuple(n for n in range(3) if rng.random() < (0.9, 0.5, 0.1)[n])
        for n in labels:
            ids_by_class[n].add(f"i{number}")
        place = FeatureRows(
            id=f"i{number}", labels=labels, height=8, width=8, offset=0, grids=((2, 2),)
        )
        file = LocalFolder(tmp_path) / f"{number:02d}.npy"
        file.with_suffix(".json").write_bytes(json.dumps([asdict(place)]).encode())
        files.append(file)
    drawn = draw_images(files, 4, 0)
    assert draw_images(files[::-1], 4, 0) == drawn
    assert all(drawn[n] <= ids_by_class[n] for n in drawn)
    assert {n: len(ids) for n, ids in drawn.items()} == {
        n: min(4, len(ids)) for n, ids in ids_by_class.items() if ids
    }
    assert draw_images(files, 4, 1) != drawn
    assert draw_images(files, 99, 0) == {n: ids for n, ids in ids_by_class.items() if ids}


def test_only_drawn_images_are_clustered(tmp_path):
    file = LocalFolder(tmp_path) / "x.npy"
    planes = np.array([[[0.25, 0.5], [0.75, 0.25]]] * 2, np.float16)
    maps = class_maps.ClassMaps(id="a", classes=(2, 3), planes=planes, height=8, width=8)
    class_maps.write(file.with_suffix(".parquet"), [maps])
    place = FeatureRows(id="a", labels=(1, 2), height=8, width=8, offset=0, grids=((2, 2),))
    file.with_suffix(".json").write_bytes(json.dumps([asdict(place)]).encode())
    rows_by_set = split_rows(file, 0.5, {1: frozenset(), 2: frozenset({"a"})})
    assert {s: rows.tolist() for s, rows in rows_by_set.items()} == {(2, 0): [2], (2, 1): [0, 3]}


def test_a_clustering_without_labels_is_refused_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(clustering.cluster, "workers", lambda: 1)
    file, out = LocalFolder(tmp_path) / "x.npy", LocalFolder(tmp_path / "out")
    none = np.zeros((0, 2, 2), np.float16)
    class_maps.write(
        file.with_suffix(".parquet"),
        [class_maps.ClassMaps(id="a", classes=(), planes=none, height=8, width=8)],
    )
    file.write(lambda stream: np.save(stream, np.ones((8, 3), np.float16)))
    place = FeatureRows(id="a", labels=(), height=8, width=8, offset=0, grids=((2, 2),))
    file.with_suffix(".json").write_bytes(json.dumps([asdict(place)]).encode())
    options = Clustering(split="train", threshold=0.5, clusters=2)
    with pytest.raises(InputError, match=r"no image of split 'train' has a label, so .* add im"):
        clustering.cluster_features(out, [file], options, 0, 1 << 20, lambda done, total: None)
    assert not (tmp_path / "out").exists()
