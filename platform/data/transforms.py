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

Pixels = NDArray[np.uint8]
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""ImageNet's, for RGB in 0..1."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """What training draws of an image (IRN's order: resize, mirror, crop or pad).

    Attributes:
        resize: range of the long side, pixels.
        side: of the square crop, pixels.
    """

    resize: tuple[int, int]
    side: int


def generator(seed: int, epoch: int, id: str) -> np.random.Generator:
    """The random numbers of one image in one epoch, the same on every machine."""
    return np.random.default_rng([seed, epoch, zlib.crc32(id.encode())])


def resized(image: Pixels, height: int, width: int) -> Pixels:
    """The image at another size, bicubic (Pillow)."""
    if image.shape[:2] == (height, width):
        return image
    size = (width, height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def augment(
    image: Pixels, rng: np.random.Generator, crop: Crop
) -> tuple[Pixels, NDArray[np.int32]]:
    """A random crop of the resized, perhaps mirrored image.

    Returns:
        uint8 `[S,S,3]`, black where the image does not reach, and the rectangle that holds the
        image: top, left, height, width.
    """
    low, high = crop.resize
    factor = int(rng.integers(low, high + 1)) / max(image.shape[:2])
    height, width = (max(1, round(n * factor)) for n in image.shape[:2])
    image = resized(image, height, width)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    rows, columns = min(height, crop.side), min(width, crop.side)
    y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    top = int(rng.integers(crop.side - rows + 1))
    left = int(rng.integers(crop.side - columns + 1))
    out = np.zeros((crop.side, crop.side, 3), np.uint8)
    out[top : top + rows, left : left + columns] = image[y : y + rows, x : x + columns]
    return out, np.array([top, left, rows, columns], np.int32)


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
