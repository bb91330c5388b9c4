"""The file of one photograph: its pixels, its EXIF orientation, and how it was read.

Shapes: H W pixels.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from ..images import IMAGE_FORMATS, channel_bits, open_image, rgb_pixels

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation; 1 is upright. Source: EXIF 2.32, 4.6.4."""
UPRIGHT = 1
SIDES_SWAPPED = 5
"""The lowest orientation with which height and width change places."""
_BROKEN_EXIF = (SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, OSError)
_COMPRESSION = 3
"""Level of zlib for a turned picture, 0 to 9: level 6 takes twice the time for 3 % of the size."""


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """The file of a photograph and what was read from it.

    Attributes:
        data: the encoded image, a JPEG or PNG.
        pixels: RGB `[H,W,3]`, as stored.
        orientation: EXIF orientation, 1 to 8.
        notes: how the file was read, where it could be read in several ways.
    """

    data: bytes
    pixels: NDArray[np.uint8]
    orientation: int
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def turned_size(self) -> tuple[int, int]:
        """Height and width after the EXIF orientation is applied."""
        height, width = self.size
        return (width, height) if self.orientation >= SIDES_SWAPPED else (height, width)


def read_image_file(data: bytes, name: str) -> ImageFile:
    """Read a JPEG or PNG.

    Args:
        data: the encoded image.
        name: file or id, for messages.

    Raises:
        InputError: the image has another format, is truncated, or is over MAX_PIXELS.
    """
    image = open_image(data, name, IMAGE_FORMATS)
    kind = image.format
    pictures = getattr(image, "n_frames", 1)
    pixels = rgb_pixels(image, name)
    orientation = orientation_of(image)
    notes = []
    if pictures > 1:
        several = "an animated PNG" if kind == "PNG" else "a JPEG of several pictures"
        notes.append(f"{several} was read as its first picture")
    if kind == "PNG" and channel_bits(data) == 16:
        notes.append("16 bits a channel were read as 8: each value was divided by 256")
    if image.mode == "CMYK":
        notes.append("CMYK was turned into RGB without a colour profile")
    if _is_transparent(image):
        notes.append("transparent pixels were read with the colour that is stored for them")
    if orientation is None:
        notes.append("the EXIF data are damaged, so no orientation is known")
    return ImageFile(
        data=data, pixels=pixels, orientation=orientation or UPRIGHT, notes=tuple(notes)
    )


def orientation_of(image: Image.Image) -> int | None:
    """Return the EXIF orientation of an image, 1 where it has none, None for damaged EXIF data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if stored := image.info.get("exif"):
                Image.Exif().load(stored)  # `getexif` is silent where opening a JPEG failed at it
            value = image.getexif().get(ExifTags.Base.Orientation)
    except _BROKEN_EXIF:
        return None
    return value if isinstance(value, int) and value in TURNS else UPRIGHT


def _is_transparent(image: Image.Image) -> bool:
    """Return whether a decoded image has a pixel that is not opaque."""
    if not image.has_transparency_data:
        return False
    if "A" not in image.getbands():
        try:
            image = image.convert("RGBA")
        except ValueError:  # Pillow does not turn 16 bits with a transparent value into RGBA
            return True
    return bool(np.asarray(image.getchannel("A")).min() < 255)


def turned_upright(image: ImageFile) -> ImageFile:
    """Return an image with its EXIF orientation applied to its pixels, as a PNG without EXIF."""
    if image.orientation == UPRIGHT:
        return image
    turned = Image.fromarray(image.pixels).transpose(TURNS[image.orientation])
    out = io.BytesIO()
    turned.save(out, "PNG", compress_level=_COMPRESSION)
    return dataclasses.replace(
        image, data=out.getvalue(), pixels=np.array(turned), orientation=UPRIGHT
    )
