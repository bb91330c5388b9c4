"""Benchmarks of how the cost of each stage grows: seconds over at least a decade of sizes, and the
power that fits them, in one process on one core, so that idle cores do not hide growth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from computation.trainings import learner_of, make_trainer
from measure import KEPT, feature_files, say, seconds, some_centers
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.features import FeatureRows
from wsss.platform.data.images import encode_png
from wsss.platform.method import Batch
from wsss.platform.ops.crf import CRFS, Refiner
from wsss.platform.ops.random_walk import random_walk
from wsss.platform.stages.labels.scoring import Tally, add_image
from wsss.platform.stages.prototypes import clustering
from wsss.platform.stages.prototypes.similarities import similarities

Case = tuple[str, str, Sequence[int], Callable[[int], Callable[[], object]]]
"""Stage, quantity that grows, sizes, and a function that prepares the work of a size."""


def power(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Return b of time = a size^b, by least squares of the logarithms over the larger half of the
    sizes, where the fixed cost of a call counts least."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0])


def report(cases: Sequence[Case]) -> None:
    for stage, field, sizes, make in cases:
        times = []
        for size in sizes:
            work = make(size)
            work()
            times.append(seconds(work, 3))
        costs = ", ".join(f"{n:,}: {1e3 * t:.1f}" for n, t in zip(sizes, times, strict=True))
        say(f"scale: {stage} by {field}: power {power(sizes, times):.2f} (ms by size: {costs})")


def clustered(folder: Path, rows: int, count: int, width: int = 256) -> Callable[[], object]:
    """Return an action: a round of k-means."""
    target = folder / f"features-{rows}-{count}"
    target.mkdir()
    files = feature_files(target, rows, width, 1)
    holders = clustering.Holders(files, 0.5, 1, KEPT)
    start = some_centers(holders, width)
    rng = np.random.default_rng(0)
    centers = {s: rng.random((count, width), np.float32) for s in start}
    return lambda: holders.totals(centers, False)


def compared(count: int, positions: int = 4000, width: int = 256) -> Callable[[], object]:
    """Return an action: cosines of an image's features with the centres of a class."""
    place = FeatureRows(
        id="i", labels=(0,), height=16, width=4 * positions, offset=0, grids=((1, positions),)
    )
    rows = np.random.default_rng(0).random((2 * positions, width), np.float32).astype(np.float16)
    centers = {0: torch.rand(count, width)}
    return lambda: list(similarities(place, rows, centers))


def walked(positions: int, maps: int = 2) -> Callable[[], object]:
    """Return an action: the random walk of an image."""
    height = round((positions * 3 / 4) ** 0.5)
    planes = torch.rand(maps, height, positions // height)
    edge = torch.rand(height, positions // height) ** 3
    return lambda: random_walk(planes, edge)


def refined(pixels: int, labels: int) -> Callable[[], object]:
    """Return an action: DenseCRF of an image, with its kernels."""
    height = round((pixels * 3 / 4) ** 0.5)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height // 8, pixels // height // 8, 3), np.uint8)
    image = np.ascontiguousarray(image.repeat(8, 0).repeat(8, 1))
    scores = rng.random((labels, *image.shape[:2]), np.float32)
    return lambda: Refiner(image, CRFS["irn"]).refine(scores)


def scored(images: int, classes: int = 2) -> Callable[[], object]:
    """Return an action: scores of class maps at 100 thresholds."""
    rng = np.random.default_rng(0)
    maps = ClassMaps(
        id="i",
        classes=tuple(range(1, classes + 1)),
        planes=rng.random((classes, 94, 125), np.float32).astype(np.float16),
        height=375,
        width=500,
    )
    mask = encode_png(rng.integers(0, 3, (375, 500)).astype(np.uint8))

    def work() -> None:
        tally = Tally.empty(classes + 1)
        for _ in range(images):
            add_image(tally, maps, {"id": "i", "mask": mask, "parts": None})

    return work


def trained(name: str, classes: int, images: int = 4, side: int = 160) -> Callable[[], object]:
    """Return an action: a training step of a method."""
    network = Network(backbone="mobilenet_v2")
    training = Training(batch_size=images, crop=side, epochs=100, lr=1e-3)
    trainer = make_trainer(learner_of(name), network, training, classes)
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(images, classes)
    labels[:, :2] = 1  # the number of classes in an image stays the same
    cells = torch.arange(side) // 20
    batch = Batch(
        images=torch.randn(images, 3, side, side, generator=generator),
        labels=labels,
        valid=torch.ones(images, side, side, dtype=torch.bool),
        plane=(8 * cells[:, None] + cells).expand(images, side, side),
    )
    trainer.job.learner.on_epoch_start(trainer.network, 0)
    return lambda: trainer.update(batch)


def bench_scale(folder: Path) -> None:
    """Measure all stages whose cost can grow with anything but the number of images."""
    torch.set_num_threads(1)
    features, counts = (4_000, 16_000, 64_000, 128_000), (4, 8, 16, 32, 64)
    few, classes = (2, 4, 8, 16, 32), (10, 20, 40, 80, 160)
    pixels, positions = (20_000, 60_000, 190_000, 400_000), (800, 3_000, 12_000, 40_000)
    cases: list[Case] = [
        ("k-means round", "features", features, lambda n: clustered(folder, n, 12)),
        ("k-means round", "K", counts, lambda n: clustered(folder, 32_000, n)),
        ("similarities", "prototypes", counts, compared),
        ("random walk", "positions", positions, walked),
        ("random walk", "maps", few, lambda n: walked(12_000, n)),
        ("DenseCRF", "pixels", pixels, lambda n: refined(n, 3)),
        ("DenseCRF", "labels", few, lambda n: refined(190_000, n)),
        ("100 thresholds", "images", few, scored),
        ("100 thresholds", "classes", few, lambda n: scored(2, n)),
    ]
    for name in ("cam", "sipe", "cpal", "ssc"):
        cases.append((f"a step of {name}", "classes", classes, lambda n, m=name: trained(m, n)))
    report(cases)
