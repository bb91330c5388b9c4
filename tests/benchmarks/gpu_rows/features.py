"""Rows of the measurement on one GPU for k-means of features and for mIoU at all thresholds."""

from __future__ import annotations

import numpy as np
import torch
from gpu_rows.classifier import drawn_maps
from gpu_rows.device_bench import DeviceBench
from peers import peer_steps
from torch import Tensor
from wsss.platform.metrics import THRESHOLDS, ThresholdCurve
from wsss.platform.ops import kmeans
from wsss.platform.ops.maps import best_class
from wsss.platform.stages.prototypes.holder import ROWS_PER_BLOCK

CLASSES = 21


def feature_blocks(b: DeviceBench) -> list[Tensor]:
    """Return rectified random features in blocks on the device, float16 `[R,D]` each."""
    rng = torch.Generator(b.device).manual_seed(0)
    rows, width = b.sizes.features, b.sizes.channels
    counts = [min(ROWS_PER_BLOCK, rows - n) for n in range(0, rows, ROWS_PER_BLOCK)]
    options = {"generator": rng, "device": b.device}
    return [torch.randn(count, width, **options).clamp_(min=0).half() for count in counts]


def bench_clustering(b: DeviceBench) -> None:
    """Measure a round of k-means: all features go to their nearest centres and are summed."""
    blocks, count = feature_blocks(b), b.sizes.clusters
    rows, width = b.sizes.features, b.sizes.channels
    centers = blocks[0][:count].float().cpu().numpy()
    with b.peak() as peak:
        rate = b.rate(1, lambda: kmeans.device_totals(enumerate(blocks), centers))
    first = kmeans.device_totals([(0, blocks[0])], centers)
    expected = kmeans.block_totals(blocks[0].cpu().numpy(), centers, 0)
    share = np.abs(first.counts - expected.counts).sum() / expected.counts.sum()
    off = np.abs(first.sums - expected.sums).sum() / np.abs(expected.sums).sum()
    generator = torch.Generator().manual_seed(0)
    part = len(blocks) // 4 or len(blocks)  # float32 features of the peer take twice the memory
    whole = torch.cat(blocks[:part]).float()
    peer = b.rate(1, lambda: peer_steps.cluster(whole, count, 1, generator)) * len(whole) / rows
    b.add(
        f"round of k-means, {rows:,} x {width}, K {count} (share of sums)",
        "rounds/s",
        rate,
        peer,
        limit=rate * 2 * rows * width / b.bandwidth,
        bound="a copy's bytes",
        difference=float(max(share, off)),
        allowed=0.001,
        **peak,
    )


def bench_thresholds(b: DeviceBench) -> None:
    """Measure the confusion matrices at 100 thresholds of class maps in memory."""
    maps = drawn_maps(b)
    rng = torch.Generator().manual_seed(0)
    size = maps[0].height, maps[0].width
    targets = [torch.randint(0, 3, size, generator=rng, dtype=torch.uint8) for _ in maps]

    def curve(device: str) -> ThresholdCurve:
        total = ThresholdCurve(CLASSES)
        for image_maps, target in zip(maps, targets, strict=True):
            planes = torch.from_numpy(image_maps.planes).to(device)
            total.update(target.to(device), *best_class(planes, image_maps.classes, size))
        total.matrices()
        return total

    with b.peak() as peak:
        rate = b.rate(len(maps), lambda: curve(b.device))
    result, expected = (curve(device).matrices() for device in (b.device, "cpu"))
    stems = [image_maps.id for image_maps in maps]
    masks = [target.numpy() for target in targets]
    few = THRESHOLDS[::25]
    time = b.clock(lambda: peer_steps.curve(stems, b.folder / "kept", masks, CLASSES, few))
    b.add(
        "mIoU at 100 thresholds of class maps in memory (share of pixels)",
        "images/s",
        rate,
        len(maps) * len(few) / len(THRESHOLDS) / time,
        difference=float(np.abs(result - expected).sum() / expected.sum()),
        allowed=1e-4,
        **peak,
    )
