"""Tests of the stages of pixel-adaptive refinement and of the merging of segments, without Ray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from wsss.platform.config.experiment import Views
from wsss.platform.data.formats import class_maps, label_maps, segments, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.images import decode_image, encode_png
from wsss.platform.errors import InputError
from wsss.platform.metrics import THRESHOLDS, ConfusionMatrix
from wsss.platform.ops.refinement.pixel_adaptive import (
    PAIRS,
    refined_planes,
    refinement_bytes,
)
from wsss.platform.ops.refinement.segment_merging import MergeRule, Segments, merged_labels
from wsss.platform.stages.inference import actors, pixel_adaptive
from wsss.platform.stages.labels import segment_merging
from wsss.platform.stages.labels.pseudo_labels import Cut, labels_of_maps
from wsss.platform.stages.labels.scoring import Tally
from wsss.platform.storage.artifact_files import LocalFolder

HEIGHT, WIDTH = 24, 20


def maps_of(row, own=False, seed=0):
    classes = (*((0,) if own else ()), *(n + 1 for n in row["labels"]))
    shape = len(classes), -(-HEIGHT // 4), -(-WIDTH // 4)
    planes = np.random.default_rng([seed, *row["id"].encode()]).random(shape).astype(np.float16)
    return ClassMaps(id=row["id"], classes=classes, planes=planes, height=HEIGHT, width=WIDTH)


@pytest.fixture
def write_maps(tmp_path):
    """Return a function that writes class maps of slices and returns their folder and rows."""

    def write(pieces, own=False):
        folder, maps = LocalFolder(tmp_path / "maps"), {}
        (tmp_path / "maps").mkdir()
        for piece in pieces:
            rows = [maps_of(row, own) for row in shards.read(piece, ("id", "labels"))]
            class_maps.write(folder / f"{piece.name}.parquet", rows)
            maps |= {row.id: row for row in rows}
        return folder, maps

    return write


def images_of(pieces):
    rows = [row for piece in pieces for row in shards.read(piece, ("id", "image"))]
    return {row["id"]: decode_image(row["image"], row["id"]) for row in rows}


def adapted(tmp_path, pieces, folder, **options):
    (tmp_path / "out").mkdir(exist_ok=True)
    job = pixel_adaptive.Job(
        **{
            "maps": folder,
            "folder": LocalFolder(tmp_path / "out"),
            "affinity": "par",
            "steps": 3,
            "scale": 0.5,
            "pair": None,
            "views": Views(actors=1),
            **options,
        }
    )
    threads = torch.get_num_threads()
    actor = pixel_adaptive.PixelAdaptation(job)
    torch.set_num_threads(threads)
    assert sum(actor.work(piece) for piece in pieces) == sum(piece.rows for piece in pieces)
    return [(tmp_path / "out" / f"{piece.name}.parquet") for piece in pieces]


def half(image, size):
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()[None]
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False)


def planes_before(maps, size):
    planes = torch.from_numpy(maps.planes).float()[None]
    return F.interpolate(planes, size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_class_maps_are_refined_with_their_image(
    write_shards, write_maps, tmp_path, image_batching, own, scale
):
    pieces = write_shards([5, 4])
    folder, maps = write_maps(pieces, own)
    files = adapted(tmp_path, pieces, folder, scale=scale)
    images, size = images_of(pieces), (int(HEIGHT * scale), int(WIDTH * scale))
    refined = {m.id: m for m in class_maps.read(files)}
    assert [m.id for m in class_maps.read(files)] == list(images)
    for id, image in images.items():
        expected = refined_planes(half(image, size), planes_before(maps[id], size), steps=3)
        np.testing.assert_allclose(refined[id].planes, expected[0].numpy() / 1.01**3, atol=2e-3)
        assert refined[id].classes == maps[id].classes
        assert refined[id].planes.max() <= 1


def test_a_pair_of_background_scores_leaves_pixels_unknown(write_shards, write_maps, tmp_path):
    pieces = write_shards([6])
    folder, maps = write_maps(pieces, own=True)
    pair = PAIRS["toco"]
    (file,) = adapted(tmp_path, pieces, folder, pair=pair)
    images, size, seen = images_of(pieces), (HEIGHT // 2, WIDTH // 2), set()
    for id, labels in label_maps.read(file).items():
        classes = maps[id].classes[1:]
        cams = planes_before(maps[id], size)[:, 1:]
        runs = []
        for score in (pair.high, pair.low):
            planes = torch.cat([torch.full_like(cams[:, :1], score), cams], 1).softmax(1)
            planes = refined_planes(half(images[id], size), planes, steps=3)
            large = F.interpolate(planes, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
            runs.append(np.array([0, *classes])[large[0].argmax(0).numpy()])
        certain, wide = runs
        expected = np.where(certain > 0, certain, np.where(wide == 0, 0, 255))
        assert (labels != expected).mean() < 0.01  # rounding may decide between equal planes
        seen |= set(np.unique(labels).tolist())
    assert {0, 255} < seen


def test_an_image_without_classes_is_background():
    labels = pixel_adaptive.pair_labels(torch.zeros(0, 6, 5), (), (HEIGHT, WIDTH))
    assert labels.shape == (HEIGHT, WIDTH)
    assert not labels.any()


def test_an_image_over_the_memory_limit_is_refined_on_a_smaller_grid():
    most = refinement_bytes(200, 300, 4)
    assert pixel_adaptive.refinement_size(400, 600, 0.5, 4, most) == (200, 300)
    rows, columns = pixel_adaptive.refinement_size(400, 600, 0.5, 4, most // 3)
    assert refinement_bytes(rows, columns, 4) <= most // 3
    assert abs(rows / columns - 2 / 3) < 0.02
    assert rows > 60


@pytest.mark.parametrize("pair", [None, PAIRS["toco"]])
def test_the_size_of_an_image_does_not_depend_on_the_images_of_its_batch(
    write_shards, write_maps, tmp_path, monkeypatch, pair
):
    """The limit is the memory of an image with one class, so all images with more are reduced."""
    pieces = write_shards([7])
    folder, maps = write_maps(pieces)
    assert {len(image_maps.classes) for image_maps in maps.values()} >= {1, 2}
    limit, read = refinement_bytes(HEIGHT, WIDTH, 4 if pair else 1), {}
    monkeypatch.setattr(Views, "image_bytes", limit)
    for at_once in (1, 8):
        monkeypatch.setattr(actors, "images_at_once", lambda *_, n=at_once: n)
        (file,) = adapted(tmp_path, pieces, folder, pair=pair, scale=1.0)
        read[at_once] = file.read_bytes()
    assert read[1] == read[8]


RULE = MergeRule()


def segments_of(seed, size=(HEIGHT, WIDTH)):
    generator = np.random.default_rng(seed)
    masks = np.zeros((6, *size), bool)
    for mask in masks:
        y, x = generator.integers(0, 12, 2)
        mask[y : y + 9, x : x + 8] = True
    return Segments.from_masks(*size, masks)


@pytest.fixture
def files(write_shards, write_maps, tmp_path):
    """Return the files of a slice with masks, class maps and segments, and the class maps."""
    target = np.random.default_rng(1).choice(np.array([0, 1, 2, 3, 255], np.uint8), (HEIGHT, WIDTH))
    (piece,) = write_shards([4], mask=encode_png(target))
    folder, maps = write_maps([piece])
    file = LocalFolder(tmp_path) / "segments.parquet"
    segments.write(file, [(id, segments_of(number)) for number, id in enumerate(maps)])
    source = folder / f"{piece.name}.parquet"
    return segment_merging.Files(piece, source, file), maps, target


def test_merged_labels_have_the_matrix_of_each_threshold(files):
    slice_files, maps, target = files
    tally = segment_merging.score_slice(slice_files, RULE, False, 4)
    assert tally.images == len(maps)
    for index in (0, 31, 50, 77, 99):
        matrix = ConfusionMatrix(4)
        for number, image_maps in enumerate(maps.values()):
            cut = labels_of_maps(image_maps, Cut(levels=(THRESHOLDS[index],)))
            matrix.update(target, merged_labels(cut, segments_of(number), RULE))
        assert np.array_equal(tally.curve.matrices()[index], matrix.matrix)


def test_labels_are_merged_at_a_level(files, tmp_path):
    slice_files, maps, _ = files
    folder = LocalFolder(tmp_path)
    assert segment_merging.merge_slice(slice_files, RULE, 0.4, (False, False), folder) == len(maps)
    out = label_maps.read(label_maps.file_of_slice(folder, slice_files.piece).local())
    for number, (id, image_maps) in enumerate(maps.items()):
        cut = labels_of_maps(image_maps, Cut(levels=(0.4,)))
        np.testing.assert_array_equal(out[id], merged_labels(cut, segments_of(number), RULE))


def test_superpixels_and_imported_labels_are_merged(files, tmp_path):
    slice_files, maps, _ = files
    generator = np.random.default_rng(0)
    labels, ids = (
        {id: generator.integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8) for id in maps}
        for _ in range(2)
    )
    folder = LocalFolder(tmp_path)
    label_maps.write(folder / "labels.parquet", labels.items())
    label_maps.write(folder / "ids.parquet", ids.items())
    changed = replace(
        slice_files, source=folder / "labels.parquet", segments=folder / "ids.parquet"
    )
    segment_merging.merge_slice(changed, RULE, 1.0, (True, True), folder)
    out = label_maps.read(label_maps.file_of_slice(folder, slice_files.piece).local())
    for id, plane in labels.items():
        expected = merged_labels(plane, Segments.from_ids(ids[id]), RULE)
        np.testing.assert_array_equal(out[id], expected)


def test_segments_of_another_size_name_their_image(files, tmp_path):
    slice_files, maps, _ = files
    segments.write(slice_files.segments, [(id, segments_of(0, (20, 24))) for id in maps])
    folder, first = LocalFolder(tmp_path), next(iter(maps))
    with pytest.raises(InputError, match=f"image {first}: the labels have the size"):
        segment_merging.merge_slice(slice_files, RULE, 0.4, (False, False), folder)
    with pytest.raises(InputError, match=f"image {first}: the labels have the size"):
        segment_merging.score_slice(slice_files, RULE, False, 4)


def test_parts_are_counted_at_each_threshold():
    generator = np.random.default_rng(2)
    parts = (4 * generator.integers(0, 3, (7, 9)) + generator.integers(0, 4, (7, 9))).astype(
        np.uint8
    )
    labels = generator.integers(0, 3, (len(THRESHOLDS), 7, 9)).astype(np.uint8)
    tally = Tally.empty(3)
    tally.add_labels(np.zeros((7, 9), np.uint8), iter(labels), parts)
    for index in (0, 40, 99):
        active = (labels[index] > 0) & (labels[index] == parts // 4)
        for kind in range(3):
            assert tally.parts[kind, index + 1 :].sum() == active[parts % 4 == kind + 1].sum()
            assert tally.parts[kind].sum() == (parts % 4 == kind + 1).sum()
