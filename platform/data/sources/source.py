"""The record of a labelled image, and the protocol of sources of records."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...errors import InputError

MOST_CLASSES = 254
"""Largest number of classes: a mask has one byte per pixel, 0 for background and 255 for void."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, surrogates and line breaks."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One image with its labels.

    Attributes:
        id: image id, see `check_id`.
        image: the encoded image (JPEG or PNG), unchanged unless the picture was turned upright.
        height, width: size of the image, pixels.
        labels: 0-based foreground classes in the image, sorted, each once.
        mask: PNG of the image's size, 0 background, class + 1, 255 void; for evaluation only.
        parts: part map, a PNG of the image's size, see `scenes`; None where there is none.
        split: the exclusive subset that the image is in, see `Source.splits`.
        notes: how files were read that could be read in several ways, such as "the mask is read
            by the colours of VOC's palette"; equal notes of a data set are counted.
    """

    id: str
    image: bytes
    height: int
    width: int
    labels: tuple[int, ...]
    mask: bytes | None = None
    parts: bytes | None = None
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


def check_id(id: str) -> str:
    """Check that an image id can be a file name and return it.

    An id has up to 200 letters, digits, dots, underscores and dashes. It may begin with a dash, as
    the names of video frames do, because it never stands alone on a command line.

    Raises:
        InputError: the id is not allowed.
    """
    if not _ID.fullmatch(id) or id in (".", ".."):
        raise InputError(
            f"image id {id!r} is not allowed; an id is made of A-Z, a-z, 0-9, '.', '_' and '-', "
            "200 at most"
        )
    return id


def check_name(name: str) -> str:
    """Check that a record in the store or a split can have a name and return the name.

    A name has the characters of an id, see `check_id`, and begins with a letter or a digit, so
    that it is neither a hidden file nor mistaken for an option.

    Raises:
        InputError: the name is not allowed.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"the name {name!r} is not allowed; a name is made of A-Z, a-z, 0-9, '.', '_' and '-', "
            "200 at most, and begins with a letter or a digit"
        )
    return name


def check_classes(
    names: Sequence[object], where: str, positions: Mapping[int, str] | None = None
) -> tuple[str, ...]:
    """Check the class names of a data set and return them.

    A data set has 1 to MOST_CLASSES different names of up to 200 characters, without control
    characters and surrogates.

    Args:
        names: class names, in the order of the classes.
        where: file of the names, for messages.
        positions: position of each name in the file by index, where known, for messages.

    Raises:
        InputError: a name is not allowed, or there are too many or no names.
    """
    if not 1 <= len(names) <= MOST_CLASSES:
        raise InputError(
            f"{where} names {len(names)} classes; a data set has 1 to {MOST_CLASSES} of them"
        )
    known: set[str] = set()
    for index, name in enumerate(names):
        position = f"{where}, {positions[index]}" if positions else where
        fault = _class_fault(name)
        if fault:
            raise InputError(f"{position}: the class name {ascii(name)[:80]} {fault}")
        if name in known:
            raise InputError(f"{position}: the class name {name!r} is listed twice; list it once")
        known.add(str(name))
    return tuple(map(str, names))


def _class_fault(name: object) -> str:
    """Return the fault of one class name, or an empty text for an allowed name."""
    if not isinstance(name, str):
        return "is no text"
    if not name.strip():
        return "is empty"
    if any(unicodedata.category(c) in _UNSEEN for c in name):
        return "holds a control character or a surrogate"
    return "has over 200 characters" if len(name) > 200 else ""
