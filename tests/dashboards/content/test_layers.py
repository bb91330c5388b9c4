from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from drawn_records import encoded
from PIL import Image
from wsss.dashboards.content import layers
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.images import voc_palette
from wsss.platform.errors import InputError
from wsss.platform.ops.refinement.segment_merging import Segments


def open_image(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def class_maps(*values: tuple[int, float], size: tuple[int, int] = (96, 96)) -> ClassMaps:
    """Return flat class maps of (class, value) pairs."""
    grid = (-(-size[0] // 4), -(-size[1] // 4))
    planes = np.array([np.full(grid, v) for _, v in values], np.float16).reshape(-1, *grid)
    classes = tuple(c for c, _ in values)
    return ClassMaps(id="a", classes=classes, planes=planes, height=size[0], width=size[1])


def photograph(size: tuple[int, int]) -> bytes:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    return encoded(np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("size", [(96, 96), (375, 500), (500, 333), (97, 1200), (3, 5)])
def test_pictures_of_an_image_have_one_size(size: tuple[int, int]) -> None:
    jpeg = open_image(layers.photograph(photograph(size), "a", *size))
    mask = open_image(layers.mask(np.zeros(size, np.uint8)))
    edges = open_image(layers.regions(np.zeros(size, np.uint8)))
    assert jpeg.size == mask.size == edges.size == layers.picture_size(*size)
    assert max(jpeg.size) <= layers.LONG_SIDE


def test_pictures_are_small_files() -> None:
    size = (375, 500)
    target = np.zeros(size, np.uint8)
    target[100:300, 100:400] = 3
    assert len(layers.photograph(photograph(size), "a", *size)) < 40_000
    assert len(layers.mask(target)) < 9_000
    assert len(layers.heat(class_maps((1, 0.5), size=size))) < 9_000


def test_masks_have_voc_colours_clear_background_and_light_void() -> None:
    values = np.array([[0, 3], [255, 3]], np.uint8)
    pixels = np.array(open_image(layers.mask(values)).convert("RGBA"))
    assert pixels[0, 0, 3] == 0
    assert pixels[0, 1].tolist() == [*voc_palette()[9:12], 255]
    assert pixels[1, 0, :3].min() > 200


def test_a_seed_is_cut_above_the_threshold() -> None:
    maps = class_maps((3, 0.5), (7, 0.3))
    maps.planes[0, :, 12:] = 0
    for threshold, left, right in ((0.2, 3, 7), (0.4, 3, 0), (0.5, 0, 0)):
        seed = layers.seed(maps, threshold)
        assert (seed[:, :40] == left).all()
        assert (seed[:, 60:] == right).all()


def test_a_background_plane_replaces_the_threshold() -> None:
    maps = class_maps((0, 0.4), (2, 0.5))
    assert (layers.seed(maps, 0.5) == 2).all()
    heat = np.array(open_image(layers.heat(maps)))
    assert (heat == round(0.5 * (layers.HEAT_LEVELS - 1))).all()


def test_an_image_without_classes_has_an_empty_seed_and_heat() -> None:
    maps = class_maps()
    assert layers.seed(maps, 0.0).max() == 0
    assert np.array(open_image(layers.heat(maps))).max() == 0


def test_superpixels_are_drawn_as_borders() -> None:
    ids = np.zeros((8, 8), np.uint8)
    ids[:, 4:] = 1
    drawn = np.array(open_image(layers.regions(ids)))
    assert (drawn[:, 4] == 1).all()
    assert drawn.sum() == 8


def test_segments_that_overlap_are_drawn_as_outlines() -> None:
    masks = np.zeros((2, 10, 12), bool)
    masks[0, 2:6, 2:6] = True
    masks[1, 4:8, 4:9] = True
    drawn = np.array(open_image(layers.outlines(Segments.from_masks(10, 12, masks))))
    assert drawn.shape == (10, 12)
    assert drawn[2, 2:6].all()
    assert drawn[4, 4:9].all()
    assert drawn[5, 6] == 1
    assert not drawn[3, 3:6].any()


def test_the_opacity_of_boundaries_is_their_level() -> None:
    levels = np.array([[0, 64], [128, 255]], np.uint8)
    pixels = np.array(open_image(layers.edges(levels)).convert("RGBA"))
    np.testing.assert_array_equal(pixels[..., 3], levels)
    assert len({tuple(p) for p in pixels[..., :3].reshape(-1, 3)}) == 1


def test_planes_keep_every_bit() -> None:
    rng = np.random.default_rng(0)
    planes = rng.random((2, 5, 7)).astype(np.float16)
    maps = ClassMaps(id="a", classes=(1, 4), planes=planes, height=20, width=28)
    layer = layers.planes(maps)
    halves = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8)
    upper, lower = halves.reshape(2, -1).astype(np.uint16)
    np.testing.assert_array_equal((upper << 8 | lower).view(np.float16), planes.ravel())
    assert (layer["classes"], layer["grid"], layer["size"]) == ([1, 4], [5, 7], [20, 28])


def test_maps_at_the_size_of_the_image_are_shrunk_to_stride_4() -> None:
    planes = np.zeros((1, 22, 29), np.float16)
    planes[0, :12] = 1
    maps = ClassMaps(id="a", classes=(3,), planes=planes, height=22, width=29)
    assert layers.planes(maps)["grid"] == [6, 8]
    heat = np.array(open_image(layers.heat(maps)))
    assert heat.shape == (6, 8)
    assert (heat[:2] == heat.max()).all()
    assert not heat[4:].any()
    np.testing.assert_array_equal(layers.seed(maps, 0.5), 3 * planes[0].astype(np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [(photograph((96, 96))[:100], "readable|truncated"), (photograph((95, 96)), "96x95")],
)
def test_a_broken_image_or_one_of_another_size_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        layers.photograph(data, "a", 96, 96)
