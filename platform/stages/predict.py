"""Labels that a segmenter predicts, as Ray Data actors: whole images, at their own size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ..data import planes, shards
from ..data.transforms import normalized
from ..experiment import Network
from ..models.deeplab import DeepLabV2
from ..models.fuse import fused
from ..ops.crf import CRF, refine
from ..refiner import Segmenter
from . import inference


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that an actor needs to know."""

    learner: Segmenter
    network: Network
    classes: int
    weights: str
    folder: str
    crf: CRF | None
    batch_size: int
    actors: int


class Predict:
    """An actor: keeps the segmenter, turns slices into files."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.device = inference.device(job.actors)
        network = inference.load(job.network, job.learner, job.classes, job.weights)
        assert isinstance(network, DeepLabV2)
        self.network = fused(network).to(self.device).to(memory_format=torch.channels_last)
        self.pool = ThreadPoolExecutor(4)

    def __call__(self, batch: inference.Answer) -> inference.Answer:
        piece = inference.piece_of(batch)
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        done = dict(self._predicted(rows))
        try:
            named = [(row["id"], done[k]) for k, row in enumerate(rows)]
            planes.write(planes.file_of(self.job.folder, piece), named)
        except OSError as error:
            return inference.answer(0, f"writing labels failed: {error}", error.errno or 0)
        return inference.answer(len(rows))

    @torch.inference_mode()
    def _predicted(self, rows: Sequence[dict[str, Any]]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for chosen, images in inference.groups(rows, self.pool, self.job.batch_size):
            pixels = normalized(torch.from_numpy(np.stack(images)).to(self.device))
            logits = self.network.views(pixels, self.job.learner.scales)[-1]
            size = images[0].shape[:2]
            full = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            if self.job.crf is None:
                found = full.argmax(1).to(torch.uint8).cpu().numpy()
            else:
                shares = full.softmax(1).cpu().numpy()
                found = np.stack(
                    [
                        refine(image, share, self.job.crf).argmax(0).astype(np.uint8)
                        for image, share in zip(images, shares, strict=True)
                    ]
                )
            yield from zip(chosen, found, strict=True)


def predict(
    folder: Path, job: Job, pieces: Sequence[shards.Slice], progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """The stage: predicted labels of all slices, in `folder`."""
    return {"images": inference.run(Predict, job, pieces, job.actors, progress)}
