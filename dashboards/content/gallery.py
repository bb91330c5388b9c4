"""Data and pictures of a run's images, as the files that pages load in the browser.

The data are scripts that call `wsss.add(KIND, NAME, VALUE)`, because a page that was opened from
disk may load scripts and pictures but no other file.

    data/RUN/run.js              scores by class on all splits
    data/RUN/SPLIT/index.js      image ids of a split, its class maps and labels
    data/RUN/SPLIT/sizes.js      figure of the mIoU by size of object
    data/RUN/example.js          the example image of the run
    data/RUN/SPLIT/NUMBER.js     size, classes and scores of the images in a chunk of slices
    layers/KEY/ID.SUFFIX         pictures by key of their artifact, which runs share
    examples/KEY.jpg             example image of a run with its layers side by side
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping

import numpy as np

from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.formats.parquet import Row
from ...platform.data.formats.shards import Slice
from ...platform.data.images import decode_mask
from ...platform.errors import InputError
from ...platform.metrics import OWN_BACKGROUND
from ...platform.records.result_id import ResultId
from ...platform.records.schema import (
    FROM_FIXED_VALUE,
    FROM_OWN_BACKGROUND,
    RunRecord,
    StageRecord,
)
from ...platform.serialization import digest
from ..labels import count_text, result_title, score_scope
from . import layers
from .artifact_cache import ArtifactCache
from .image_scores import Rows, Source, image_scores
from .scoring import ERRORS, ImageScore

SLICES_PER_CHUNK = 8
"""Number of slices whose images are scored, and loaded by the browser, together."""
SHORT_KEY_LENGTH = 16
"""Number of characters of a key that stand for it in a path."""
SUFFIX = {
    "shards": re.compile(r"(?P<id>.+)\.(?P<kind>jpg|target\.png)"),
    "maps": re.compile(
        r"(?P<id>.+?)\.(?P<kind>map\.png|edges\.png|planes\.js|[0-9]{1,2}\.seed\.png)"
    ),
    "labels": re.compile(r"(?P<id>.+)\.(?P<kind>labels\.png)"),
    "superpixels": re.compile(r"(?P<id>.+)\.(?P<kind>regions\.png)"),
    "segments": re.compile(r"(?P<id>.+)\.(?P<kind>regions\.png)"),
}
NOTHING = re.compile(r"(?!)")


def script(kind: str, name: str, value: object) -> str:
    """Return a script that hands `value` to the page."""
    texts = [json.dumps(v, separators=(",", ":"), allow_nan=False) for v in (kind, name, value)]
    return f"wsss.add({','.join(texts)});\n".replace("\u2028", " ").replace("\u2029", " ")


def scored_splits(run: RunRecord) -> list[str]:
    """Return the splits on which a run has scores, splits that nothing was tuned on first.

    A threshold is chosen on the first of the splits that the experiment lists.
    """
    names = [*dict.fromkeys(name for by_split in run.scores.values() for name in by_split)][::-1]
    scoring = run.experiment.get("scoring")
    listed = scoring.get("splits") if isinstance(scoring, dict) else None
    known = [*listed][::-1] if isinstance(listed, list | tuple) else []
    tuned = sorted((name for name in names if name in known), key=known.index)
    return [*(name for name in names if name not in tuned), *tuned]


def splits_with_pictures(run: RunRecord) -> list[str]:
    """Return the splits that have class maps or labels to show: scored ones, then unscored ones."""
    splits = [*scored_splits(run), *run.unscored]
    return [split for split in splits if sources(run, split)]


def splits_with_images(run: RunRecord, artifacts: ArtifactCache) -> list[str]:
    """Return the `splits_with_pictures`; none where the data set of the run was deleted."""
    splits = splits_with_pictures(run)
    return splits if splits and artifacts.holds("shards", run.shards) else []


def results_by_stage(run: RunRecord) -> list[ResultId]:
    """Return the results that a run has scores of, in the order of the pipeline.

    Results of the baseline come first; then seeds from CAM, other seeds, labels, segmenters.
    """

    def position(id: ResultId) -> tuple[bool, bool, bool, bool, str]:
        is_cam = id.localizer == "cam" and not id.refinement
        labels = id in run.labels and id not in run.maps
        return not id.baseline, labels, bool(id.segmenter), not is_cam, str(id)

    return sorted(run.scores, key=position)


def sources(run: RunRecord, split: str) -> list[Source]:
    """Return the class maps and labels of a split, in pipeline order.

    Of a split with masks they are those with scores. Labels that are class maps cut at their
    threshold are left out.
    """

    def shows(id: ResultId, key_of: Mapping[str, str]) -> bool:
        return split in key_of and (split in run.unscored or split in run.scores.get(id, {}))

    maps = [
        Source(id=id, key=key_of[split], threshold=threshold_of(run, id)[0])
        for id, key_of in run.maps.items()
        if shows(id, key_of)
    ]
    labels = [
        Source(id=id, key=key_of[split], threshold=None)
        for id, key_of in run.labels.items()
        if shows(id, key_of) and id not in run.maps
    ]
    order = results_by_stage(run)
    return sorted([*maps, *labels], key=lambda s: order.index(s.id))


def threshold_of(run: RunRecord, id: ResultId) -> tuple[float, str]:
    """Return the threshold of class maps, and what it comes from, as `Score.threshold_from`."""
    for score in run.scores.get(id, {}).values():
        return score.threshold, score.threshold_from
    fixed = run.thresholds.get(id)
    return (OWN_BACKGROUND, FROM_OWN_BACKGROUND) if fixed is None else (fixed, FROM_FIXED_VALUE)


def origin_text(threshold: float, source: str) -> str:
    """Return what a threshold comes from, in words.

    Args:
        threshold, source: result of `threshold_of`.
    """
    if source == FROM_OWN_BACKGROUND:
        return "from the background map"
    return f"{'fixed' if source == FROM_FIXED_VALUE else f'chosen on {source}'}: {threshold:g}"


def region_stages(run: RunRecord) -> list[StageRecord]:
    """Return the stages of the segments and superpixels of a run, segments first."""
    return [s for kind in ("segments", "superpixels") for s in run.stages if s.stage == kind]


def run_data(run: RunRecord) -> str:
    """Return the file `data/RUN/run.js`: scores by class, for the page that compares runs."""
    value = {
        "name": run.name,
        "shards": run.shards,
        "splits": scored_splits(run),
        "scores": [
            {
                "name": str(id),
                "title": result_title(id),
                "split": split,
                "scope": score_scope(score, run.name),
                "data": data_key(run, split),
                "value": _rounded(score.value),
                "classes": [score.classes[c] for c in score.scored],
                "iou": [_rounded(score.iou[c]) for c in score.scored],
            }
            for id in results_by_stage(run)
            for split, score in run.scores[id].items()
        ],
    }
    return script("run", run.name, value)


def data_key(run: RunRecord, split: str) -> str:
    """Return a text that two runs share if they were scored on the same images and masks."""
    digests = run.digests.get(split)
    return digest(digests or [run.shards or run.dataset, split])[:SHORT_KEY_LENGTH]


def _rounded(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None


class Gallery:
    """Images of one split of a run.

    Args:
        artifacts: reads the store.
        run: the run.
        split: one of `splits_with_pictures(run)`.
        limit: number of images, rounded up to whole slices; 0: all images. The images of a split
            were shuffled into slices, so that a few slices are a fair sample.
    """

    def __init__(
        self, artifacts: ArtifactCache, run: RunRecord, split: str, limit: int = 0
    ) -> None:
        self.artifacts, self.run, self.split = artifacts, run, split
        self.sources = sources(run, split)
        self.scored = split not in run.unscored
        self.classes = ["background", *artifacts.open("shards", run.shards).about["classes"]]
        pieces = artifacts.pieces(run.shards, split)
        sizes = np.cumsum([p.rows for p in pieces])
        rows = int(sum(sizes[-1:]))
        self.total = run.scores[self.sources[0].id][split].n if self.scored else rows
        count = int(np.searchsorted(sizes, limit) + 1) if 0 < limit < rows else 0
        chosen = np.linspace(0, len(pieces) - 1, count).astype(int) if count else range(len(pieces))
        self.pieces: list[Slice] = [pieces[k] for k in chosen]
        name = f"{self.pieces[0].name}.parquet"
        stages = region_stages(run)
        self.regions = next((s for s in stages if _has_file(artifacts, s, name)), None)
        """The stage whose segments or superpixels are shown; None where the store holds none."""
        maps = [s.key for s in self.sources if s.threshold is not None]
        self.edges = {key for key in maps if artifacts.has_edges(key, self.pieces[0])}
        """Keys of class maps that have the boundaries stored which stopped their random walk."""

    def chunks(self) -> range:
        """Return the numbers of the chunks."""
        return range(-(-len(self.pieces) // SLICES_PER_CHUNK))

    def _slices(self, number: int) -> list[Slice]:
        return self.pieces[number * SLICES_PER_CHUNK : (number + 1) * SLICES_PER_CHUNK]

    def ids(self) -> list[str]:
        """Return the image ids, chunk by chunk."""
        members = self.artifacts.members(self.run.shards)
        return [id for piece in self.pieces for id in members[piece]]

    def index(self) -> str:
        """Return the file `data/RUN/SPLIT/index.js`: image ids, classes, colours, sources."""
        run, split = self.run, self.split
        palette = layers.colours()[: len(self.classes)]
        return script(
            "index",
            f"{run.name}/{split}",
            {
                "run": run.name,
                "split": split,
                "scored": self.scored,
                "scope": self._scope(),
                "data": data_key(run, split),
                "total": self.total,
                "shards": run.shards[:SHORT_KEY_LENGTH],
                "regions": self.regions.key[:SHORT_KEY_LENGTH] if self.regions else "",
                "regionsTitle": self.regions.stage if self.regions else "",
                "classes": self.classes,
                "colours": ["#{:02x}{:02x}{:02x}".format(*c) for c in palette],
                "heat": [v for row in layers.heat_table() for v in row],
                "errors": list(ERRORS),
                "sources": [
                    {
                        "name": str(s.id),
                        "title": result_title(s.id),
                        "key": s.key[:SHORT_KEY_LENGTH],
                        "threshold": s.threshold,
                        "edges": s.key in self.edges,
                        "origin": origin_text(*threshold_of(run, s.id)),
                    }
                    for s in self.sources
                ],
                "long": layers.LONG_SIDE,
                "ids": self.ids(),
                "chunks": [sum(p.rows for p in self._slices(k)) for k in self.chunks()],
            },
        )

    def _scope(self) -> str:
        """Return the line that says what the images were scored on, or that they were not."""
        if self.scored:
            return score_scope(self.run.scores[self.sources[0].id][self.split], self.run.name)
        return f"{self.split} · {count_text(self.total, 'image')} · not scored · {self.run.name}"

    def chunk(self, number: int) -> str:
        """Return the file `data/RUN/SPLIT/NUMBER.js`: a row for each image of a chunk.

        A row holds height, width, mask values of the classes, and for each source the figures of
        the image's `ImageScore`, or null where the image has no mask.
        """
        scores = [self.scores(source, number) for source in self.sources]
        rows = [
            [
                row["height"],
                row["width"],
                [c + 1 for c in row["labels"]],
                [by_id[id].figures if id in by_id else None for by_id in scores],
            ]
            for piece in self._slices(number)
            for id, row in self.artifacts.images(self.run.shards, piece).items()
        ]
        return script("chunk", f"{self.run.name}/{self.split}/{number}", rows)

    def scores(self, source: Source, number: int) -> Rows:
        """Return the scores of a source by image id, for the images of a chunk that have masks."""
        if not self.scored:
            return {}
        artifacts, shards = self.artifacts, self.run.shards
        return image_scores(
            artifacts.store, artifacts, shards, source, self._slices(number), len(self.classes)
        )

    def all_scores(self, source: Source) -> list[ImageScore]:
        """Return the scores of a source for all images that have masks."""
        chunks = [self.scores(source, number) for number in self.chunks()]
        return [score for by_id in chunks for score in by_id.values()]

    def layers(self) -> Iterator[str]:
        """Yield the paths of all pictures."""
        for id in self.ids():
            yield f"layers/{self.run.shards[:SHORT_KEY_LENGTH]}/{id}.jpg"
            if self.scored:
                yield f"layers/{self.run.shards[:SHORT_KEY_LENGTH]}/{id}.target.png"
            for s in self.sources:
                kinds = ["labels.png"]
                if s.threshold is not None:
                    kinds = ["map.png", f"{round(100 * s.threshold)}.seed.png", "planes.js"]
                if s.key in self.edges:
                    kinds.append("edges.png")
                yield from (f"layers/{s.key[:SHORT_KEY_LENGTH]}/{id}.{kind}" for kind in kinds)
            if self.regions:
                yield f"layers/{self.regions.key[:SHORT_KEY_LENGTH]}/{id}.regions.png"


def _has_file(artifacts: ArtifactCache, stage: StageRecord, name: str) -> bool:
    """Return whether the artifact of a stage can be read and has a file."""
    try:
        return artifacts.open(stage.stage, stage.key).has(name)
    except InputError:
        return False


def artifacts_by_short_key(run: RunRecord) -> dict[str, tuple[str, str]]:
    """Return (stage, key) of the artifacts that a run has pictures of, by their short key."""
    artifacts = [("shards", run.shards)]
    artifacts += [("maps", key) for key_of in run.maps.values() for key in key_of.values()]
    artifacts += [("labels", key) for key_of in run.labels.values() for key in key_of.values()]
    artifacts += [(stage.stage, stage.key) for stage in region_stages(run)]
    return {key[:SHORT_KEY_LENGTH]: (stage, key) for stage, key in artifacts}


def picture(artifacts: ArtifactCache, stage: str, key: str, shards: str, file: str) -> bytes | None:
    """Return the file `layers/KEY/FILE`; None for an unknown image or suffix.

    Args:
        artifacts: reads the store.
        stage, key: stage and key of the artifact.
        shards: key of the data set that the artifact belongs to.
        file: image id and suffix.

    Raises:
        InputError: an artifact is missing or damaged, or an image cannot be read.
    """
    match = SUFFIX.get(stage, NOTHING).fullmatch(file)
    slice_by_id = artifacts.slice_by_id(shards) if match else {}
    if match is None or match["id"] not in slice_by_id:
        return None
    id, kind, piece = match["id"], match["kind"], slice_by_id[match["id"]]
    if stage == "shards":
        return _picture_of_record(artifacts.images(shards, piece)[id], kind)
    if stage == "maps":
        if kind == "edges.png":
            has_edges = artifacts.has_edges(key, piece)
            return layers.edges(artifacts.edges(key, piece)[id]) if has_edges else None
        return _picture_of_maps(artifacts.maps(key, piece)[id], kind, key[:SHORT_KEY_LENGTH])
    if stage == "segments":
        return layers.outlines(artifacts.segments(key, piece)[id])
    values = artifacts.labels(key, piece, stage)[id]
    return layers.regions(values) if stage == "superpixels" else layers.mask(values)


def _picture_of_record(row: Row, kind: str) -> bytes | None:
    if kind == "jpg":
        return layers.photograph(row["image"], row["id"], row["height"], row["width"])
    return layers.mask(decode_mask(row["mask"], row["id"])) if row["mask"] else None


def _picture_of_maps(maps: ClassMaps, kind: str, short: str) -> bytes:
    if kind == "planes.js":
        return script("planes", f"{short}/{maps.id}", layers.planes(maps)).encode()
    if kind == "map.png":
        return layers.heat(maps)
    return layers.mask(layers.seed(maps, int(kind.partition(".")[0]) / 100))
