"""The samples of a mask file, before they are given a meaning.

Shapes: H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....errors import InputError
from ...images import SIXTEEN_BITS, channel_bits, load, open_image
from ..image_files import UPRIGHT, orientation_of

COLOUR_BASE = 256


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of a mask.

    Attributes:
        values: palette index or grey level `[H,W]`; for a mask in colours RGB `[H,W,3]`.
        bits: bits of one sample.
        grey: whether the values are grey levels, not indices of a palette.
        palette: RGB `[n,3]` of each index, where the mask has a palette.
    """

    values: NDArray[np.integer]
    bits: int = 8
    grey: bool = False
    palette: NDArray[np.uint8] | None = None

    @property
    def in_colours(self) -> bool:
        """Whether the mask is stored in colours."""
        return self.values.ndim == 3

    @property
    def is_grey_in_colours(self) -> bool:
        """Whether the mask is stored in colours of which all are grey."""
        return self.in_colours and bool((self.values == self.values[..., :1]).all())

    def colour_codes(self) -> NDArray[np.int32]:
        """Return the colour of each pixel `[H,W]` as the number of `colour_code`."""
        rgb = self.values
        if self.palette is not None:
            rgb = self.palette[self.values]
        elif not self.in_colours:
            rgb = np.repeat(self.values[..., None], 3, axis=2)
        red, green, blue = (rgb[..., k].astype(np.int32) for k in range(3))
        return (red * COLOUR_BASE + green) * COLOUR_BASE + blue


def colour_code(red: int, green: int, blue: int) -> int:
    """Return a colour as one number."""
    return (red * COLOUR_BASE + green) * COLOUR_BASE + blue


def colour_of(code: int) -> tuple[int, int, int]:
    """Return the red, green and blue of a number of `colour_code`."""
    return code // COLOUR_BASE**2, code // COLOUR_BASE % COLOUR_BASE, code % COLOUR_BASE


def read_png(data: bytes, name: str) -> Samples:
    """Read the samples of a mask that is a PNG.

    Args:
        data: the encoded mask.
        name: file or id, for messages.

    Raises:
        InputError: the mask is no PNG, is damaged, animated, turned by EXIF, partly transparent,
            has 16 bits a channel in colours, or is over MAX_PIXELS.
    """
    image = open_image(data, f"mask {name}", ("PNG",))
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(f"mask {name} is an animated PNG; save the one picture that is the mask")
    bits, mode = channel_bits(data), image.mode
    if bits == 16 and mode != SIXTEEN_BITS:
        raise InputError(
            f"mask {name} has colours of 16 bits a channel; save it with 8 bits a channel"
        )
    load(image, f"mask {name}")
    if orientation_of(image) not in (UPRIGHT, None):
        raise InputError(f"mask {name} has an EXIF orientation; save it upright, without EXIF data")
    pixels = np.array(image)
    if mode == "P":
        return Samples(values=pixels, bits=bits, palette=_palette(image))
    if mode in ("RGBA", "LA"):
        pixels = _opaque(pixels, name)
    if mode == "1":
        pixels = pixels.astype(np.uint8)
    elif bits < 8:  # Pillow stretches grey levels to 0 to 255
        pixels = pixels // (255 // (2**bits - 1))
    return Samples(values=pixels, bits=bits, grey=pixels.ndim == 2)


def _palette(image: Image.Image) -> NDArray[np.uint8]:
    """Return the 256 colours of a palette `[256,3]`, black where the palette ends."""
    colours = np.zeros(3 * 256, np.uint8)
    stored = image.getpalette("RGB") or []
    colours[: len(stored)] = stored[: len(colours)]
    return colours.reshape(256, 3)


def _opaque(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Return pixels `[H,W,C]` without their alpha, as `[H,W]` for grey.

    Raises:
        InputError: a pixel that is not black is transparent.
    """
    visible, alpha = pixels[..., :-1], pixels[..., -1]
    unclear = int(((alpha < 255) & visible.any(axis=2)).sum())
    if unclear:
        raise InputError(
            f"mask {name} has {unclear} transparent pixels with a colour; save it without alpha"
        )
    return visible[..., 0] if visible.shape[2] == 1 else visible
