"""Page of a run's prototypes, each with the image patches that are closest to it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...platform.data.formats.prototype_patches import SUFFIX, Patch
from ...platform.data.images import decode_image
from ...platform.errors import InputError
from ...platform.records.result_id import ResultId
from ...platform.records.schema import RunRecord
from ..content.artifact_cache import PATCHES_PER_PROTOTYPE, ArtifactCache
from ..content.gallery import SHORT_KEY_LENGTH
from ..labels import method_title, result_title
from .layout import Header, Link, Page, Section, facts_with_values

SIDE = 96
"""Side of a patch in pixels of the image."""
CELL = 16
"""Side in pixels of the box in the middle of a patch: about one position of the last stage."""
FILE = re.compile(r"(?P<value>[0-9]{1,3})\.(?P<number>[0-9]{1,6})\.jpg")
Known = Mapping[tuple[int, int], Sequence[Patch]]


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Picture of the patches that are closest to a prototype.

    Attributes:
        title: kind and number of the prototype.
        ids: ids of the images that the patches come from.
        path: path of the picture.
        width: width of the picture in pixels.
        highest, lowest: cosine of the first and of the last patch with the prototype.
    """

    title: str
    ids: str
    path: str
    width: int
    highest: float
    lowest: float


def class_maps_with_patches(
    run: RunRecord, artifacts: ArtifactCache
) -> dict[ResultId, tuple[str, str]]:
    """Return the class maps of a run that have patches of prototypes stored.

    Returns:
        Split and key of the class maps by result id; the first split that has patches.
    """
    out: dict[ResultId, tuple[str, str]] = {}
    for id, key_of in run.maps.items():
        for split, key in key_of.items():
            try:
                artifacts.open("shards", run.shards)
                files = artifacts.open("maps", key).files(SUFFIX)
            except InputError:  # the artifact was deleted or is not computed yet
                continue
            shown = split in run.unscored or split in run.scores.get(id, {})
            if files and id not in out and shown:
                out[id] = (split, key)
    return out


def prototypes_page(run: RunRecord, artifacts: ArtifactCache) -> Page:
    """Return the page of a run's prototypes, a section for each class, scored classes first."""
    sections: list[Section] = []
    maps = class_maps_with_patches(run, artifacts)
    for id, (split, key) in maps.items():
        known, score = artifacts.patches(key), run.scores.get(id, {}).get(split)
        names = ["background", *artifacts.open("shards", run.shards).about["classes"]]
        values = {value for value, _ in known}
        for value in sorted(values, key=lambda v: (score is not None and v not in score.scored, v)):
            of_class = {k: patches for (v, k), patches in known.items() if v == value}
            title = f"{result_title(id)}: {names[value]}" if value < len(names) else ""
            strips = [_strip(key, value, k, patches) for k, patches in sorted(of_class.items())]
            title = title or f"class {value}"
            sections.append(Section(key=f"class{len(sections)}", title=title, content=strips))
    splits = " / ".join(dict.fromkeys(split for split, _ in maps.values()))
    facts = [("method", method_title(run.method)), ("data set", run.dataset), ("split", splits)]
    header = Header(
        title=f"Prototypes of {run.name}",
        facts=facts_with_values(facts),
        links=[Link(file=f"run.{run.name}.html", text="Run page")],
    )
    return Page(
        template="prototypes.html",
        title=header.title,
        header=header,
        sections=sections,
        content={"patches": PATCHES_PER_PROTOTYPE, "side": SIDE},
    )


def _strip(key: str, value: int, number: int, patches: Sequence[Patch]) -> Strip:
    return Strip(
        title=f"{patches[0].kind} {number}",
        ids=", ".join(p.id for p in patches),
        path=patches_path(key, value, number),
        width=SIDE * len(patches),
        highest=patches[0].cosine,
        lowest=patches[-1].cosine,
    )


def patches_path(key: str, value: int, number: int) -> str:
    """Return the path of the file with the patches of a prototype."""
    return f"prototypes/{key[:SHORT_KEY_LENGTH]}/{value}.{number}.jpg"


def patches_paths(run: RunRecord, artifacts: ArtifactCache) -> list[str]:
    """Return the paths of the patches of all prototypes of a run."""
    keys = [key for _, key in class_maps_with_patches(run, artifacts).values()]
    return [patches_path(key, *prototype) for key in keys for prototype in artifacts.patches(key)]


def picture(artifacts: ArtifactCache, key: str, shards: str, file: str) -> bytes | None:
    """Return the file `prototypes/KEY/FILE`; None for an unknown prototype.

    Raises:
        InputError: an artifact is missing or damaged, or an image cannot be read.
    """
    match = FILE.fullmatch(file)
    known: Known = artifacts.patches(key) if match else {}
    patches = known.get((int(match["value"]), int(match["number"]))) if match else None
    if not patches:
        return None
    strip = np.concatenate([_cut(artifacts, shards, patch) for patch in patches], axis=1)
    stream = io.BytesIO()
    Image.fromarray(strip).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _cut(artifacts: ArtifactCache, shards: str, patch: Patch) -> NDArray[np.uint8]:
    """Return the pixels around the centre of a patch with a box drawn in the middle.

    Returns:
        uint8 `[SIDE,SIDE,3]`, black beyond the borders of the image.
    """
    row = artifacts.images(shards, artifacts.slice_of(shards, patch.id))[patch.id]
    pixels = np.pad(decode_image(row["image"], patch.id), ((SIDE,), (SIDE,), (0,)))
    height, width = (side - 2 * SIDE for side in pixels.shape[:2])
    top, left = (
        SIDE // 2 + int(min(max(at, 0.0), 1.0) * side)
        for at, side in ((patch.y, height), (patch.x, width))
    )
    cut = pixels[top : top + SIDE, left : left + SIDE].copy()
    low, high = (SIDE - CELL) // 2, (SIDE + CELL) // 2
    for line in (low, high):
        cut[line, low : high + 1] = cut[low : high + 1, line] = 255
    cut[:, -2:] = 0
    return cut
