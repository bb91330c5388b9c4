"""Reading of a mask file of any kind to class values, with notes on how it was read.

Shapes: H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....labels import VOID
from . import sbd
from .samples import Samples, read_png
from .value_map import OPTION, UNKNOWN, ValueMap, look_up, unknown_values, voc_colours

MOVED_COLOURS = (
    "the palette has VOC's colours at other indices; the indices were read, not the colours"
)
_EXAMPLE = f"{OPTION} 0=background 1=label"


@dataclass(frozen=True, kw_only=True)
class ClassValues:
    """Class values that were read from a mask.

    Attributes:
        values: `[H,W]`: 0 background, class + 1, 255 void.
        notes: how the mask was read, where it could be read in several ways.
    """

    values: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MaskReader:
    """A reader of the masks of one data set.

    Attributes:
        classes: number of classes.
        value_map: what the values stand for, if the user says so.
    """

    classes: int
    value_map: ValueMap | None = None

    def read(self, data: bytes, name: str, labels: Sequence[int]) -> ClassValues:
        """Read one mask.

        Args:
            data: the file.
            name: path of the file; a name that ends in .mat is a mask of SBD.
            labels: 0-based classes of the image.

        Raises:
            InputError: the mask is damaged, or its values are no classes.
        """
        if name.lower().endswith(sbd.SUFFIX):
            samples = Samples(values=sbd.read_segmentation(data, name))
            notes: tuple[str, ...] = ("the mask was read from SBD's GTcls.Segmentation (.mat)",)
        else:
            samples, notes = read_png(data, name), ()
        if self.value_map:
            values = self.value_map.classes_of(samples, name, labels)
            return ClassValues(values=values, notes=(*notes, f"the mask was read by {OPTION}"))
        values, note = self._values(samples, name)
        if note:
            notes = (*notes, note)
        return ClassValues(values=values, notes=notes)

    def _values(self, samples: Samples, name: str) -> tuple[NDArray[np.uint8], str]:
        """Return the class values that the samples are by themselves, and a note or ""."""
        if samples.in_colours:
            return self._from_colours(samples, name)
        if samples.grey and samples.bits == 1:
            return self._from_one_bit(samples, name)
        if samples.grey and samples.bits < 8:
            raise InputError(
                f"mask {name} is grey with {samples.bits} bits, which may be classes or shades; "
                f"say with {OPTION} what its values 0 to {2**samples.bits - 1} stand for"
            )
        values = self._checked(samples.values, name)
        if samples.bits > 8:
            return values, f"the mask has {samples.bits} bits, its values fit 8"
        if samples.palette is None:
            return values, ""
        self._check_greys(values, samples.palette, name)
        return values, MOVED_COLOURS if self._has_moved_colours(values, samples.palette) else ""

    def _check_greys(
        self, values: NDArray[np.uint8], palette: NDArray[np.uint8], name: str
    ) -> None:
        """Refuse a mask whose palette is of greys alone that differ from their indices.

        Programs that turn a grey mask into one with a palette number its levels anew, so that the
        greys are the values; other programs show the values as greys of their choice. A palette of
        one colour shows nothing, and black and white are 1 bit, see `_from_one_bit`.

        Raises:
            InputError: either the indices or the greys may be the values.
        """
        used = np.flatnonzero(np.bincount(values.ravel()))
        greys = palette[used, 0]
        if (palette != palette[:, :1]).any() or (greys == used).all():
            return
        if self._is_vocs(used, palette):
            return
        shows_nothing = len(set(greys.tolist())) < len(used) or not greys.any()
        shown = {(i, g) for i, g in zip(used, greys, strict=True) if i != VOID}
        one_bit = self.classes == 1 and shown <= {(0, 0), (1, 255)}
        if not shows_nothing and not one_bit:
            index, grey = next((i, g) for i, g in zip(used, greys, strict=True) if i != g)
            raise InputError(
                f"mask {name} has a palette of greys, whose index {index} is grey {grey}; say with "
                f"{OPTION} what each index stands for, as {index}=CLASS, or each grey, as "
                f"{grey},{grey},{grey}=CLASS"
            )

    def _has_moved_colours(self, values: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bool:
        """Return whether the colours of a mask are VOC's, but at other indices of the palette.

        Programs that make PNGs smaller number the colours of a palette anew.
        """
        used = np.flatnonzero(np.bincount(values.ravel()))
        codes, meanings = self._meanings(used, palette)
        distinct = len(set(codes.tolist())) == len(codes) > 1
        return bool(distinct and (meanings != UNKNOWN).all() and (meanings != used).any())

    def _is_vocs(self, used: NDArray[np.integer], palette: NDArray[np.uint8]) -> bool:
        """Return whether each index has the colour that VOC gives it."""
        return bool((self._meanings(used, palette)[1] == used).all())

    def _meanings(
        self, used: NDArray[np.integer], palette: NDArray[np.uint8]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the colours of indices, as codes, and the values that VOC gives these colours."""
        codes = Samples(values=used[None], palette=palette).colour_codes()[0]
        return codes, look_up(codes, voc_colours(self.classes))

    def _checked(self, values: NDArray[np.integer], name: str) -> NDArray[np.uint8]:
        """Return values `[H,W]` after a check that each is a class, background or void."""
        allowed = {value: value for value in (*range(self.classes + 1), VOID)}
        fault = unknown_values(values, look_up(values, allowed), colours=False)
        if fault:
            raise InputError(
                f"mask {name} has {fault}; allowed are 0 to {self.classes} and {VOID}, or say with "
                f"{OPTION} what each value stands for"
            )
        return values.astype(np.uint8)

    def _from_one_bit(self, samples: Samples, name: str) -> tuple[NDArray[np.uint8], str]:
        """Return the class values of a mask of 1 bit, whose 1 is the only class."""
        if self.classes > 1:
            raise InputError(
                f"mask {name} has 1 bit, but there are {self.classes} classes; {_EXAMPLE} reads 1 "
                "as the only label of the image"
            )
        return samples.values.astype(np.uint8), "the mask has 1 bit; 1 was read as the only class"

    def _from_colours(self, samples: Samples, name: str) -> tuple[NDArray[np.uint8], str]:
        """Return the class values of a mask in VOC's colours, or in grey that is stored as RGB."""
        codes = samples.colour_codes()
        meanings = look_up(codes, voc_colours(self.classes))
        fault = unknown_values(codes, meanings, colours=True)
        if fault is None:
            return meanings.astype(np.uint8), "the mask was read by the colours of VOC's palette"
        if samples.is_grey_in_colours:
            values = self._checked(samples.values[..., 0], name)
            return values, "the mask is grey stored as RGB; its grey levels were read as classes"
        raise InputError(
            f"mask {name} has pixel mode RGB and {fault}, which VOC's palette of {self.classes} "
            f"classes does not have; say with {OPTION} what each colour stands for"
        )
