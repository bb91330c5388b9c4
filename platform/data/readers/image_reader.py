"""Reading of an image together with its mask, so that both have one size and one orientation.

Shapes: H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .image_files import UPRIGHT, ImageFile, read_image_file, turned_upright
from .masks import value_map
from .masks.mask_reader import MaskReader
from .masks.value_map import ValueMap

STORED, APPLIED = "stored", "applied"
ORIENTATION = "--orientation"
RESIZE = "--resize-masks"
Size = tuple[int, int]


@dataclass(frozen=True)
class FileContent:
    """The path of a file, for messages, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImage:
    """What a shard holds of an image file and its mask.

    Attributes:
        image: the encoded image: the bytes of the file, or a PNG of the picture turned upright.
        pixels: RGB `[H,W,3]`, decoded from `image`.
        orientation: EXIF orientation of `image`, 1 (upright) to 8; `pixels` are as stored.
        mask: `[H,W]`, 0 background, class + 1, 255 void; None without a mask.
        notes: how the files were read, where they could be read in several ways.
    """

    image: bytes
    pixels: NDArray[np.uint8]
    orientation: int
    mask: NDArray[np.uint8] | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ImageReader:
    """A reader of the images and masks of one data set.

    Attributes:
        classes: number of classes.
        orientation: STORED, APPLIED, or None where an image whose reading depends on it is refused.
        values: what the values of masks stand for, if the user says so.
        resize_masks: whether a mask of another size is scaled to the image's size.
    """

    classes: int
    orientation: str | None = None
    values: ValueMap | None = None
    resize_masks: bool = False

    @classmethod
    def of_options(
        cls,
        classes: Sequence[str],
        orientation: str | None,
        mask_values: Sequence[str],
        resize_masks: bool,
    ) -> ImageReader:
        """Return the reader that the options of `wsss data` describe.

        Raises:
            InputError: an option is wrong.
        """
        if orientation not in (STORED, APPLIED, None):
            raise InputError(f"{ORIENTATION} is {orientation!r}; it must be {STORED} or {APPLIED}")
        values = value_map.parse(mask_values, classes)
        return cls(
            classes=len(classes), orientation=orientation, values=values, resize_masks=resize_masks
        )

    def settings(self) -> dict[str, object]:
        """Return the JSON values of the options that are set."""
        names = self.values.names if self.values else {}
        values = {
            "orientation": self.orientation,
            "mask_values": [list(pair) for pair in sorted(names.items())],
            "resize_masks": self.resize_masks,
        }
        return {name: value for name, value in values.items() if value}

    def read(
        self, image: FileContent, mask: FileContent | None, labels: Sequence[int]
    ) -> LabelledImage:
        """Read one image with its mask.

        Args:
            image: a JPEG or PNG.
            mask: a PNG or a .mat of SBD; None without a mask.
            labels: 0-based classes of the image.

        Raises:
            InputError: a file is damaged, the mask has an unknown value, or both do not fit.
        """
        file = read_image_file(image.data, image.name)
        notes = file.notes
        values = None
        if mask:
            reader = MaskReader(classes=self.classes, value_map=self.values)
            read = reader.read(mask.data, mask.name, labels)
            values, notes = read.values, notes + read.notes
        names = image.name, mask.name if mask else ""
        if file.orientation != UPRIGHT:
            file, note = self._oriented(file, values, names)
            notes = (*notes, note)
        if values is not None and values.shape != file.size:
            values = self._resized(values, file.size, names[1])
            notes = (*notes, "the mask was scaled to the size of its image (nearest pixel)")
        return LabelledImage(
            image=file.data,
            pixels=file.pixels,
            orientation=file.orientation,
            mask=values,
            notes=notes,
        )

    def _oriented(
        self, file: ImageFile, mask: NDArray[np.uint8] | None, names: tuple[str, str]
    ) -> tuple[ImageFile, str]:
        """Return a photograph that has an EXIF orientation, turned or as stored, and a note."""
        if mask is not None:
            self._check_orientation(file, mask, names)
        if self.orientation == APPLIED:
            note = "the picture was turned by its EXIF orientation and encoded again, as PNG"
            return turned_upright(file), note
        if self.orientation == STORED:
            return file, "the EXIF orientation was not applied"
        if mask is None:
            return file, f"the EXIF orientation was not applied ({ORIENTATION} {APPLIED} does)"
        return file, "the EXIF orientation was not applied: the mask fits the picture as stored"

    def _check_orientation(
        self, file: ImageFile, mask: NDArray[np.uint8], names: tuple[str, str]
    ) -> None:
        """Check that a mask follows the picture as --orientation says, by default as stored.

        Args:
            file: the photograph.
            mask: class values `[H,W]`.
            names: paths of the photograph and of the mask, for messages.

        Raises:
            InputError: the size of the mask contradicts it, or does not tell without the option.
        """
        (width, height), (mask_width, mask_height) = file.size[::-1], mask.shape[::-1]
        where = (
            f"image {names[0]} ({width}x{height} as stored) has EXIF orientation "
            f"{file.orientation}, and its mask {names[1]} ({mask_width}x{mask_height})"
        )
        fits = (self._fits(mask, file.size), self._fits(mask, file.turned_size))
        if fits == (True, True) and self.orientation is None:
            raise InputError(
                f"{where} fits the picture both as stored and turned by it; say with {ORIENTATION} "
                f"{STORED} or {ORIENTATION} {APPLIED} which of both the masks follow"
            )
        only = {(True, False): STORED, (False, True): APPLIED}.get(fits)
        if only and only != (self.orientation or STORED):
            picture, effect = (
                ("as it is stored", "leaves all pictures as stored")
                if only == STORED
                else ("turned by it", "turns all such pictures")
            )
            raise InputError(
                f"{where} fits the picture only {picture}; give {ORIENTATION} {only}, which "
                f"{effect}"
            )

    def _fits(self, mask: NDArray[np.uint8], size: Size) -> bool:
        """Return whether a mask has the size of a picture, or may be scaled to it."""
        return mask.shape == size or (self.resize_masks and _same_aspect(mask, size))

    def _resized(self, mask: NDArray[np.uint8], size: Size, name: str) -> NDArray[np.uint8]:
        """Return a mask in the size of its image, each pixel the nearest one of the mask.

        Raises:
            InputError: masks are not to be scaled, or the ratio of height and width differs.
        """
        scalable = _same_aspect(mask, size)
        if not (scalable and self.resize_masks):
            (height, width), (image_height, image_width) = mask.shape, size
            advice = f", or {RESIZE} scales the mask" if scalable and not self.resize_masks else ""
            raise InputError(
                f"mask {name} is {width}x{height} pixels, its image {image_width}x{image_height}; "
                f"both must have one size{advice}"
            )
        rows, columns = (
            (2 * np.arange(after) + 1) * before // (2 * after)
            for before, after in zip(mask.shape, size, strict=True)
        )
        return mask[np.ix_(rows, columns)]


def _same_aspect(mask: NDArray[np.uint8], size: Size) -> bool:
    """Return whether height and width of a mask have the ratio of a picture's, within a pixel."""
    (height, width), (image_height, image_width) = mask.shape, size
    return bool(abs(height * image_width - width * image_height) <= max(size))
