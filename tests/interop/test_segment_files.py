"""Tests of segments of other projects, as files and in the store."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from wsss.platform.data.formats import segments
from wsss.platform.errors import InputError
from wsss.platform.interop import segment_files
from wsss.platform.ops.refinement.segment_merging import Segments
from wsss.platform.storage.artifact_files import LocalFolder

HEIGHT, WIDTH = 13, 21
ROW = {"id": "a.b", "height": HEIGHT, "width": WIDTH}


def masks_of(seed=0, count=5):
    generator = np.random.default_rng(seed)
    masks = generator.random((count, HEIGHT, WIDTH)) < 0.3
    masks[0] = False
    masks[1] = True
    masks[2] = False
    masks[2, -1, -1] = True
    return masks


def entry_of(mask, **changes):
    runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
    return {"segmentation": segmentation, "area": int(mask.sum()), "bbox": [0, 0, 1, 1]} | changes


def write_json(folder, entries):
    (folder / "a.b.json").write_text(json.dumps(entries))


def same(read, masks):
    assert (read.height, read.width) == (HEIGHT, WIDTH)
    expected = [np.flatnonzero(mask).tolist() for mask in masks if mask.any()]
    assert [pixels.tolist() for pixels in read.pixels] == expected


def test_run_lengths_of_segment_anything_are_read(tmp_path):
    write_json(tmp_path, [entry_of(mask) for mask in masks_of()])
    same(segment_files.read_segments(tmp_path, "sam", ROW), masks_of())


def test_uncompressed_run_lengths_are_read(tmp_path):
    """Counts go down the columns: the first pixel of the second column is number H."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:2, 1] = True
    counts = [HEIGHT, 2, HEIGHT * WIDTH - HEIGHT - 2]
    write_json(tmp_path, [{"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}])
    same(segment_files.read_segments(tmp_path, "sam", ROW), [mask])


def test_folders_of_masks_are_read(tmp_path):
    inner = tmp_path / "a.b"
    inner.mkdir()
    (inner / "metadata.csv").write_text("id,area\n")
    for number, mask in enumerate(masks_of()):
        Image.fromarray(mask.astype(np.uint8) * 255).save(inner / f"{number}.png")
    same(segment_files.read_segments(tmp_path, "masks", ROW), masks_of())


@pytest.mark.parametrize(("kind", "uncovered"), [(np.uint8, 255), (np.uint16, 65535)])
def test_values_of_a_png_are_segments_but_for_the_highest(tmp_path, kind, uncovered):
    ids = np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH)).astype(kind)
    ids[3] = uncovered
    Image.fromarray(ids).save(tmp_path / "a.b.png")
    same(segment_files.read_segments(tmp_path, "ids", ROW), [ids == n for n in range(4)])


WHOLE = np.ones((HEIGHT, WIDTH), bool)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is no JSON"),
        ("{}", "no list of masks"),
        ([{"area": 3}], "mask 0: .* has no segmentation"),
        ([{"segmentation": [[0, 0, 4, 4, 0, 4]]}], "mask 0: its segmentation holds no run lengths"),
        ([entry_of(WHOLE), entry_of(WHOLE.T)], "mask 1: its run lengths have the size"),
        ([entry_of(WHOLE, area=3)], "mask 0: its area is 3, but its run lengths cover 273"),
        (
            [{"segmentation": {"size": [HEIGHT, WIDTH], "counts": "\u00e4"}}],
            "mask 0: the counts .* are damaged",
        ),
        (
            [{"segmentation": {"size": [HEIGHT, WIDTH], "counts": [5]}}],
            "mask 0: its run lengths do not add up",
        ),
    ],
)
def test_a_wrong_file_of_segment_anything_is_named(tmp_path, content, message):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "a.b.json").write_text(text)
    with pytest.raises(InputError, match=rf"a\.b\.json.*{message}"):
        segment_files.read_segments(tmp_path, "sam", ROW)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "pixel mode RGB"),
        (np.zeros((WIDTH, HEIGHT), np.uint8), "is 13x21 pixels, its image 21x13"),
    ],
)
def test_a_wrong_png_is_named(tmp_path, array, message):
    Image.fromarray(array).save(tmp_path / "a.b.png")
    with pytest.raises(InputError, match=rf"a\.b\.png.*{message}"):
        segment_files.read_segments(tmp_path, "ids", ROW)


@pytest.mark.parametrize(
    ("kind", "name"), [("sam", "a.b.json"), ("ids", "a.b.png"), ("masks", "a.b")]
)
def test_a_missing_file_is_named(tmp_path, kind, name):
    with pytest.raises(InputError, match=name):
        segment_files.fingerprint(tmp_path, kind, ["a.b"])
    with pytest.raises(InputError, match=name):
        segment_files.read_segments(tmp_path, kind, ROW)
    with pytest.raises(InputError, match=r"no folder .*missing"):
        segment_files.fingerprint(tmp_path / "missing", kind, ["a.b"])


def test_another_file_has_another_fingerprint(tmp_path):
    write_json(tmp_path, [entry_of(WHOLE)])
    before = segment_files.fingerprint(tmp_path, "sam", ["a.b"])
    assert segment_files.fingerprint(tmp_path, "sam", ["a.b"]) == before
    file = tmp_path / "a.b.json"
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert segment_files.fingerprint(tmp_path, "sam", ["a.b"]) != before


def test_a_file_of_another_image_has_another_fingerprint(tmp_path):
    for id in ("a", "b"):
        (tmp_path / id).mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    before = segment_files.fingerprint(tmp_path, "masks", ["a", "b"])
    (tmp_path / "a" / "1.png").rename(tmp_path / "b" / "1.png")
    assert segment_files.fingerprint(tmp_path, "masks", ["a", "b"]) != before


def test_segments_in_the_store_are_those_that_were_written(tmp_path):
    file = LocalFolder(tmp_path) / "a.parquet"
    rows = {
        "a": Segments.from_masks(HEIGHT, WIDTH, masks_of()),
        "b": Segments(HEIGHT, WIDTH, []),
    }
    segments.write(file, rows.items())
    read = segments.read(file.local())
    assert set(read) == {"a", "b"}
    same(read["a"], masks_of())
    assert read["b"].pixels == []


def test_segments_beyond_the_image_are_damage(tmp_path):
    file = LocalFolder(tmp_path) / "a.parquet"
    segments.write(file, [("a", Segments(2, 2, [np.array([3, 4], np.int32)]))])
    with pytest.raises(InputError, match="is damaged: the segments of image a"):
        segments.read(file.local())
