"""Decoding of images and masks from untrusted bytes, and encoding of masks, with Pillow.

EXIF orientation is ignored here: the readers of a data set have settled it before an image gets
into a shard, see `readers.image_files`. Shapes: H W pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..labels import VOID

MAX_PIXELS = 50_000_000
IMAGE_FORMATS = ("JPEG", "PNG")
SIXTEEN_BITS = "I;16"
"""Pillow's mode of a grey PNG of 16 bits."""
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", SIXTEEN_BITS)
_KINDS = (
    (b"GIF8", "a GIF; convert it to PNG"),
    (b"II*\0", "a TIFF; convert it to PNG"),
    (b"MM\0*", "a TIFF; convert it to PNG"),
    (b"BM", "a BMP; convert it to PNG"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file with git lfs pull"),
    (b"<", "a page of HTML or XML, no image; replace the file"),
)
"""What a file of other formats begins with, and what it is."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


def open_image(data: bytes, name: str, formats: tuple[str, ...]) -> Image.Image:
    """Open an image whose pixels are not decoded yet, see `load`.

    Args:
        data: the encoded image.
        name: file or id, for messages.
        formats: Pillow's names of the formats that are read.

    Raises:
        InputError: the image has another format, or is over MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name} claims more than {MAX_PIXELS} pixels, the most allowed; reduce the image"
        ) from error
    except _BROKEN as error:
        raise InputError(
            f"{name} is not a readable {' or '.join(formats)} image{_kind(data, formats)}"
        ) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} is {width}x{height} pixels; at most {MAX_PIXELS} are allowed")
    return image


def _kind(data: bytes, formats: tuple[str, ...]) -> str:
    """Return what an unreadable file is, as far as its first bytes tell, and what to do."""
    if not data:
        return ": it is empty; replace the file"
    if data.startswith(b"\xff\xd8") and "JPEG" not in formats:
        return ": it is a JPEG, whose compression changes values; save it anew as PNG"
    if data[4:8] == b"ftyp":
        return ": it is a HEIC or AVIF image; convert it to PNG"
    if data[:4] + data[8:12] == b"RIFFWEBP":
        return ": it is a WebP image; convert it to PNG"
    kinds = (f": it is {kind}" for start, kind in _KINDS if data.startswith(start))
    return next(kinds, "; replace the file")


def channel_bits(png: bytes) -> int:
    """Return the number of bits a channel of a PNG that Pillow has opened."""
    return png[24]


def load(image: Image.Image, name: str) -> None:
    """Decode the pixels of an open image.

    Raises:
        InputError: the image is truncated or damaged, or lacks its palette.
    """
    try:
        image.load()
    except _BROKEN as error:
        raise InputError(f"{name} is truncated or damaged: {error}") from error
    if image.mode == "P" and image.palette is None:
        raise InputError(f"{name} is damaged: it has no palette; replace the file")


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG to RGB `[H,W,3]`, see `rgb_pixels`.

    Args:
        data: the encoded image.
        name: file or id, for messages.

    Raises:
        InputError: the image has another format, is truncated, or is over MAX_PIXELS.
    """
    return rgb_pixels(open_image(data, name, IMAGE_FORMATS), name)


def rgb_pixels(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Decode an open image to RGB `[H,W,3]`, without EXIF orientation and alpha.

    Of 16 bits a channel the upper eight are kept; of several pictures the first is decoded.

    Raises:
        InputError: the image has a pixel mode that no JPEG or PNG has, or is truncated.
    """
    if image.mode not in _MODES:
        raise InputError(f"{name} has pixel mode {image.mode}; allowed are {', '.join(_MODES)}")
    load(image, name)
    return np.array(_with_eight_bits(image).convert("RGB"), dtype=np.uint8)


def _with_eight_bits(image: Image.Image) -> Image.Image:
    """Return a decoded image with the upper eight bits of each channel of 16."""
    if image.mode == SIXTEEN_BITS:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def decode_mask(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a palette (P) or 8-bit grey (L) PNG to class values `[H,W]`.

    The indices of a palette are the values; its colours are ignored. Masks that people bring in
    other forms are read by `readers.masks`.

    Args:
        data: the encoded mask.
        name: file or id, for messages.

    Raises:
        InputError: the mask has another format or mode (such as RGB), is truncated, or is over
            MAX_PIXELS.
    """
    image = open_image(data, name, ("PNG",))
    bits = channel_bits(data)
    if image.mode not in ("P", "L") or (image.mode == "L" and bits != 8):
        raise InputError(
            f"mask {name} has pixel mode {image.mode} at {bits} bits; "
            "a mask is a palette (P) or 8-bit grey (L) PNG whose values are classes"
        )
    load(image, name)
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
    return list(_voc_palette())


@cache
def _voc_palette() -> tuple[int, ...]:
    colours = []
    for index in range(256):
        rgb = [0, 0, 0]
        for k in range(8):
            rgb[k % 3] |= (index >> k & 1) << (7 - k // 3)
        colours += rgb
    return tuple(colours)
