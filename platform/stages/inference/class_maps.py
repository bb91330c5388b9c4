"""Inference: class maps of a trained network at several scales, as Ray Data actors.

Where a localizer needs them, the features that the maps came from are kept too, so that later
stages work without the network. An artifact holds, for each slice of the shards,

    NAME.parquet   the class maps
    NAME.patches   where prototypes are closest (of methods that keep some)
    NAME.npy       float16 rows `[R,D]`, position by position (with features)
    NAME.json      where each image's rows lie (with features)

Of each image there are first the features at scale 1 (one view, raw, for clustering), then for
each scale the sum over image and mirror image, at unit length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...config.experiment import Network, Views
from ...data.formats import class_maps, prototype_patches, shards
from ...data.formats.class_maps import ClassMaps
from ...data.formats.features import FEATURE_ROWS, FEATURES, FeatureRows
from ...data.formats.prototype_patches import Patch
from ...data.transforms import normalized
from ...errors import InputError
from ...method import Method
from ...models.classifier import Classifier, Memo
from ...ops.maps import grid_size, merge_flip, merge_scales, normalize
from ...ops.prototypes import unit
from ...storage.artifact_files import write_atomic
from . import actors


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that an inference actor needs to know: `method` reads what `trained` trained."""

    trained: Method
    method: Method
    network: Network
    classes: int
    weights: str
    views: Views
    folder: str
    keep_features: bool


@dataclass(frozen=True, kw_only=True)
class Found:
    """What inference finds of one image; `features` see `Infer._write_features`."""

    maps: ClassMaps
    features: list[Tensor]
    patches: list[Patch]


def load_network(network: Network, method: Method, classes: int, path: Path | str) -> Classifier:
    """A trained network from a network artifact, for inference."""
    loaded = actors.load(network, method, classes, path)
    assert isinstance(loaded, Classifier)
    return loaded


class Infer(actors.Actor):
    """An inference actor: keeps the network, turns slices into files."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views)
        network = load_network(job.network, job.trained, job.classes, job.weights)
        self.network = self.ready(network)
        self.network.backbone.halved = self.halved

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        done: dict[int, Found] = {}
        for chosen, images in self.groups(rows):
            done.update(zip(chosen, self._maps([rows[k] for k in chosen], images), strict=True))
        folder, name = Path(self.job.folder), piece.name
        found = [done[k] for k in range(len(rows))]
        if self.job.keep_features:
            self._write_features(folder / name, rows, [f.features for f in found])
        closest = [patch for f in found for patch in f.patches]
        if closest:
            prototype_patches.write(folder / f"{name}{prototype_patches.SUFFIX}", closest)
        class_maps.write(folder / f"{name}.parquet", [f.maps for f in found])
        return len(rows)

    @torch.inference_mode()
    def _maps(self, rows: Sequence[dict[str, Any]], images: Sequence[Any]) -> Iterator[Found]:
        """What is found of images of one shape."""
        height, width = images[0].shape[:2]
        labels = torch.stack(
            [torch.from_numpy(shards.multi_hot(r["labels"], self.job.classes)) for r in rows]
        )
        planes: list[Tensor] = []
        features: list[list[Tensor]] = []
        for scale in self.job.views.scales:
            parts: list[tuple[Tensor, tuple[Tensor, Tensor]]] = []
            looked_at = 0
            for part in self.scaled(images, scale):
                parts.append(self._scale(part, labels[looked_at : looked_at + len(part)]))
                looked_at += len(part)
            planes.append(torch.cat([p for p, _ in parts]))
            kept = [f for _, f in parts]
            if self.job.keep_features:
                if not features:
                    features.append([f for _, raw in kept for f in raw])
                features.append([f for whole, _ in kept for f in whole])
        closest = self._patches([r["id"] for r in rows], labels, images)
        maps = normalize(merge_scales(planes, grid_size(height, width))).cpu()
        own = [0] if self.job.method.own_background else []
        for k, row in enumerate(rows):
            classes = [*own, *(int(n) + 1 for n in row["labels"])]
            yield Found(
                maps=ClassMaps(
                    id=row["id"],
                    classes=tuple(classes),
                    planes=maps[k, [c + len(own) - 1 for c in classes]].half().numpy(),
                    height=row["height"],
                    width=row["width"],
                ),
                features=[of_scale[k] for of_scale in features],
                patches=closest[k],
            )

    def _patches(
        self, ids: Sequence[str], labels: Tensor, images: Sequence[Any]
    ) -> list[list[Patch]]:
        """Where the method's prototypes are closest in images of one shape, at scale 1."""
        if not self.job.method.keeps_prototypes:
            return [[] for _ in ids]
        tensor = torch.from_numpy(np.stack(list(images))).to(self.device)
        found = self.job.method.compared(self.network, normalized(tensor))
        if found is None:
            return [[] for _ in ids]
        return prototype_patches.closest_in(ids, labels, *found)

    def _scale(self, images: Tensor, labels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Maps at one scale; with features kept: fused unit ones and raw ones of one view."""
        if not self.job.keep_features:
            empty = images.new_empty(0)
            return self.job.method.localize(self.network, images, labels), (empty, empty)
        views = torch.cat([images, images.flip(-1)])
        memo = Memo(self.network, views)
        maps = self.job.method.localize(memo, images, labels)
        one, mirrored = memo.features(views)["c4"].chunk(2)
        return maps, (unit(merge_flip(one, mirrored), dim=1).half(), one.half())

    def _write_features(
        self, base: Path, rows: Sequence[dict[str, Any]], features: Sequence[list[Tensor]]
    ) -> None:
        """`features[image][0]` is raw at scale 1, then one entry a scale, each `[D,h,w]`."""
        places, offset, out = [], 0, []
        for row, of_image in zip(rows, features, strict=True):
            grids = tuple((int(f.shape[1]), int(f.shape[2])) for f in of_image[1:])
            places.append(
                FeatureRows(
                    id=row["id"],
                    labels=tuple(int(n) for n in row["labels"]),
                    height=row["height"],
                    width=row["width"],
                    offset=offset,
                    grids=grids,
                )
            )
            for f in of_image:
                flat = f.flatten(1).T.contiguous().cpu().numpy()
                offset += len(flat)
                out.append(flat)
        write_atomic(
            base.with_name(base.name + FEATURES), lambda s: np.save(s, np.concatenate(out))
        )
        text = json.dumps([asdict(p) for p in places]).encode()
        write_atomic(base.with_name(base.name + FEATURE_ROWS), lambda s: s.write(text))


def check_space(
    pieces: Sequence[shards.Slice], scales: Sequence[float], row: int, free: int
) -> None:
    """Refuses a job whose features do not fit the disk.

    Args:
        pieces: the images.
        scales: of the views.
        row: bytes of one position.
        free: bytes of the disk.
    """
    area = 0
    for piece in pieces:
        area += sum(r["height"] * r["width"] for r in shards.read(piece, ("height", "width")))
    need = int(area / 256 * (1 + sum(s * s for s in scales)) * row * 1.1)
    if need > free:
        raise InputError(
            f"the features take about {need / 1e9:.1f} GB, the store's disk has "
            f"{free / 1e9:.1f} GB free; lower views.scales or move the store"
        )


def infer(
    folder: Path,
    job: Job,
    pieces: Sequence[shards.Slice],
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Runs inference over slices as a Ray Data actor pool; files appear in `folder`.

    Args:
        folder: empty.
        job: what to compute.
        pieces: the images.
        progress: called with (images done, images in all).
    """
    total = actors.run(Infer, job, pieces, job.views.actors, progress)
    return {"images": total, "scales": list(job.views.scales), "features": job.keep_features}
