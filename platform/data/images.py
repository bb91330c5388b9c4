"""Decoding of images and masks from untrusted bytes, and encoding of masks, with Pillow.

EXIF orientation is ignored on purpose: masks follow the raster as it is stored.
Shapes: H W pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..labels import VOID

MAX_PIXELS = 50_000_000
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


def _open(data: bytes, name: str, formats: tuple[str, ...]) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name} claims more than {MAX_PIXELS} pixels, the most allowed"
        ) from error
    except _BROKEN as error:
        raise InputError(f"{name} is not a readable {' or '.join(formats)} image") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} is {width}x{height} pixels; at most {MAX_PIXELS} are allowed")
    return image


def _load(image: Image.Image, name: str) -> None:
    try:
        image.load()
    except _BROKEN as error:
        raise InputError(f"{name} is truncated or damaged: {error}") from error


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG to RGB `[H,W,3]`, without EXIF orientation and alpha.

    Args:
        data: the encoded image.
        name: file or id, for messages.

    Raises:
        InputError: the image has another format, is truncated, has 16 bits a channel, or is over
            MAX_PIXELS.
    """
    image = _open(data, name, ("JPEG", "PNG"))
    if image.mode not in _MODES:
        raise InputError(f"{name} has pixel mode {image.mode}; allowed are {', '.join(_MODES)}")
    _load(image, name)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def decode_mask(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a palette (P) or 8-bit grey (L) PNG to class values `[H,W]`.

    The indices of a palette are the values; its colours are ignored.

    Args:
        data: the encoded mask.
        name: file or id, for messages.

    Raises:
        InputError: the mask has another format or mode (such as RGB), is truncated, or is over
            MAX_PIXELS.
    """
    image = _open(data, name, ("PNG",))
    bits = data[24]
    if image.mode not in ("P", "L") or (image.mode == "L" and bits != 8):
        raise InputError(
            f"mask {name} has pixel mode {image.mode} at {bits} bits; "
            "a mask is a palette (P) or 8-bit grey (L) PNG whose values are classes"
        )
    _load(image, name)
    return np.array(image, dtype=np.uint8)


def check_mask(
    mask: NDArray[np.uint8], size: tuple[int, int], classes: int, name: str
) -> NDArray[np.uint8]:
    """Check a mask `[H,W]` and return it.

    Args:
        mask: class values.
        size: height and width of the image.
        classes: number of classes.
        name: file or id, for messages.

    Raises:
        InputError: the mask has another size, or values other than 0 to `classes` and 255.
    """
    if mask.shape != size:
        raise InputError(
            f"mask {name} is {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"its image {size[1]}x{size[0]}; both must have one size"
        )
    counts = np.bincount(mask.ravel(), minlength=256)
    unexpected = np.flatnonzero(counts[classes + 1 : VOID])
    if len(unexpected):
        value = int(unexpected[0]) + classes + 1
        raise InputError(f"mask {name} has the value {value}; allowed are 0 to {classes} and 255")
    return mask


def encode_png(array: NDArray[np.uint8], palette: bool = True) -> bytes:
    """Encode values `[H,W]` as a PNG, in mode P with the VOC palette or in mode L."""
    assert array.dtype == np.uint8
    assert array.ndim == 2
    image = Image.fromarray(array)
    if palette:
        image.putpalette(voc_palette())
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def voc_palette() -> list[int]:
    """Return the 256 RGB triples of the VOC palette as a flat list.

    Bit k of an index goes to channel k mod 3, from the top bit of the channel down. Source:
    VOCdevkit VOClabelcolormap.m.
    """
    colours = []
    for index in range(256):
        rgb = [0, 0, 0]
        for k in range(8):
            rgb[k % 3] |= (index >> k & 1) << (7 - k // 3)
        colours += rgb
    return colours
