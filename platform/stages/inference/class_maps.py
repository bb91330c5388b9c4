"""Inference of class maps by a trained network at several scales, as Ray Data actors.

Where a localizer needs them, the features behind the maps are kept too, so that later stages work
without the network. An artifact holds for each slice of the shards

    NAME.parquet   the class maps
    NAME.strided   the class maps at stride 4, where those of NAME.parquet have the image's size
    NAME.patches   the positions closest to the method's prototypes, if it keeps prototypes
    NAME.npy       the features, float16 rows `[R,D]`, one for each position (if they are kept)
    NAME.json      for each image, which rows are its features (if they are kept)

The rows of an image are first its features at scale 1 (raw, without the mirror image, for
clustering), then for each scale the sum over image and mirror image at unit length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...config.groups.network import Network
from ...data.formats import class_maps, prototype_patches, shards
from ...data.formats.class_maps import ClassMaps
from ...data.formats.features import FEATURE_ROWS, FEATURES, FeatureRows, write_rows
from ...data.formats.prototype_patches import Patch
from ...errors import InputError
from ...method import Method
from ...models.classifier import Classifier, with_kept_features
from ...ops.maps import (
    LARGE,
    grid_size,
    merge_flip,
    merge_scales,
    merge_scales_and_cut,
    normalize,
)
from ...ops.prototypes import unit
from ...storage.artifact_files import ArtifactFile
from . import actors

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Job(actors.Job):
    """Description of one inference.

    Attributes:
        trained: the method that trained the network.
        method: the method whose localizer makes the class maps.
        fused: whether the class maps pass through `fuse` of the method that trained the network.
        network: configuration of the network.
        classes: N, the number of foreground classes.
        weights: weight file of the network.
        keep_features: whether the features are written too.
    """

    trained: Method
    method: Method
    network: Network
    classes: int
    weights: ArtifactFile
    keep_features: bool
    fused: bool = False

    @property
    def about(self) -> dict[str, Any]:
        return {"scales": list(self.views.scales), "features": self.keep_features}

    @property
    def normalize(self) -> Callable[[Tensor], Tensor]:
        """The function that brings the sum over scales to 0..1."""
        return (self.trained if self.fused else self.method).normalize

    @property
    def own_background(self) -> bool:
        """Whether the first plane is a background plane, which no fusion takes."""
        return self.method.own_background and not self.fused


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """Result of one image: class maps, kept features and closest patches.

    `strided` holds the maps at stride 4, and `large` the maps at the image's size, if they are
    made. `features` holds `[D,h,w]` tensors: first the raw features at scale 1, then the features
    of each scale. They leave the list when they are written."""

    strided: ClassMaps
    large: ClassMaps | None
    features: list[Tensor]
    patches: list[Patch]


def load_network(network: Network, method: Method, classes: int, file: ArtifactFile) -> Classifier:
    """Return a trained classifier in evaluation mode, see `actors.load`."""
    classifier = actors.load(network, method, classes, file)
    assert isinstance(classifier, Classifier)
    return classifier


class Infer(actors.Actor):
    """An inference actor that computes class maps.

    Args:
        job: what to compute.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views, job.views.scales)
        network = load_network(job.network, job.trained, job.classes, job.weights)
        self.network = self.ready(network)
        self.network.backbone.halved = self.halved

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        results = in_order(self._results(rows))
        folder, name = self.job.folder, piece.name
        ordered = (
            self._write_features(name, rows, results) if self.job.keep_features else list(results)
        )
        patches = [patch for result in ordered for patch in result.patches]
        if patches:
            prototype_patches.write(folder / f"{name}{prototype_patches.SUFFIX}", patches)
        large = [result.large for result in ordered if result.large]
        strided_suffix = class_maps.STRIDED if large else class_maps.MAPS
        strided = [result.strided for result in ordered]
        class_maps.write(folder / f"{name}{strided_suffix}", strided)
        if large:
            class_maps.write(folder / f"{name}{class_maps.MAPS}", large)
        return len(rows)

    def _results(self, rows: Sequence[dict[str, Any]]) -> Iterator[tuple[int, ImageResult]]:
        """Yield for each image its number in `rows` and its result."""
        for numbers, images in self.groups(rows):
            yield from zip(numbers, self._maps([rows[k] for k in numbers], images), strict=True)

    @torch.inference_mode()
    def _maps(self, rows: Sequence[dict[str, Any]], images: Sequence[Any]) -> Iterator[ImageResult]:
        """Yield the results of images of one shape, in their order."""
        height, width = images[0].shape[:2]
        labels = torch.stack(
            [torch.from_numpy(shards.multi_hot(r["labels"], self.job.classes)) for r in rows]
        ).to(self.device)
        planes: list[Tensor] = []
        features: list[list[Tensor]] = []
        for scale in self.job.views.scales:
            outputs: list[tuple[Tensor, tuple[Tensor, Tensor]]] = []
            start = 0
            for pixels in self.scaled(images, scale):
                outputs.append(self._scale(pixels, labels[start : start + len(pixels)]))
                start += len(pixels)
            planes.append(torch.cat([maps for maps, _ in outputs]))
            kept_features = [f for _, f in outputs]
            if self.job.keep_features:
                if not features:
                    features.append([f for _, raw in kept_features for f in raw])
                features.append([f for whole, _ in kept_features for f in whole])
        patches = self._patches([r["id"] for r in rows], labels, images)
        maps = merged(planes, grid_size(height, width), self.job.normalize)
        background = [0] if self.job.own_background else []
        for k, row in enumerate(rows):
            classes = [*background, *(int(n) + 1 for n in row["labels"])]
            chosen = [c + len(background) - 1 for c in classes]
            strided = ClassMaps(
                id=row["id"],
                classes=tuple(classes),
                planes=maps[k, chosen].half().numpy(),
                height=row["height"],
                width=row["width"],
            )
            yield ImageResult(
                strided=strided,
                large=self._large(strided, [p[k : k + 1, chosen] for p in planes]),
                features=[of_scale[k] for of_scale in features],
                patches=patches[k],
            )

    def _large(self, strided: ClassMaps, planes: Sequence[Tensor]) -> ClassMaps | None:
        """Return the maps of an image at its size, from its planes `[1,n,h,w]` of each scale."""
        if self.job.views.enlarging != "irn":
            return None
        return at_image_size(strided, planes, self.job.normalize)

    def _patches(
        self, ids: Sequence[str], labels: Tensor, images: Sequence[Any]
    ) -> list[list[Patch]]:
        """Return for each image of one shape its patches closest to the prototypes, at scale 1."""
        if not self.job.method.keeps_prototypes:
            return [[] for _ in ids]
        view = torch.cat(list(self.scaled(images, 1.0)))
        compared = self.job.method.features_and_prototypes(self.network, view)
        if compared is None:
            return [[] for _ in ids]
        return prototype_patches.closest_patches_by_image(ids, labels, *compared)

    def _scale(self, images: Tensor, labels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return class maps and features of images at one scale.

        Args:
            images: `[B,3,H,W]`, normalised.
            labels: `[B,N]`.

        Returns:
            The maps `[B,N,h,w]`, and a pair of features `[B,D,h,w]` in the computer's memory: fused
            with the features of the mirror image, at unit length, and raw without the mirror image.
            Features that are not kept are empty.
        """
        if not self.job.keep_features:
            empty = images.new_empty(0)
            return self._localized(images, labels), (empty, empty)
        views = torch.cat([images, images.flip(-1)])
        memo = with_kept_features(self.network, views)
        maps = self.job.method.localize(memo, images, labels)
        original, mirrored = memo.features(views)["c4"].chunk(2)
        fused = unit(merge_flip(original, mirrored), dim=1)
        # A GPU may not have memory for the features of a whole slice.
        return maps, (fused.half().cpu(), original.half().cpu())

    def _localized(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the class maps `[B,N,h,w]` of images at one scale."""
        maps = self.job.method.localize(self.network, images, labels)
        if not self.job.fused:
            return maps
        views, maps = torch.cat([images, images.flip(-1)]), maps[:, -labels.shape[1] :]
        both = torch.cat([maps, maps.flip(-1)])
        return merge_flip(*self.job.trained.fuse(self.network, views, both).chunk(2))

    def _write_features(
        self, name: str, rows: Sequence[dict[str, Any]], results: Iterable[ImageResult]
    ) -> list[ImageResult]:
        """Write the features of one slice, image by image, and the index of their rows.

        Args:
            name: name of the files without suffix.
            rows: rows of the shard.
            results: results of the images, which are computed while their features are written.

        Returns:
            The results without their features.
        """
        index: list[FeatureRows] = []
        done: list[ImageResult] = []

        def blocks() -> Iterator[NDArray[np.float16]]:
            offset = 0
            for row, result in zip(rows, results, strict=True):
                index.append(feature_rows(row, offset, result.features[1:]))
                while result.features:
                    flat = result.features.pop(0).flatten(1).T.contiguous().numpy()
                    offset += len(flat)
                    yield flat
                done.append(result)

        write_rows(self.job.folder / f"{name}{FEATURES}", blocks())
        text = json.dumps([asdict(p) for p in index])
        (self.job.folder / f"{name}{FEATURE_ROWS}").write_bytes(text.encode())
        return done


def feature_rows(row: dict[str, Any], offset: int, scales: Sequence[Tensor]) -> FeatureRows:
    """Return the index entry of an image.

    Args:
        row: row of the shard.
        offset: number of the image's first row.
        scales: features `[D,h,w]` of each scale.
    """
    return FeatureRows(
        id=row["id"],
        labels=tuple(int(n) for n in row["labels"]),
        height=row["height"],
        width=row["width"],
        offset=offset,
        grids=tuple((int(values.shape[1]), int(values.shape[2])) for values in scales),
    )


def in_order(numbered: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Yield values in the order of their numbers, which count from 0.

    A value waits only until all values with lower numbers have come.
    """
    waiting: dict[int, T] = {}
    following = 0
    for number, value in numbered:
        waiting[number] = value
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def merged(
    planes: Sequence[Tensor],
    grid: tuple[int, int],
    normalized: Callable[[Tensor], Tensor] = normalize,
) -> Tensor:
    """Return the class maps `[B,N,h,w]` that the maps `[B,N,h,w]` of each scale give on a grid.

    The classes of a huge image are merged one at a time.

    Args:
        planes: maps of each scale.
        grid: h and w.
        normalized: brings each map of the sum over scales to 0..1.
    """
    whole = len(planes) * planes[0][:, :, 0, 0].numel() * math.prod(grid) <= LARGE
    classes = [slice(None)] if whole else [slice(n, n + 1) for n in range(planes[0].shape[1])]
    return torch.cat(
        [
            normalized(merge_scales([p[:, chosen] for p in planes], grid)).cpu()
            for chosen in classes
        ],
        1,
    )


def at_image_size(
    strided: ClassMaps,
    planes: Sequence[Tensor],
    normalized: Callable[[Tensor], Tensor] = normalize,
) -> ClassMaps:
    """Return the class maps of an image at its size, as IRN's code makes them.

    Args:
        strided: its class maps at stride 4.
        planes: maps `[1,n,h,w]` of each scale, of the same classes.
        normalized: brings each map of the sum over scales to 0..1.
    """
    size = (strided.height, strided.width)
    out = np.zeros((len(strided.classes), *size), np.float16)
    for n in range(len(out)):  # one at a time, because a huge image takes much memory
        large = merge_scales_and_cut([p[:, n : n + 1] for p in planes], size)
        out[n] = normalized(large)[0, 0].half().cpu().numpy()
    return replace(strided, planes=out)


def check_space(
    pieces: Sequence[shards.Slice], scales: Sequence[float], pixel: float, free: int
) -> None:
    """Check that the features of a job fit the store's disk.

    Args:
        pieces: slices of the shards.
        scales: scales of the views.
        pixel: bytes of the features of one pixel, a share of those of a position.
        free: free bytes of the disk.

    Raises:
        InputError: the features need more than the free bytes.
    """
    area = 0
    for piece in pieces:
        area += sum(r["height"] * r["width"] for r in shards.read(piece, ("height", "width")))
    need = int(area * (1 + sum(s * s for s in scales)) * pixel * 1.1)
    if need > free:
        raise InputError(
            f"the features take about {need / 1e9:.1f} GB but the store's disk has only "
            f"{free / 1e9:.1f} GB free; choose fewer or smaller views.scales or move the store"
        )
