"""Row of the measurement on one GPU for k-means of features."""

from __future__ import annotations

import numpy as np
import torch
from gpu_rows.device_bench import DeviceBench
from peers import peer_steps
from torch import Tensor
from wsss.platform.ops import kmeans
from wsss.platform.stages.prototypes.holder import ROWS_PER_BLOCK


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
