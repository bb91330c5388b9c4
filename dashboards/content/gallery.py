"""The images of a run: what the pages in the browser need to know, and the files they show.

The browser reads scripts that call `wsss.add(KIND, NAME, VALUE)`, because a page that was opened
from disk may read no other file.

    data/RUN/run.js              scores by class, of all splits
    data/RUN/SPLIT/index.js      the images of a split and what they are judged by
    data/RUN/SPLIT/NUMBER.js     how CHUNK slices of them fare
    layers/KEY/ID.SUFFIX         pictures, by artifact: runs share them
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.formats.shards import Slice
from ...platform.data.images import decode_mask
from ...platform.records.result_id import ResultId
from ...platform.records.schema import OWN, RunRecord, StageRecord
from ..labels import scope, title_of
from . import layers as content_layers
from .artifact_cache import ArtifactCache
from .image_scores import ERRORS, Source, image_scores

CHUNK = 8
"""Slices whose images are judged, and read by the browser, at once."""
SHORT = 16
"""Characters of a key that name it in a path."""
SUFFIX = {
    "shards": re.compile(r"(?P<id>.+)\.(?P<kind>jpg|target\.png)"),
    "maps": re.compile(
        r"(?P<id>.+?)\.(?P<kind>map\.png|edges\.png|planes\.js|[0-9]{1,2}\.seed\.png)"
    ),
    "labels": re.compile(r"(?P<id>.+)\.(?P<kind>labels\.png)"),
    "superpixels": re.compile(r"(?P<id>.+)\.(?P<kind>regions\.png)"),
}
NOTHING = re.compile(r"(?!)")


def script(kind: str, name: str, value: Any) -> str:
    """A script that hands `value` to the page."""
    words = [json.dumps(w, separators=(",", ":"), allow_nan=False) for w in (kind, name, value)]
    return f"wsss.add({','.join(words)});\n".replace("\u2028", " ").replace("\u2029", " ")


def splits(run: RunRecord) -> list[str]:
    """The splits that something of a run is scored on, those that nothing was tuned on first."""
    found = dict.fromkeys(s for of in run.scores.values() for s in of)
    return list(found)[::-1]


def pictured(run: RunRecord) -> list[str]:
    """The splits that there are class maps or labels of to show, in the order of `splits`."""
    return [split for split in splits(run) if sources(run, split)]


def by_stage(run: RunRecord) -> list[ResultId]:
    """What a run scores, as it came about: of the baseline first, CAM, other maps, labels."""

    def place(id: ResultId) -> tuple[bool, bool, bool, bool, str]:
        plain = id.localizer == "cam" and not id.refinement
        return not id.baseline, id in run.labels, bool(id.segmenter), not plain, str(id)

    return sorted(run.scores, key=place)


def sources(run: RunRecord, split: str) -> list[Source]:
    """The class maps and labels of a split that are scored, as they came about."""
    maps = [
        Source(id=id, key=of[split], threshold=run.scores[id][split].threshold)
        for id, of in run.maps.items()
        if split in of and split in run.scores.get(id, {})
    ]
    labels = [
        Source(id=id, key=of[split], threshold=None)
        for id, of in run.labels.items()
        if split in of and split in run.scores.get(id, {})
    ]
    order = by_stage(run)
    return sorted([*maps, *labels], key=lambda s: order.index(s.id))


def superpixels(run: RunRecord) -> StageRecord | None:
    """The stage that made the superpixels of a run, if one did."""
    return next((s for s in run.stages if s.stage == "superpixels"), None)


def run_data(run: RunRecord) -> str:
    """`data/RUN/run.js`: scores by class, for pages that compare runs."""
    value = {
        "name": run.name,
        "shards": run.shards,
        "splits": splits(run),
        "scores": [
            {
                "name": str(id),
                "title": title_of(id),
                "split": split,
                "scope": scope(score, run.name),
                "value": _rounded(score.value),
                "classes": [score.classes[c] for c in score.scored],
                "iou": [_rounded(score.iou[c]) for c in score.scored],
            }
            for id in by_stage(run)
            for split, score in run.scores[id].items()
        ],
    }
    return script("run", run.name, value)


def _rounded(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None


class Gallery:
    """The images of one split of a run.

    Args:
        artifacts: reads the store.
        run: the run.
        split: one of `pictured(run)`.
        limit: how many images, to a whole slice; 0: all. Slices are mixed, so some of them stand
            for all.
    """

    def __init__(
        self, artifacts: ArtifactCache, run: RunRecord, split: str, limit: int = 0
    ) -> None:
        self.artifacts, self.run, self.split = artifacts, run, split
        self.sources = sources(run, split)
        pieces = artifacts.pieces(run.shards, split)
        sizes = np.cumsum([p.rows for p in pieces])
        count = int(np.searchsorted(sizes, limit) + 1) if 0 < limit < sum(sizes[-1:]) else 0
        chosen = np.linspace(0, len(pieces) - 1, count).astype(int) if count else range(len(pieces))
        self.pieces: list[Slice] = [pieces[k] for k in chosen]
        made = superpixels(run)
        of = artifacts.open(made.stage, made.key) if made else None
        self.regions = made if of and of.has(f"{self.pieces[0].name}.parquet") else None
        maps = [s.key for s in self.sources if s.threshold is not None]
        self.edges = {key for key in maps if artifacts.has_edges(key, self.pieces[0])}
        """Class maps that the boundaries which held them are kept beside."""

    def chunks(self) -> range:
        """Numbers of the chunks."""
        return range(-(-len(self.pieces) // CHUNK))

    def _of(self, number: int) -> list[Slice]:
        return self.pieces[number * CHUNK : (number + 1) * CHUNK]

    def ids(self) -> list[str]:
        """The images, chunk by chunk."""
        members = self.artifacts.members(self.run.shards)
        return [id for piece in self.pieces for id in members[piece]]

    def index(self) -> str:
        """`data/RUN/SPLIT/index.js`."""
        run, split = self.run, self.split
        score = run.scores[self.sources[0].id][split]
        palette = content_layers.colours()[: len(score.classes)]
        return script(
            "index",
            f"{run.name}/{split}",
            {
                "run": run.name,
                "split": split,
                "scope": scope(score, run.name),
                "total": score.n,
                "shards": run.shards[:SHORT],
                "superpixels": self.regions.key[:SHORT] if self.regions else "",
                "classes": list(score.classes),
                "colours": ["#{:02x}{:02x}{:02x}".format(*c) for c in palette],
                "heat": [v for row in content_layers.heat_table() for v in row],
                "errors": list(ERRORS),
                "sources": [
                    {
                        "name": str(s.id),
                        "title": title_of(s.id),
                        "key": s.key[:SHORT],
                        "threshold": s.threshold,
                        "edges": s.key in self.edges,
                        "own": run.scores[s.id][split].threshold_from == OWN,
                    }
                    for s in self.sources
                ],
                "long": content_layers.LONG_SIDE,
                "ids": self.ids(),
                "chunks": [sum(p.rows for p in self._of(k)) for k in self.chunks()],
            },
        )

    def chunk(self, number: int) -> str:
        """`data/RUN/SPLIT/NUMBER.js`: height, width, classes of each image, then how it fares by
        each source (none without a mask)."""
        run = self.run
        pieces = self._of(number)
        classes = len(run.scores[self.sources[0].id][self.split].classes)
        found = [
            image_scores(self.artifacts.store, self.artifacts, run.shards, s, pieces, classes)
            for s in self.sources
        ]
        rows = [
            [
                row["height"],
                row["width"],
                [c + 1 for c in row["labels"]],
                [f.get(id) for f in found],
            ]
            for piece in pieces
            for id, row in self.artifacts.images(run.shards, piece).items()
        ]
        return script("chunk", f"{run.name}/{self.split}/{number}", rows)

    def layers(self) -> Iterator[str]:
        """The paths of all pictures."""
        for id in self.ids():
            yield f"layers/{self.run.shards[:SHORT]}/{id}.jpg"
            yield f"layers/{self.run.shards[:SHORT]}/{id}.target.png"
            for s in self.sources:
                kinds = ["labels.png"]
                if s.threshold is not None:
                    kinds = ["map.png", f"{round(100 * s.threshold)}.seed.png", "planes.js"]
                if s.key in self.edges:
                    kinds.append("edges.png")
                yield from (f"layers/{s.key[:SHORT]}/{id}.{kind}" for kind in kinds)
            if self.regions:
                yield f"layers/{self.regions.key[:SHORT]}/{id}.regions.png"


def keys(run: RunRecord) -> dict[str, tuple[str, str]]:
    """Artifacts whose pictures belong to a run, by the short form of their key: stage and key."""
    found = [("shards", run.shards)]
    found += [("maps", key) for of in run.maps.values() for key in of.values()]
    found += [("labels", key) for of in run.labels.values() for key in of.values()]
    regions = superpixels(run)
    if regions:
        found.append(("superpixels", regions.key))
    return {key[:SHORT]: (stage, key) for stage, key in found}


def picture(artifacts: ArtifactCache, stage: str, key: str, shards: str, file: str) -> bytes | None:
    """The file `layers/KEY/FILE`; None where there is none of that name.

    Args:
        artifacts: reads the store.
        stage, key: of the artifact.
        shards: key of the data set that it is of.
        file: image id and suffix.

    Raises:
        InputError: an artifact is gone or damaged, or an image broken.
    """
    match = SUFFIX.get(stage, NOTHING).fullmatch(file)
    places = artifacts.places(shards) if match else {}
    if match is None or match["id"] not in places:
        return None
    id, kind, piece = match["id"], match["kind"], places[match["id"]]
    if stage == "shards":
        return _of_record(artifacts.images(shards, piece)[id], kind)
    if stage == "maps":
        if kind == "edges.png":
            known = artifacts.has_edges(key, piece)
            return content_layers.edges(artifacts.edges(key, piece)[id]) if known else None
        return _of_maps(artifacts.maps(key, piece)[id], kind, key[:SHORT])
    found = artifacts.labels(key, piece, stage)[id]
    return content_layers.regions(found) if stage == "superpixels" else content_layers.mask(found)


def _of_record(row: Mapping[str, Any], kind: str) -> bytes | None:
    if kind == "jpg":
        return content_layers.photograph(row["image"], row["id"], row["height"], row["width"])
    return content_layers.mask(decode_mask(row["mask"], row["id"])) if row["mask"] else None


def _of_maps(maps: ClassMaps, kind: str, short: str) -> bytes:
    if kind == "planes.js":
        return script("planes", f"{short}/{maps.id}", content_layers.planes(maps)).encode()
    if kind == "map.png":
        return content_layers.heat(maps)
    return content_layers.mask(content_layers.seed(maps, int(kind.partition(".")[0]) / 100))
