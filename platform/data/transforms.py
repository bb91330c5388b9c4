"""From decoded images to what networks see: resizing, cropping, normalising.

Shapes: B batch, H W pixels, S the crop's side. Images are uint8 `[H,W,3]` RGB.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

Pixels = NDArray[np.uint8]
Maps = NDArray[np.float16]
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""ImageNet's, for RGB in 0..1."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """What training draws of an image (IRN's order: resize, mirror, crop or pad).

    Attributes:
        resize: range of the long side, pixels.
        side: of the square crop, pixels.
        rescale: range of a factor on the image's own size, in place of `resize`.
    """

    resize: tuple[int, int]
    side: int
    rescale: tuple[float, float] | None = None


def generator(seed: int, epoch: int, id: str) -> np.random.Generator:
    """The random numbers of one image in one epoch, the same on every machine."""
    return np.random.default_rng([seed, epoch, zlib.crc32(id.encode())])


def resized(image: Pixels, height: int, width: int) -> Pixels:
    """The image at another size, bicubic (Pillow)."""
    if image.shape[:2] == (height, width):
        return image
    size = (width, height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a crop comes from and where it lies, in pixels of the resized image and the crop."""

    height: int
    width: int
    mirrored: bool
    y: int
    x: int
    top: int
    left: int
    rows: int
    columns: int

    @property
    def rectangle(self) -> NDArray[np.int32]:
        """What holds the image: top, left, height, width."""
        return np.array([self.top, self.left, self.rows, self.columns], np.int32)


def drawn(height: int, width: int, rng: np.random.Generator, crop: Crop) -> Placement:
    """A random crop of a `height` x `width` image, resized and perhaps mirrored."""
    if crop.rescale:
        factor = float(rng.uniform(*crop.rescale))
    else:
        low, high = crop.resize
        factor = int(rng.integers(low, high + 1)) / max(height, width)
    height, width = (max(1, round(n * factor)) for n in (height, width))
    mirrored = bool(rng.random() < 0.5)
    rows, columns = min(height, crop.side), min(width, crop.side)
    y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    top = int(rng.integers(crop.side - rows + 1))
    left = int(rng.integers(crop.side - columns + 1))
    return Placement(
        height=height,
        width=width,
        mirrored=mirrored,
        y=y,
        x=x,
        top=top,
        left=left,
        rows=rows,
        columns=columns,
    )


def placed(image: Pixels, place: Placement, side: int, outside: int = 0) -> Pixels:
    """The crop: uint8 `[S,S,3]` of an image (bicubic) or `[S,S]` of ids (nearest), with the
    value `outside` where the image does not reach."""
    if image.ndim == 3:
        image = resized(image, place.height, place.width)
    else:
        size = (place.width, place.height)
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
    if place.mirrored:
        image = image[:, ::-1]
    out = np.full((side, side, *image.shape[2:]), outside, np.uint8)
    rows, columns = slice(place.y, place.y + place.rows), slice(place.x, place.x + place.columns)
    out[place.top : place.top + place.rows, place.left : place.left + place.columns] = image[
        rows, columns
    ]
    return out


def placed_maps(maps: Maps, place: Placement, side: int, stride: int) -> Maps:
    """The crop of maps that span the whole image: `[C,h,w]` to float16 `[C,S/stride,S/stride]`.

    Bilinear at the middle of each position's pixels; zero where the image does not reach.
    """
    middle = (np.arange(side // stride) + 0.5) * stride
    y = (middle - place.top + place.y) / place.height
    x = (middle - place.left + place.x) / place.width
    x = 1 - x if place.mirrored else x
    at = np.stack(np.broadcast_arrays(2 * x[None] - 1, 2 * y[:, None] - 1), -1)
    out = functional.grid_sample(
        torch.from_numpy(maps).float()[None],
        torch.from_numpy(at).float()[None],
        padding_mode="border",
        align_corners=False,
    )[0]
    rows = (middle >= place.top) & (middle < place.top + place.rows)
    columns = (middle >= place.left) & (middle < place.left + place.columns)
    inside = torch.from_numpy(rows[:, None] & columns[None])
    return (out * inside).half().numpy()


def normalized(images: Tensor) -> Tensor:
    """uint8 `[B,H,W,3]` to float `[B,3,H,W]` with ImageNet's mean and deviation, channels last."""
    mean = torch.tensor(MEAN, device=images.device) * 255
    deviation = torch.tensor(DEVIATION, device=images.device) * 255
    return ((images - mean) / deviation).permute(0, 3, 1, 2)


def valid_pixels(rectangles: Tensor, side: int) -> Tensor:
    """bool `[B,S,S]`: true inside each rectangle `[B,4]` of top, left, height, width."""
    top, left, height, width = (r[:, None] for r in rectangles.T)
    line = torch.arange(side, device=rectangles.device)
    rows = (line >= top) & (line < top + height)
    columns = (line >= left) & (line < left + width)
    inside: Tensor = rows[:, :, None] & columns[:, None, :]
    return inside
