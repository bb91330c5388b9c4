"""Benchmark of the backends of DenseCRF: agreement of their labels, and time; see bench.py.

It takes photographs of ../shared/data where they are, and generated pictures elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from measure import say
from numpy.typing import NDArray
from pictures import photograph
from PIL import Image
from torch.nn import functional as F
from wsss.platform.ops.crf import CRF, CRFS, BatchRefiner, Refiner, label_probabilities

PHOTOGRAPHS = Path(__file__).parents[4] / "shared/data/voc12_mixed/JPEGImages"
IMAGES, SIDE = {3: 20, 21: 2, 81: 1}, 32
"""Images for each number of labels, and pixels over which scores change."""


@dataclass
class Comparison:
    """Shares of pixels with one best label, and differences of probabilities, of images."""

    agreement: list[float] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"pydensecrf": 0.0, "torch": 0.0})

    def add(self, image: NDArray[np.uint8], scores: NDArray[np.float32], crf: CRF) -> None:
        """Refine the scores `[L,H,W]` of an image with both backends."""
        began = time.process_time()
        expected = Refiner(image, crf).refine(scores)
        between = time.process_time()
        images, starts = torch.from_numpy(image)[None], torch.from_numpy(scores)[None, None]
        refined = BatchRefiner(images, crf).refine(starts)[0, 0].numpy()
        self.seconds["torch"] += time.process_time() - between
        self.seconds["pydensecrf"] += between - began
        self.agreement.append(float((refined.argmax(0) == expected.argmax(0)).mean()))
        self.largest.append(float(np.abs(refined - expected).max()))
        self.mean.append(float(np.abs(refined - expected).mean()))


def images(count: int) -> Iterator[NDArray[np.uint8]]:
    """Yield some images."""
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))
    for number in range(count):
        if files:
            yield np.array(Image.open(files[number * (len(files) // count)]).convert("RGB"))
        else:
            yield photograph(number)


def smooth_scores(labels: int, height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Return random scores that change over `SIDE` pixels and sum to one, `[L,H,W]`."""
    grid = (1, labels, height // SIDE + 1, width // SIDE + 1)
    coarse = torch.from_numpy(np.random.default_rng(seed).random(grid, np.float32))
    planes = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0.01, 1)[0]
    scores: NDArray[np.float32] = (planes / planes.sum(0)).numpy()
    return scores


def bench_crf_backends(_: Path) -> None:
    """Compare the labels and the time of both backends, on one core."""
    say(
        "| `refine.crf` | labels | images | agreement, % | largest, mean difference | "
        "s, pydensecrf, torch |"
    )
    for name, crf in CRFS.items():
        for labels, count in IMAGES.items():
            compared = Comparison()
            for number, image in enumerate(images(count)):
                scores = smooth_scores(labels, *image.shape[:2], number)
                if crf.certainty:
                    scores = label_probabilities(scores.argmax(0), labels, crf.certainty)
                compared.add(image, scores, crf)
            ours, peer = (compared.seconds[k] / count for k in ("torch", "pydensecrf"))
            say(
                f"| `{name}` | {labels} | {count} | {100 * min(compared.agreement):.4f} | "
                f"{max(compared.largest):.0e}, {np.mean(compared.mean):.0e} | "
                f"{peer:.2f}, {ours:.2f} |"
            )
