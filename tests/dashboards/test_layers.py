from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from drawn_records import make_layers
from PIL import Image
from wsss.dashboards.layers import LONG_SIDE, ImageLayers, write_layers
from wsss.platform.data.images import voc_palette
from wsss.platform.errors import InputError


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize("size", [(96, 96), (375, 500), (500, 333), (97, 1200), (3, 5)])
def test_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    rows = write_layers(tmp_path, make_layers(1, size))
    kinds = [(r["kind"], r["localizer"]) for r in rows]
    both = ["cam", "lpcam"]
    assert kinds == [
        ("image", ""),
        ("target", ""),
        *(("map", n) for n in both),
        *(("seed", n) for n in both),
    ]
    for row in rows:
        image = opened(tmp_path / row["file"])
        assert image.size == (row["width"], row["height"])
        assert max(image.size) <= LONG_SIDE
        if row["kind"] != "map":
            assert image.size == (rows[0]["width"], rows[0]["height"])
    assert {p.name for p in tmp_path.iterdir()} == {r["file"] for r in rows}


def test_small_files(tmp_path: Path) -> None:
    for row in write_layers(tmp_path, make_layers(1, (375, 500))):
        limit = 40_000 if row["kind"] == "image" else 9_000
        assert (tmp_path / row["file"]).stat().st_size < limit


def test_target_has_voc_colours_clear_background_and_light_void(
    tmp_path: Path, layers: ImageLayers
) -> None:
    rows = write_layers(tmp_path, layers)
    target = next(r for r in rows if r["kind"] == "target")
    pixels = np.array(opened(tmp_path / target["file"]).convert("RGBA"))
    mask = layers.target
    assert mask is not None
    value = int(mask[(mask > 0) & (mask < 255)][0])
    assert (pixels[mask == 0, 3] == 0).all()
    assert (pixels[mask == value] == [*voc_palette()[3 * value : 3 * value + 3], 255]).all()
    assert pixels[mask == 255][:, :3].min() > 200


def test_seed_is_cut_at_the_threshold(tmp_path: Path, layers: ImageLayers) -> None:
    planes = np.zeros((2, 24, 24), np.float16)
    planes[0, :, :12], planes[1, :, 12:] = 0.5, 0.3
    for threshold, left, right in ((0.2, 3, 7), (0.4, 3, 0), (0.5, 0, 0)):
        folder = tmp_path / str(threshold)
        folder.mkdir()
        one = dataclasses.replace(
            layers, maps={"cam": ((3, 7), planes)}, thresholds={"cam": threshold}
        )
        row = write_layers(folder, one)[-1]
        seed = np.array(opened(folder / row["file"]))
        assert (seed[:, :40] == left).all()
        assert (seed[:, 60:] == right).all()


def test_labels_are_shown_as_they_are(tmp_path: Path, layers: ImageLayers) -> None:
    labels = np.zeros((layers.height, layers.width), np.uint8)
    labels[:40], labels[40:50] = 5, 255
    rows = write_layers(tmp_path, dataclasses.replace(layers, labels={"lpcam-crf": labels}))
    assert (rows[-1]["kind"], rows[-1]["localizer"]) == ("labels", "lpcam-crf")
    np.testing.assert_array_equal(np.array(opened(tmp_path / rows[-1]["file"])), labels)


def test_nothing_present(tmp_path: Path, layers: ImageLayers) -> None:
    empty = {"cam": ((), np.zeros((0, 24, 24), np.float16))}
    rows = write_layers(tmp_path, dataclasses.replace(layers, maps=empty, target=None))
    assert [r["kind"] for r in rows] == ["image", "map", "seed"]
    assert np.array(opened(tmp_path / rows[-1]["file"])).max() == 0


@pytest.mark.parametrize("id", ["", "a/b", "../a", "a b", "é", "<b>", "x" * 300])
def test_ids_that_are_no_file_names_are_refused(
    tmp_path: Path, layers: ImageLayers, id: str
) -> None:
    with pytest.raises(InputError, match="cannot be a file name"):
        write_layers(tmp_path, dataclasses.replace(layers, id=id))
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused(tmp_path: Path, layers: ImageLayers) -> None:
    planes = np.zeros((1, 24, 24), np.float16)
    wrong = [
        ({"target": np.zeros((3, 3), np.uint8)}, "target"),
        ({"maps": {"a/b": ((1,), planes)}}, "localizer"),
        ({"maps": {"cam": ((1, 2), planes)}}, "2 classes"),
        ({"labels": {"a b": np.zeros((96, 96), np.uint8)}}, "localizer"),
        ({"labels": {"crf": np.zeros((3, 3), np.uint8)}}, "labels crf"),
        ({"image": layers.image[:100]}, "readable|truncated"),
        ({"height": 95, "target": None}, "96x96"),
    ]
    for change, message in wrong:
        with pytest.raises(InputError, match=message):
            write_layers(tmp_path, dataclasses.replace(layers, **change))  # type: ignore[arg-type]
    write_layers(tmp_path, layers)
    with pytest.raises(InputError, match="twice"):
        write_layers(tmp_path, layers)
