"""The layers of an image as small files: image, target, heat of the class maps, seed masks.

Shapes: n present classes, h w the grid of the class maps, H W the image.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from ..platform.data.images import VOID, decode_image, voc_palette
from ..platform.errors import InputError
from ..platform.ops.maps import best_class

LONG_SIDE = 360
HEAT_LEVELS = 64
_ID = re.compile(r"[A-Za-z0-9._-]{1,180}")
_LOCALIZER = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LIGHT = (236, 233, 216, 190)  # void: drawn light

Planes = tuple[tuple[int, ...], NDArray[np.float16]]


@dataclass(frozen=True, kw_only=True)
class ImageLayers:
    """What a page shows of one image.

    Attributes:
        id: becomes a file name; letters, digits, `.`, `_` and `-` only.
        image: the encoded JPEG or PNG.
        height, width: of the image, pixels.
        target: mask `[H,W]`, None where there is none.
        maps: by localizer: mask values of the present classes, and their planes `[n,h,w]`, 0..1.
        thresholds: of the seed, by localizer; no seed for a localizer without.
        labels: by refinement or segmenter: labels `[H,W]`.
        scores: of the image, by localizer, refinement or segmenter, a fraction.
    """

    id: str
    image: bytes
    height: int
    width: int
    target: NDArray[np.uint8] | None = None
    maps: Mapping[str, Planes] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)


class Layer(TypedDict):
    """A written layer: `kind` is image, target, map, seed or labels; `localizer` says whose.

    `file` lies in the folder that it was written to; `width` and `height` are the file's.
    """

    kind: str
    localizer: str
    file: str
    width: int
    height: int


def write_layers(folder: Path, layers: ImageLayers) -> list[Layer]:
    """Writes the layers of one image: JPEG for the image, palette PNG for the others.

    The seed is cut at full resolution, where it is scored, then made smaller without mixing
    classes. The heat is that of the best class, at the size of the class maps.

    Args:
        folder: is there already.
        layers: what to write.

    Returns:
        The layers, bottom first: image, target, then the maps, the seeds, the labels.

    Raises:
        InputError: an id or localizer that is no file name, an id that was written before, an
            image that cannot be read, or a target or maps that do not fit it.
    """
    _check(folder, layers)
    size = _shown(layers.width, layers.height)
    out = [_image(folder, layers, size)]
    if layers.target is not None:
        mask = _mask(layers.target, size)
        out.append(_save(folder, mask, f"{layers.id}.target.png", "target", ""))
    seeds = []
    for name, (classes, planes) in layers.maps.items():
        heat = _heat(planes[1:] if classes[:1] == (0,) else planes)
        out.append(_save(folder, heat, f"{layers.id}.{name}.map.png", "map", name))
        if name in layers.thresholds:
            seed = _seed(layers, classes, planes, layers.thresholds[name])
            file = f"{layers.id}.{name}.seed.png"
            seeds.append(_save(folder, _mask(seed, size), file, "seed", name))
    for name, labels in layers.labels.items():
        file = f"{layers.id}.{name}.labels.png"
        seeds.append(_save(folder, _mask(labels, size), file, "labels", name))
    return out + seeds


def _check(folder: Path, layers: ImageLayers) -> None:
    if not _ID.fullmatch(layers.id):
        raise InputError(
            f"image id {layers.id!r} cannot be a file name; allowed are A-Z a-z 0-9 . _ -"
        )
    if (folder / f"{layers.id}.jpg").exists():
        raise InputError(f"image id {layers.id!r} comes twice")
    size = (layers.height, layers.width)
    if layers.target is not None and layers.target.shape != size:
        raise InputError(f"the target of {layers.id} is {layers.target.shape}, its image {size}")
    for name in (*layers.maps, *layers.labels):
        if not _LOCALIZER.fullmatch(name):
            raise InputError(
                f"localizer {name!r} cannot be a file name; allowed are A-Z a-z 0-9 _ -"
            )
    for name, labels in layers.labels.items():
        if labels.shape != size:
            raise InputError(f"labels {name} of {layers.id} are {labels.shape}, its image {size}")
    for name, (classes, planes) in layers.maps.items():
        if planes.ndim != 3 or len(planes) != len(classes):
            raise InputError(
                f"maps {name} of {layers.id} are {planes.shape} for {len(classes)} classes"
            )


def _shown(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _image(folder: Path, layers: ImageLayers, size: tuple[int, int]) -> Layer:
    pixels = decode_image(layers.image, layers.id)
    if pixels.shape[:2] != (layers.height, layers.width):
        raise InputError(
            f"image {layers.id} is {pixels.shape[1]}x{pixels.shape[0]} pixels, "
            f"not {layers.width}x{layers.height}"
        )
    image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    return _save(folder, image, f"{layers.id}.jpg", "image", "")


def _save(folder: Path, image: Image.Image, file: str, kind: str, localizer: str) -> Layer:
    stream = io.BytesIO()
    if kind == "image":
        image.save(stream, "JPEG", quality=82, optimize=True)
    else:
        image.save(stream, "PNG", optimize=True)
    (folder / file).write_bytes(stream.getvalue())
    width, height = image.size
    return Layer(kind=kind, localizer=localizer, file=file, width=width, height=height)


def _mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    colours = [*zip(*[iter(voc_palette())] * 3, strict=True)]
    table = [(*c, 255) for c in colours]
    table[0], table[VOID] = (0, 0, 0, 0), _LIGHT
    image.putpalette([v for row in table for v in row], "RGBA")
    return image


def _heat(planes: NDArray[np.float16]) -> Image.Image:
    shape = planes.shape[1:]
    best = planes.max(0).astype(np.float32) if len(planes) else np.zeros(shape, np.float32)
    levels = np.nan_to_num(best).clip(0, 1) * (HEAT_LEVELS - 1)
    image = Image.fromarray(levels.round().astype(np.uint8))
    image.putpalette([v for row in heat_table() for v in row], "RGBA")
    return image


def heat_table() -> list[tuple[int, int, int, int]]:
    """Colours of the HEAT_LEVELS steps from 0 to 1: viridis, clear at 0, opaque from 0.4 on."""
    steps = [k / (HEAT_LEVELS - 1) for k in range(HEAT_LEVELS)]
    colours = sample_colorscale(get_colorscale("Viridis"), steps)
    rgb = [unlabel_rgb(c) for c in colours]
    alpha = [round(255 * min(1.0, s / 0.4)) for s in steps]
    return [(int(r), int(g), int(b), a) for (r, g, b), a in zip(rgb, alpha, strict=True)]


def _seed(
    layers: ImageLayers, classes: tuple[int, ...], planes: NDArray[np.float16], threshold: float
) -> NDArray[np.uint8]:
    """`[H,W]`: the best class where it exceeds the threshold (as `metrics.ThresholdCurve`)."""
    score, best = best_class(torch.from_numpy(planes), classes, (layers.height, layers.width))
    seed: NDArray[np.uint8] = torch.where(score > threshold, best, 0).numpy().astype(np.uint8)
    return seed
