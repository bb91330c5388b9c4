"""Writing of the archive that the PASCAL VOC evaluation server takes.

The server's rules: palette PNGs of values 0 to 20 at the images' original sizes, in
`results/VOC2012/Segmentation/compN_test_cls/`, as .tar.gz or .tgz.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.images import encode_png
from ..data.sources.voc import CLASSES
from ..errors import InputError
from ..storage.filesystem import write_atomic

TEST_IMAGES = 1456
"""Number of images of VOC 2012's list test, which the server scores."""
COMPETITIONS = ("comp5", "comp6")
"""Competitions of the server: comp5 for training on VOC data only, comp6 for other data too."""


def check(path: Path, classes: Sequence[str], competition: str) -> None:
    """Refuse an archive that the server would not take.

    Args:
        path: path of the archive.
        classes: class names of the data set.
        competition: one of COMPETITIONS.

    Raises:
        InputError: the classes are not VOC's, the competition is unknown, or the suffix is wrong.
    """
    if tuple(classes) != CLASSES:
        raise InputError(
            f"the VOC server takes the 20 classes of VOC, not the {len(classes)} of this data set"
        )
    if competition not in COMPETITIONS:
        raise InputError(
            f"unknown competition {competition!r}; there are {', '.join(COMPETITIONS)}"
        )
    if not path.name.endswith((".tar.gz", ".tgz")):
        raise InputError(f"the VOC server takes .tar.gz or .tgz files, not {path.name}")


def write(
    path: Path, labels: Iterable[tuple[str, NDArray[np.uint8]]], competition: str = "comp5"
) -> int:
    """Write the archive, whole or not at all, and return its number of images.

    Args:
        path: path of the archive.
        labels: image ids, each with labels `[H,W]` at the image's original size.
        competition: one of COMPETITIONS.

    Raises:
        InputError: a label is no class of VOC.
    """
    folder = f"results/VOC2012/Segmentation/{competition}_test_cls"
    count = 0

    def fill(stream: io.BufferedWriter) -> None:
        nonlocal count
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for id, plane in labels:
                if plane.max(initial=0) > len(CLASSES):
                    raise InputError(
                        f"the labels of image {id} hold {plane.max()}, which is no class of VOC"
                    )
                content = encode_png(plane)
                entry = tarfile.TarInfo(f"{folder}/{id}.png")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
                count += 1

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, fill)
    return count
