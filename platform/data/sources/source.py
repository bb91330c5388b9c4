"""A labelled image, and what a source of labelled images is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...errors import InputError

MOST_CLASSES = 254
"""A mask has a byte a pixel, of which 0 is the background and 255 void."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, surrogates and breaks of lines."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One image with its labels.

    Attributes:
        id: see `check_id`.
        image: the encoded image as it came (JPEG or PNG).
        height, width: of the image, pixels.
        labels: 0-based foreground classes in the image, sorted, each once.
        mask: PNG of the image's size, 0 background, class + 1, 255 void; for evaluation only.
        parts: PNG of the image's size, see `scenes`; None where a data set marks no parts.
        split: the exclusive part that the image is in, see `Source.splits`.
    """

    id: str
    image: bytes
    height: int
    width: int
    labels: tuple[int, ...]
    mask: bytes | None = None
    parts: bytes | None = None
    split: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """What is known of an image before it is read; small, and pickles.

    Attributes:
        id, split: as in `Record`.
        labels: as in `Record`; empty for a drawn image, whose labels the drawing decides.
        image: path below the source's folder, "" for a drawn image.
        mask: path below the source's folder, None where there is no mask.
        seed: decides a drawn image, 0 for a file.
        row: where a source's own index has it, if it has one.
    """

    id: str
    split: str
    labels: tuple[int, ...] = ()
    image: str = ""
    mask: str | None = None
    seed: int = 0
    row: int = 0


class Source(Protocol):
    """Where labelled images come from. A source pickles: tasks on other machines load with it."""

    @property
    def name(self) -> str:
        """The kind: voc, coco, folder or scenes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes."""

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """Split name to the exclusive parts that make it up.

        A part is named by the sorted lists its images are in, joined by "+": VOC's train_aug is
        ("train+train_aug", "train_aug"), so that train is stored once.
        """

    def items(self) -> list[Item]:
        """All images, by part and then in the order of the lists; reads no image.

        Raises:
            InputError: a list, a label or a file is missing or wrong.
        """

    def load(self, item: Item) -> Record:
        """Reads, or draws, one image and checks it with its mask.

        Raises:
            InputError: the image or the mask is broken or does not fit.
        """

    def settings(self) -> dict[str, object]:
        """Plain values that the content depends on, without paths of this machine."""

    def fingerprint(self) -> str:
        """SHA-256 of the settings and of the files' paths, sizes and times of change."""


def check_id(id: str) -> str:
    """`id`, if it can be a file name: up to 200 letters, digits, dots, underscores and dashes.

    It may begin with a dash, as the names of videos' frames do: it never stands alone on a command
    line.

    Raises:
        InputError: it cannot.
    """
    if not _ID.fullmatch(id) or id in (".", ".."):
        raise InputError(
            f"image id {id!r} is not allowed; an id is made of A-Z, a-z, 0-9, '.', '_' and '-', "
            "200 at most"
        )
    return id


def check_name(name: str) -> str:
    """`name`, if a record in the store, or a split, can have it: as `check_id`, and it begins with
    a letter or a digit, so that it is neither a hidden file nor taken for an option.

    Raises:
        InputError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"the name {name!r} is not allowed; a name is made of A-Z, a-z, 0-9, '.', '_' and '-', "
            "200 at most, and begins with a letter or a digit"
        )
    return name


def check_classes(
    names: Sequence[object], where: str, places: Mapping[int, str] | None = None
) -> tuple[str, ...]:
    """The class names of a data set, if it can have them: 1 to MOST_CLASSES different texts of up
    to 200 characters, without control characters and surrogates.

    Args:
        names: in the order of the classes.
        where: the file that they come from, for messages.
        places: the place in the file of the class at each index, where that is known.

    Raises:
        InputError: the data set cannot have them.
    """
    if not 1 <= len(names) <= MOST_CLASSES:
        raise InputError(
            f"{where} names {len(names)} classes; a data set has 1 to {MOST_CLASSES} of them"
        )
    known: set[str] = set()
    for index, name in enumerate(names):
        place = f"{where}, {places[index]}" if places else where
        fault = _class_fault(name)
        if fault:
            raise InputError(f"{place}: the class name {ascii(name)[:80]} {fault}")
        if name in known:
            raise InputError(f"{place}: the class name {name!r} stands there twice; name it once")
        known.add(str(name))
    return tuple(map(str, names))


def _class_fault(name: object) -> str:
    """What is wrong with one class name; empty where nothing is."""
    if not isinstance(name, str):
        return "is no text"
    if not name.strip():
        return "is empty"
    if any(unicodedata.category(c) in _UNSEEN for c in name):
        return "holds a control character or a surrogate"
    return "has over 200 characters" if len(name) > 200 else ""
