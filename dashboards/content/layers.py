"""The layers of an image as bytes: image, masks, heat and planes of class maps, superpixels.

Shapes: n present classes, h w the grid of the class maps, H W the image.
"""

from __future__ import annotations

import base64
import io
import zlib
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.images import VOID, decode_image, voc_palette
from ...platform.errors import InputError
from ...platform.ops.maps import best_class

LONG_SIDE = 500
"""Of a picture in pixels, at most: photographs of VOC stay as they are."""
HEAT_LEVELS = 64
_LIGHT = (236, 233, 216, 190)  # void: drawn light
_EDGE = (255, 255, 255, 220)

Mask = NDArray[np.uint8]


def shown(height: int, width: int) -> tuple[int, int]:
    """Width and height of the pictures of an image, pixels."""
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def photograph(data: bytes, id: str, height: int, width: int) -> bytes:
    """The image as a JPEG of the size that is shown.

    Raises:
        InputError: it cannot be read, or has another size than its record says.
    """
    pixels = decode_image(data, id)
    if pixels.shape[:2] != (height, width):
        raise InputError(
            f"image {id} is {pixels.shape[1]}x{pixels.shape[0]} pixels, not {width}x{height}"
        )
    image = Image.fromarray(pixels).resize(shown(height, width), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80, optimize=True)
    return stream.getvalue()


def mask(values: Mask) -> bytes:
    """A mask `[H,W]` in VOC's colours, made smaller without mixing classes: a palette PNG,
    background clear."""
    image = Image.fromarray(_nearest(values))
    table = [(*c, 255) for c in colours()]
    table[0], table[VOID] = (0, 0, 0, 0), _LIGHT
    return _png(image, table)


def _nearest(values: Mask) -> Mask:
    """Values `[H,W]` at the size that is shown: those of the nearest pixels, by the rule that the
    browser's threshold slider has too (Pillow's differs where two are equally near)."""
    height, width = values.shape
    columns, rows = shown(height, width)
    y = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    near: Mask = values[y[:, None], x]
    return near


@cache
def colours() -> list[tuple[int, int, int]]:
    """VOC's colours by mask value."""
    return [*zip(*[iter(voc_palette())] * 3, strict=True)]


def seed(maps: ClassMaps, threshold: float) -> Mask:
    """`[H,W]`: the best class where it exceeds the threshold (as `metrics.ThresholdCurve`)."""
    size = (maps.height, maps.width)
    score, best = best_class(torch.from_numpy(maps.planes), maps.classes, size)
    over: Mask = (score > threshold).numpy().astype(np.uint8)
    return over * best.numpy().astype(np.uint8)


def heat(maps: ClassMaps) -> bytes:
    """The largest value of the foreground maps, at their own size: a palette PNG."""
    planes = maps.planes[1:] if maps.classes[:1] == (0,) else maps.planes
    shape = maps.planes.shape[1:]
    best = planes.max(0).astype(np.float32) if len(planes) else np.zeros(shape, np.float32)
    levels = np.nan_to_num(best).clip(0, 1) * (HEAT_LEVELS - 1)
    return _png(Image.fromarray(levels.round().astype(np.uint8)), heat_table())


@cache
def heat_table() -> list[tuple[int, int, int, int]]:
    """Colours of the HEAT_LEVELS steps from 0 to 1: viridis, clear at 0, opaque from 0.4 on."""
    steps = [k / (HEAT_LEVELS - 1) for k in range(HEAT_LEVELS)]
    rgb = [unlabel_rgb(c) for c in sample_colorscale(get_colorscale("Viridis"), steps)]
    alpha = [round(255 * min(1.0, s / 0.4)) for s in steps]
    return [(int(r), int(g), int(b), a) for (r, g, b), a in zip(rgb, alpha, strict=True)]


def regions(ids: Mask) -> bytes:
    """The borders between superpixels, ids `[H,W]`, as a palette PNG."""
    small = _nearest(ids)
    edge = np.zeros(small.shape, np.uint8)
    edge[:, 1:] |= small[:, 1:] != small[:, :-1]
    edge[1:] |= small[1:] != small[:-1]
    return _png(Image.fromarray(edge), [(0, 0, 0, 0), _EDGE])


def edges(levels: Mask) -> bytes:
    """Boundaries `[h,w]`, 255 times their probability: a palette PNG, the surer the more opaque."""
    return _png(Image.fromarray(levels), [(*_EDGE[:3], a) for a in range(256)])


def planes(maps: ClassMaps) -> dict[str, Any]:
    """Class maps for the browser, which cuts them itself: float16 values without loss.

    `data`: the upper bytes of all values, then the lower ones (which packs far better), deflated
    and in base64.
    """
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
    image.save(stream, "PNG")  # Pillow's "optimize" doubles the time and saves a tenth
    return stream.getvalue()
