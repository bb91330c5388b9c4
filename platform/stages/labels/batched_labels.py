"""Pseudo labels from class maps by DenseCRF in torch, by actors that take GPUs where there are any.

Between the class maps of an image and its labels nothing leaves the actor's device.
Shapes: B images, S levels, L labels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...labels import VOID
from ...ops.crf import BatchRefiner, crf_bytes, hard_probabilities
from ...ops.maps import background_at
from ...records.reduced_images import TOO_LARGE
from ...storage.artifact_files import ArtifactFile
from ..inference import actors
from .pseudo_labels import Cut, Labels, enlarged, labels_of, over_limit, present_maps


@dataclass(frozen=True, kw_only=True)
class Job(actors.Job):
    """Description of the labels of a split.

    Attributes:
        cut: the rule; it has a DenseCRF.
        maps: files of class maps, by the names of the slices.
    """

    cut: Cut
    maps: Mapping[str, ArtifactFile]

    @property
    def about(self) -> dict[str, Any]:
        """The facts that `pseudo_labels.make` returns, before any image is named."""
        return {"levels": list(self.cut.levels), "unrefined": [], TOO_LARGE: []}


class Label(actors.Actor):
    """An actor that labels the images of a slice, several of one size at a time on a GPU.

    Args:
        job: what to compute.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views, (1.0,))

    def work(self, piece: shards.Slice) -> int:
        cut = self.job.cut
        rows = shards.read(piece, ("id", "image"))
        stored = class_maps.read_in_order(self.job.maps[piece.name], [row["id"] for row in rows])
        maps = [present_maps(image_maps, cut.least) for image_maps in stored]
        labels = dict(self._labels(rows, maps))
        file = label_maps.file_of_slice(self.job.folder, piece)
        label_maps.write(file, [(row["id"], labels[k]) for k, row in enumerate(rows)])
        self.note(TOO_LARGE, [image_maps.id for image_maps in maps if over_limit(image_maps, cut)])
        return len(rows)

    @torch.inference_mode()
    def _labels(
        self, rows: Sequence[dict[str, Any]], maps: Sequence[ClassMaps]
    ) -> Iterator[tuple[int, Labels]]:
        """Yield for each image its number in `rows` and its labels."""
        cut = self.job.cut
        for numbers, images in self.groups(rows):
            image_by_number = dict(zip(numbers, images, strict=True))
            large = [k for k in numbers if over_limit(maps[k], cut)]
            yield from ((k, labels_of(image_by_number[k], maps[k], cut)) for k in large)
            for part in batches([k for k in numbers if k not in large], maps, cut):
                pixels = torch.from_numpy(np.stack([image_by_number[k] for k in part]))
                batch = labels_of_batch(pixels.to(self.device), [maps[k] for k in part], cut)
                yield from zip(part, batch.cpu().numpy(), strict=True)


def batches(numbers: Sequence[int], maps: Sequence[ClassMaps], cut: Cut) -> Iterator[list[int]]:
    """Yield numbers of images of one size, as many at a time as fit `Cut.most_bytes`."""
    batch: list[int] = []
    for number in numbers:
        larger = [*batch, number]
        pixels = len(larger) * maps[number].height * maps[number].width
        labels = max(len({0, *maps[k].classes}) for k in larger)
        if batch and crf_bytes(pixels, labels) > cut.most_bytes:
            yield batch
            larger = [number]
        batch = larger
    if batch:
        yield batch


def labels_of_batch(images: Tensor, maps: Sequence[ClassMaps], cut: Cut) -> Tensor:
    """Return the labels of images of one size, uint8 mask values `[B,H,W]`, 255 where unknown.

    Args:
        images: RGB `[B,H,W,3]`, uint8; their device computes.
        maps: class maps of each image.
        cut: the rule; it has a DenseCRF.
    """
    assert cut.crf is not None
    scores = [_scores(image_maps, cut, images.device) for image_maps in maps]
    counts = torch.tensor([image_scores.shape[1] for image_scores in scores])
    present = (torch.arange(int(counts.max())) < counts[:, None]).to(images.device)
    start = torch.nn.utils.rnn.pad_sequence(
        [image_scores.transpose(0, 1) for image_scores in scores], True, -1.0
    ).transpose(1, 2)
    del scores
    if cut.crf.certainty:
        start = hard_probabilities(start.argmax(2), present, cut.crf.certainty)
    best = BatchRefiner(images, cut.crf).refine(start, present).argmax(2)
    values = torch.zeros(present.shape, dtype=torch.uint8)
    for number, image_maps in enumerate(maps):
        foreground = [value for value in image_maps.classes if value > 0]
        values[number, 1 : len(foreground) + 1] = torch.tensor(foreground, dtype=torch.uint8)
    labels = values.to(best.device).gather(1, best.flatten(1)).view(best.shape)
    if len(cut.levels) == 1:
        return labels[:, 0]
    certain, wide = labels.unbind(1)
    return torch.where(certain > 0, certain, torch.where(wide == 0, 0, VOID).to(certain))


def _scores(maps: ClassMaps, cut: Cut, device: torch.device) -> Tensor:
    """Return scores at the image's size, float32 `[S,L,H,W]`: the background, then each class.

    They are those of `pseudo_labels.scores_at_level`, for all levels and on a device.
    """
    has_background = int(bool(maps.classes) and maps.classes[0] == 0)
    shape = (1 + len(maps.classes) - has_background, maps.height, maps.width)
    out = torch.empty((len(cut.levels), *shape), device=device)
    out[:, 0] = torch.tensor(cut.levels, device=device)[:, None, None]
    if maps.classes:
        planes = torch.from_numpy(maps.planes).to(device).float()[None]
        resized = enlarged(planes, (maps.height, maps.width), cut)[0].pow_(cut.power)
        out[:, 1:] = resized[has_background:]
        if has_background:
            out[:, 0] *= resized[0]
        elif cut.soft:
            for number, level in enumerate(cut.levels):
                out[number, 0] = background_at(resized, level)
    if cut.probabilities:
        out /= out.sum(1, keepdim=True)
    return out
