"""The record of a labelled image, and the protocol of sources of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..readers.image_files import UPRIGHT


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One image with its labels.

    Attributes:
        id: image id, see `names.check_id`.
        image: the encoded image (JPEG or PNG), unchanged unless the picture was turned upright.
        pixels: RGB `[H,W,3]`, decoded from `image`.
        orientation: EXIF orientation of `image`, 1 (upright) to 8; `pixels` are as stored.
        labels: 0-based foreground classes in the image, sorted, each once.
        mask: `[H,W]`, 0 background, class + 1, 255 void; for evaluation only.
        parts: part map `[H,W]`, see `scenes`; None where there is none.
        split: the exclusive subset that the image is in, see `Source.splits`.
        notes: how files were read that could be read in several ways, such as "the mask is read
            by the colours of VOC's palette"; equal notes of a data set are counted.
    """

    id: str
    image: bytes
    pixels: NDArray[np.uint8]
    orientation: int = UPRIGHT
    labels: tuple[int, ...]
    mask: NDArray[np.uint8] | None = None
    parts: NDArray[np.uint8] | None = None
    split: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Item:
    """The description of an image before it is read, small enough to send to tasks.

    Attributes:
        id, split: as in `Record`.
        labels: as in `Record`; empty for a drawn image, whose labels the drawing decides.
        image: path of the image below the source's folder, "" for a drawn image.
        mask: path of the mask below the source's folder, None where there is no mask.
        seed: random seed of a drawn image, 0 for a file.
        row: number of the image in the index of the source, if the source has one.
    """

    id: str
    split: str
    labels: tuple[int, ...] = ()
    image: str = ""
    mask: str | None = None
    seed: int = 0
    row: int = 0


class Source(Protocol):
    """A source of labelled images, which can be pickled, since tasks on other machines use it."""

    @property
    def name(self) -> str:
        """Kind of the source: voc, coco, folder or scenes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes."""

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """The exclusive subsets that make up each split, by the name of the split.

        The name of a subset is the sorted lists of its images, joined by "+": VOC's train_aug is
        ("train+train_aug", "train_aug"), so that train is stored once.
        """

    def items(self) -> list[Item]:
        """Return all items by subset, then in the order of the lists, without reading images.

        Raises:
            InputError: a list, a label or a file is missing or wrong.
        """

    def load(self, item: Item) -> Record:
        """Read or draw one image and check it with its mask.

        Raises:
            InputError: the image or the mask is broken, or both do not fit.
        """

    def notes(self) -> list[str]:
        """Return a sentence on each choice made in reading lists, labels and annotations."""

    def settings(self) -> dict[str, object]:
        """Return the JSON values that the content depends on, without paths of this machine."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of settings and of the files' paths, sizes and times of change."""
