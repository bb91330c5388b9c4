"""Transforms from decoded images to the input of networks: resizing, cropping, normalising.

Shapes: B batch, H W pixels, S the crop's side. Images are uint8 `[H,W,3]` RGB.
"""

from __future__ import annotations

import math
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
"""Mean and standard deviation of ImageNet, for RGB in 0..1."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The random crops that training takes of images.

    The order is IRN's: resize, mirror, crop or pad.

    Attributes:
        resize: range of the long side of the resized image, pixels.
        side: side of the square crop, pixels.
        rescale: range of a factor on the original size of the image, in place of `resize`.
        factors: factors on the original size of which one is drawn, in place of `rescale`.
        fit: long and short side that an image is fitted into before `rescale` and `factors`.
        cropping: `irn` resizes bicubically and pads at random sides; `deeplab` resizes bilinearly
            and pads right and bottom before it mirrors.
        area: range of the share of the image's area that the crop shows, in place of all others.
    """

    resize: tuple[int, int]
    side: int
    rescale: tuple[float, float] | None = None
    factors: tuple[float, ...] = ()
    fit: tuple[int, int] | None = None
    cropping: str = "irn"
    area: tuple[float, float] | None = None


def random_generator(seed: int, epoch: int, id: str) -> np.random.Generator:
    """Return the random number generator of one image in one epoch, equal on every machine."""
    return np.random.default_rng([seed, epoch, zlib.crc32(id.encode())])


def resized(image: Pixels, height: int, width: int) -> Pixels:
    """Resize an image with bicubic interpolation (Pillow)."""
    if image.shape[:2] == (height, width):
        return image
    size = (width, height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def bilinear(image: Pixels, height: int, width: int) -> Pixels:
    """Resize an image with bilinear interpolation as OpenCV does, which averages no pixels."""
    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    out = functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    return out[0].permute(1, 2, 0).round().byte().numpy()


def fit_factor(height: int, width: int, fit: tuple[int, int] | None) -> float:
    """Return the factor by which an image fits into a long and a short side; without them, 1."""
    sides = sorted((height, width), reverse=True)
    return min(most / side for most, side in zip(fit, sides, strict=True)) if fit else 1.0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The position of a crop in a resized image, and of the image in the crop.

    Attributes:
        height, width: size of the resized image, pixels.
        mirrored: whether the resized image is mirrored.
        y, x: top left corner of the crop in the resized and mirrored image, pixels.
        top, left: top left corner of the image in the crop, pixels.
        rows, columns: size of the image in the crop, pixels.
        bilinear: whether the image is resized bilinearly, not bicubically.
    """

    height: int
    width: int
    mirrored: bool
    y: int
    x: int
    top: int
    left: int
    rows: int
    columns: int
    bilinear: bool = False

    @property
    def rectangle(self) -> NDArray[np.int32]:
        """The rectangle of the crop that holds the image: top, left, height, width."""
        return np.array([self.top, self.left, self.rows, self.columns], np.int32)


def random_placement(height: int, width: int, rng: np.random.Generator, crop: Crop) -> Placement:
    """Draw a random crop of a `height` x `width` image, which is resized and perhaps mirrored."""
    if crop.area:
        return _random_part(height, width, rng, crop.side, crop.area)
    if crop.factors:
        factor = float(rng.choice(crop.factors))
    elif crop.rescale:
        factor = float(rng.uniform(*crop.rescale))
    else:
        low, high = crop.resize
        factor = int(rng.integers(low, high + 1)) / max(height, width)
    if crop.factors or crop.rescale:
        factor *= fit_factor(height, width, crop.fit)
    height, width = (max(1, round(n * factor)) for n in (height, width))
    mirrored = bool(rng.random() < 0.5)
    rows, columns = min(height, crop.side), min(width, crop.side)
    y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    top = int(rng.integers(crop.side - rows + 1))
    left = int(rng.integers(crop.side - columns + 1))
    if crop.cropping == "deeplab":
        top, left = 0, crop.side - columns if mirrored else 0
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
        bilinear=crop.cropping == "deeplab",
    )


def _random_part(
    height: int, width: int, rng: np.random.Generator, side: int, area: tuple[float, float]
) -> Placement:
    """Draw a part of an image that fills the crop (RandomResizedCrop of torchvision).

    Its sides have a ratio of 3/4 to 4/3. After ten draws that do not fit, it is the middle of the
    image, at the nearest ratio.
    """
    for _ in range(10):
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        columns, rows = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
            break
    else:
        columns, rows = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        y, x = (height - rows) // 2, (width - columns) // 2
    whole = (round(height * side / rows), round(width * side / columns))
    return Placement(
        height=whole[0],
        width=whole[1],
        mirrored=bool(rng.random() < 0.5),
        y=min(round(y * side / rows), whole[0] - side),
        x=min(round(x * side / columns), whole[1] - side),
        top=0,
        left=0,
        rows=side,
        columns=side,
    )


def crop_image(image: Pixels, placement: Placement, side: int, fill: int = 0) -> Pixels:
    """Cut a crop out of an image or a plane of ids.

    Args:
        image: uint8 `[H,W,3]`, or ids `[H,W]`, which are resized to nearest.
        placement: position of the crop.
        side: S.
        fill: value of the crop where the image does not reach.

    Returns:
        uint8 `[S,S,3]` or `[S,S]`.
    """
    if image.ndim == 3:
        resize = bilinear if placement.bilinear else resized
        image = resize(image, placement.height, placement.width)
    else:
        size = (placement.width, placement.height)
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
    if placement.mirrored:
        image = image[:, ::-1]
    out = np.full((side, side, *image.shape[2:]), fill, np.uint8)
    rows, columns = (
        slice(placement.y, placement.y + placement.rows),
        slice(placement.x, placement.x + placement.columns),
    )
    out[
        placement.top : placement.top + placement.rows,
        placement.left : placement.left + placement.columns,
    ] = image[rows, columns]
    return out


def crop_maps(maps: Maps, placement: Placement, side: int, stride: int) -> Maps:
    """Cut a crop out of maps that span the whole image.

    Args:
        maps: `[C,h,w]`.
        placement: position of the crop.
        side: S.
        stride: pixels per position of the result.

    Returns:
        float16 `[C,n,n]` with n = S/stride, rounded, at least 1: bilinear at the middle of the
        pixels of each position; zero where the image does not reach.
    """
    count = max(1, round(side / stride))
    middle = (np.arange(count) + 0.5) * (side / count)
    y = (middle - placement.top + placement.y) / placement.height
    x = (middle - placement.left + placement.x) / placement.width
    x = 1 - x if placement.mirrored else x
    at = np.stack(np.broadcast_arrays(2 * x[None] - 1, 2 * y[:, None] - 1), -1)
    out = functional.grid_sample(
        torch.from_numpy(maps).float()[None],
        torch.from_numpy(at).float()[None],
        padding_mode="border",
        align_corners=False,
    )[0]
    rows = (middle >= placement.top) & (middle < placement.top + placement.rows)
    columns = (middle >= placement.left) & (middle < placement.left + placement.columns)
    inside = torch.from_numpy(rows[:, None] & columns[None])
    return (out * inside).half().numpy()


def normalized(images: Tensor) -> Tensor:
    """Normalise images by the mean and standard deviation of ImageNet.

    Args:
        images: uint8 `[B,H,W,3]`.

    Returns:
        float `[B,3,H,W]`, with channels last in memory.
    """
    mean = torch.tensor(MEAN, device=images.device) * 255
    deviation = torch.tensor(DEVIATION, device=images.device) * 255
    return ((images - mean) / deviation).permute(0, 3, 1, 2)


def valid_pixels(rectangles: Tensor, side: int) -> Tensor:
    """Return a mask of the pixels inside rectangles.

    Args:
        rectangles: `[B,4]`: top, left, height, width.
        side: S.

    Returns:
        bool `[B,S,S]`.
    """
    top, left, height, width = (r[:, None] for r in rectangles.T)
    line = torch.arange(side, device=rectangles.device)
    rows = (line >= top) & (line < top + height)
    columns = (line >= left) & (line < left + width)
    inside: Tensor = rows[:, :, None] & columns[:, None, :]
    return inside
