"""The archive that the PASCAL VOC evaluation server takes.

Rules: palette PNGs of values 0 to 20 at the images' own sizes, in
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
from ..storage.artifact_files import write_atomic

COMPETITIONS = ("comp5", "comp6")
"""Only VOC's own data was used, or other data too."""


def check(path: Path, classes: Sequence[str], competition: str) -> None:
    """Refuses what the server would refuse.

    Raises:
        InputError: other classes than VOC's, a competition there is not, another suffix.
    """
    if tuple(classes) != CLASSES:
        raise InputError(
            f"the VOC server takes its 20 classes, not {len(classes)} of this data set"
        )
    if competition not in COMPETITIONS:
        raise InputError(
            f"unknown competition {competition!r}; there are {', '.join(COMPETITIONS)}"
        )
    if not path.name.endswith((".tar.gz", ".tgz")):
        raise InputError(f"the VOC server takes .tar.gz or .tgz, not {path.name}")


def write(
    path: Path, labels: Iterable[tuple[str, NDArray[np.uint8]]], competition: str = "comp5"
) -> int:
    """Writes the archive, whole or not at all; returns how many images it holds.

    Args:
        path: of the archive.
        labels: ids and labels `[H,W]` at the images' own sizes.
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
                    raise InputError(f"{id} holds {plane.max()}, which is no class of VOC")
                content = encode_png(plane)
                entry = tarfile.TarInfo(f"{folder}/{id}.png")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
                count += 1

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, fill)
    return count
