"""Encoding of the layers of an image for the browser: image, masks, class maps, segments.

Shapes: `n` present classes, `h w` the grid of the class maps, `H W` the image.
"""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb
from torch.nn import functional as F

from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.images import decode_image, voc_palette
from ...platform.errors import InputError
from ...platform.labels import VOID
from ...platform.ops.maps import best_class, grid_size
from ...platform.ops.refinement.segment_merging import Segments

LONG_SIDE = 500
"""Longest side of a picture in pixels; images of VOC keep their size."""
HEAT_LEVELS = 64
_VOID_COLOUR = (236, 233, 216, 190)
_EDGE = (255, 255, 255, 220)

Mask = NDArray[np.uint8]


def picture_size(height: int, width: int) -> tuple[int, int]:
    """Return width and height in pixels of the pictures of an image with this height and width."""
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def photograph(data: bytes, id: str, height: int, width: int) -> bytes:
    """Return the image as a JPEG of `picture_size`.

    Raises:
        InputError: the image cannot be read, or its size differs from `height` and `width`.
    """
    pixels = decode_image(data, id)
    if pixels.shape[:2] != (height, width):
        raise InputError(
            f"image {id} is {pixels.shape[1]}x{pixels.shape[0]} pixels, not {width}x{height}"
        )
    image = Image.fromarray(pixels).resize(picture_size(height, width), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80, optimize=True)
    return stream.getvalue()


def mask(values: Mask) -> bytes:
    """Return a mask `[H,W]` as a palette PNG of `picture_size` in VOC's colours.

    Pixels keep one class each (nearest neighbour), and background is transparent.
    """
    image = Image.fromarray(_nearest(values))
    table = [(*c, 255) for c in colours()]
    table[0], table[VOID] = (0, 0, 0, 0), _VOID_COLOUR
    return _png(image, table)


def _nearest(values: Mask) -> Mask:
    """Return values `[H,W]` at `picture_size`, each from the nearest pixel.

    Where two pixels are equally near the rule is that of `assets/planes.js`, so that the browser's
    threshold slider shows the same mask; Pillow's rule differs.
    """
    height, width = values.shape
    columns, rows = picture_size(height, width)
    y = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    near: Mask = values[y[:, None], x]
    return near


@cache
def colours() -> list[tuple[int, int, int]]:
    """Return VOC's colours (red, green, blue) by mask value."""
    return [*zip(*[iter(voc_palette())] * 3, strict=True)]


def seed(maps: ClassMaps, threshold: float) -> Mask:
    """Return the seed `[H,W]`: the best class where its score exceeds the threshold, else 0.

    The rule is that of `metrics.ThresholdCurve`.
    """
    size = (maps.height, maps.width)
    score, best = best_class(torch.from_numpy(maps.planes), maps.classes, size)
    over: Mask = (score > threshold).numpy().astype(np.uint8)
    return over * best.numpy().astype(np.uint8)


def shrunk(maps: ClassMaps) -> ClassMaps:
    """Return class maps at stride 4 if they have the image's size, which is too much for a page."""
    size = (maps.height, maps.width)
    if maps.planes.shape[1:] != size or not maps.classes:
        return maps
    planes = torch.from_numpy(maps.planes).float()[None]
    small = F.interpolate(planes, grid_size(*size), mode="bilinear", antialias=True)
    return replace(maps, planes=small[0].half().numpy())


def heat(maps: ClassMaps) -> bytes:
    """Return the maximum over the foreground maps as a heat map `[h,w]`, a palette PNG."""
    maps = shrunk(maps)
    planes = maps.planes[1:] if maps.classes[:1] == (0,) else maps.planes
    shape = maps.planes.shape[1:]
    best = planes.max(0).astype(np.float32) if len(planes) else np.zeros(shape, np.float32)
    levels = np.nan_to_num(best).clip(0, 1) * (HEAT_LEVELS - 1)
    return _png(Image.fromarray(levels.round().astype(np.uint8)), heat_table())


@cache
def heat_table() -> list[tuple[int, int, int, int]]:
    """Return the colours of HEAT_LEVELS scores from 0 to 1: red, green, blue, opacity.

    The colours are viridis, transparent at 0 and opaque from 0.4 on.
    """
    steps = [k / (HEAT_LEVELS - 1) for k in range(HEAT_LEVELS)]
    rgb = [unlabel_rgb(c) for c in sample_colorscale(get_colorscale("Viridis"), steps)]
    alpha = [round(255 * min(1.0, s / 0.4)) for s in steps]
    return [(int(r), int(g), int(b), a) for (r, g, b), a in zip(rgb, alpha, strict=True)]


def regions(ids: Mask) -> bytes:
    """Return the borders between superpixels as a palette PNG.

    Args:
        ids: superpixel of each pixel `[H,W]`.
    """
    return _png(Image.fromarray(_borders(_nearest(ids))), [(0, 0, 0, 0), _EDGE])


def _borders(values: Mask) -> Mask:
    """Return 1 at pixels whose value is not that of the pixel to the left or above."""
    edge = np.zeros(values.shape, np.uint8)
    edge[:, 1:] |= values[:, 1:] != values[:, :-1]
    edge[1:] |= values[1:] != values[:-1]
    return edge


def outlines(segments: Segments) -> bytes:
    """Return the outlines of segments, which may overlap, as a palette PNG."""
    size = segments.height, segments.width
    edge = np.zeros_like(_nearest(np.zeros(size, np.uint8)))
    for pixels in segments.pixels:
        inside = np.zeros(size, np.uint8)
        inside.ravel()[pixels] = 1
        edge |= _borders(_nearest(inside))
    return _png(Image.fromarray(edge), [(0, 0, 0, 0), _EDGE])


def edges(levels: Mask) -> bytes:
    """Return boundaries as a palette PNG whose opacity grows with their probability.

    Args:
        levels: probability of a boundary times 255 `[h,w]`.
    """
    return _png(Image.fromarray(levels), [(*_EDGE[:3], a) for a in range(256)])


def planes(maps: ClassMaps) -> dict[str, object]:
    """Return class maps in the JSON form from which the browser cuts seeds itself.

    Maps of the image's size are shrunk, so that a seed of the browser is then coarser.

    Returns:
        classes: mask value of each plane.
        grid: height and width of the planes, `h w`.
        size: height and width of the image, `H W`.
        data: the float16 planes without loss, deflated and in base64; the upper bytes of all
            values precede the lower bytes, which compresses far better.
    """
    maps = shrunk(maps)
    values = np.ascontiguousarray(maps.planes, "<f2").view(np.uint8).reshape(-1, 2)
    packed = zlib.compress(values[:, ::-1].T.tobytes(), 9)
    return {
        "classes": list(maps.classes),
        "grid": list(maps.planes.shape[1:]),
        "size": [maps.height, maps.width],
        "data": base64.b64encode(packed).decode(),
    }


def _png(image: Image.Image, table: list[tuple[int, int, int, int]]) -> bytes:
    used = table[: int(np.asarray(image).max()) + 1]
    image.putpalette([v for row in used for v in row], "RGBA")
    stream = io.BytesIO()
    image.save(stream, "PNG")  # "optimize" would double the time and save a tenth of the size
    return stream.getvalue()
