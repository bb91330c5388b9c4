"""The page of a run's prototypes: of each, the patches of images that are closest to it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...platform.data.formats.prototype_patches import SUFFIX, Patch
from ...platform.data.images import decode_image
from ...platform.errors import InputError
from ...platform.records.result_id import ResultId
from ...platform.records.schema import RunRecord
from ..content.artifact_cache import SHOWN, ArtifactCache
from ..content.gallery import SHORT
from ..labels import label, title_of
from .layout import Page, Section, link
from .tables import definitions, esc

SIDE = 96
"""Of a patch, pixels of the image."""
CELL = 16
"""Of the box in its middle: about what a position of the last stage stands for."""
FILE = re.compile(r"(?P<value>[0-9]{1,3})\.(?P<number>[0-9]{1,6})\.jpg")
Known = Mapping[tuple[int, int], Sequence[Patch]]


def kept(run: RunRecord, artifacts: ArtifactCache) -> dict[ResultId, tuple[str, str]]:
    """Of each localizer of a run whose maps say where prototypes are closest: split and key of
    the maps whose images are shown, those of the first such split."""
    out: dict[ResultId, tuple[str, str]] = {}
    for id, of in run.maps.items():
        for split, key in of.items():
            try:
                artifacts.open("shards", run.shards)
                there = artifacts.open("maps", key).files(SUFFIX)
            except InputError:  # gone, or not there yet
                continue
            if there and id not in out and split in run.scores.get(id, {}):
                out[id] = (split, key)
    return out


def prototypes_page(run: RunRecord, artifacts: ArtifactCache) -> Page:
    """All prototypes of a run, a section a class, those that are scored first."""
    sections: list[Section] = []
    found = kept(run, artifacts)
    for id, (split, key) in found.items():
        known, score = artifacts.patches(key), run.scores[id][split]
        values = {value for value, _ in known}
        for value in sorted(values, key=lambda v: (v not in score.scored, v)):
            of_class = {k: of for (v, k), of in known.items() if v == value}
            title = f"{title_of(id)}: {score.classes[value]}" if value < len(score.classes) else ""
            figures = [_figure(key, value, k, of) for k, of in sorted(of_class.items())]
            body = f'<div class="prototypes">{"".join(figures)}</div>\n'
            sections.append(
                Section(key=f"class{len(sections)}", title=title or f"class {value}", body=body)
            )
    splits = " / ".join(dict.fromkeys(split for split, _ in found.values()))
    facts = [("method", label(run.method)), ("data set", run.dataset), ("split", splits)]
    header = (
        f"<h1>Prototypes of {esc(run.name)}</h1>\n{definitions(facts)}"
        f'<p class="links">{link(f"run.{run.name}.html", "The run")}</p>\n'
        f'<p class="note">Of each prototype, the {SHOWN} images with the closest features, cut to '
        f"{SIDE} pixels around the closest position; images with the class only. Context "
        "prototypes of LPCAM count against their class.</p>\n"
    )
    return Page(title=f"Prototypes of {run.name}", header=header, sections=sections)


def _figure(key: str, value: int, number: int, patches: Sequence[Patch]) -> str:
    title = f"{patches[0].kind} {number}"
    ids = ", ".join(p.id for p in patches)
    width = SIDE * len(patches)
    return (
        f'<figure><img loading="lazy" width="{width}" height="{SIDE}" '
        f'src="{esc(path(key, value, number))}" alt="{esc(f"Closest to {title}: {ids}")}">'
        f"<figcaption>{esc(title)}: cosine {patches[0].cosine:.2f} to {patches[-1].cosine:.2f}"
        f"</figcaption></figure>"
    )


def path(key: str, value: int, number: int) -> str:
    """The file with the patches of a prototype."""
    return f"prototypes/{key[:SHORT]}/{value}.{number}.jpg"


def paths(run: RunRecord, artifacts: ArtifactCache) -> list[str]:
    """The files of all prototypes of a run."""
    keys = [key for _, key in kept(run, artifacts).values()]
    return [path(key, *prototype) for key in keys for prototype in artifacts.patches(key)]


def picture(artifacts: ArtifactCache, key: str, shards: str, file: str) -> bytes | None:
    """The file `prototypes/KEY/FILE`; None where there is no such prototype.

    Raises:
        InputError: an artifact is gone or damaged, or an image broken.
    """
    match = FILE.fullmatch(file)
    known: Known = artifacts.patches(key) if match else {}
    of = known.get((int(match["value"]), int(match["number"]))) if match else None
    if not of:
        return None
    strip = np.concatenate([_cut(artifacts, shards, patch) for patch in of], axis=1)
    stream = io.BytesIO()
    Image.fromarray(strip).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _cut(artifacts: ArtifactCache, shards: str, patch: Patch) -> NDArray[np.uint8]:
    """uint8 `[SIDE,SIDE,3]` around the patch's centre, black beyond the image; a box in it."""
    row = artifacts.images(shards, artifacts.place(shards, patch.id))[patch.id]
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
