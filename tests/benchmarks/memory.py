"""Benchmarks of memory: each stage's peak beside the field that bounds it, for few and for many
images; and a clustering of more features than may be kept. See bench.py."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from load import Peak
from measure import feature_files, photographs, say, some_centers
from wsss.platform import datasets
from wsss.platform.data.folder import Folder
from wsss.platform.data.images import encode_png
from wsss.platform.experiment import Experiment, experiment
from wsss.platform.pipeline import Pipeline
from wsss.platform.progress import Silent
from wsss.platform.stages import cluster, clustering
from wsss.platform.store import Store

FIELDS = {
    "network": "training.batch_size, training.crop",
    "maps": "views.scales, views.batch_size on a GPU",
    "centers": "views.kept_gib",
    "similarities": "views.scales",
    "boundaries": "refine.training.batch_size, refine.training.crop",
    "segmenter": "segment.training.batch_size, segment.training.crop",
}
"""What bounds the memory of a stage; all others hold one image, or one group of 16, at a time."""
CHAIN = {
    "network.backbone": "mobilenet_v2",
    "training.split": "train",
    "training.epochs": 1,
    "views.scales": (1.0, 0.5),
    "scoring.splits": ("train",),
    "refine.kind": "irn",
    "refine.threshold": 0.3,
    "refine.final": 0.3,
    "refine.training.epochs": 1,
    "segment.network": "deeplabv2",
    "segment.training.epochs": 1,
}
Found = dict[tuple[str, str], tuple[int, int, int]]
"""By stage and title: bytes of the driver, of the largest worker and of all workers."""


class Watch(Silent):
    """Measures the peak of each step."""

    def __init__(self, kinds: dict[str, str]) -> None:
        self.kinds, self.found = kinds, Found()

    def start(self, title: str) -> None:
        self.title, self.peak = title, Peak(os.getpid())
        self.peak.start()

    def finish(self, cached: bool) -> None:
        self.peak.done()
        peak = self.peak
        self.found[self.kinds[self.title], self.title] = (peak.own, peak.largest, peak.all)


def masks(root: Path) -> None:
    """A mask of half of each image."""
    (root / "masks").mkdir()
    half = np.zeros((375, 500), np.uint8)
    half[:, :250] = 1
    for path in (root / "images").iterdir():
        (root / "masks" / f"{path.stem}.png").write_bytes(encode_png(half))


def peaks(folder: Path, images: int) -> tuple[Experiment, Found]:
    """The peaks of a whole chain."""
    photographs(folder / "photos", images)
    masks(folder / "photos")
    store = Store(folder / "store")
    cluster.connect()
    datasets.add(store, Folder(folder / "photos"), "photos", Silent())
    wanted = experiment("lpcam", data="photos", changes=CHAIN)
    watch = Watch({})
    pipeline = Pipeline(store, wanted, watch)
    watch.kinds = {step.stage.title: step.stage.name for step in pipeline.steps}
    pipeline.execute()
    return wanted, watch.found


def bench_peaks(folder: Path, sizes: Sequence[int] = (32, 256)) -> None:
    """What each stage holds at most, with few images and with eight times as many."""
    found = []
    for images in sizes:
        (folder / str(images)).mkdir()
        wanted, peak = peaks(folder / str(images), images)
        found.append(peak)
    few, many = found
    for stage, title in few:
        own, largest, every = (
            f"{a / 2**20:.0f} and {b / 2**20:.0f}"
            for a, b in zip(few[stage, title], many[stage, title], strict=True)
        )
        bound = FIELDS.get(stage, "nothing to bound")
        say(f"peaks: {title}: driver {own}, largest worker {largest}, all {every} MiB; {bound}")
    how = wanted.training
    say(
        f"       with {sizes[0]} and {sizes[1]} images of 500 x 375; batches of {how.batch_size} "
        f"at {how.crop} pixels, {wanted.network.backbone}"
    )


def bench_kept(folder: Path, rows: int = 2_000_000, width: int = 2048) -> None:
    """Peak memory of a clustering's holders on more features than they may keep."""
    paths = feature_files(folder, rows, width, 64)
    limit = 1 << 30
    cluster.connect()
    workers = cluster.cores()
    began = time.perf_counter()
    holders = clustering.Holders([str(p) for p in paths], 0.5, workers, limit)
    centers = some_centers(holders, width)
    for _ in range(2):
        totals = holders.totals(centers, False)
        centers = {
            s: (t.sums / np.maximum(t.counts, 1)[:, None]).astype(np.float32)
            for s, t in totals.items()
        }
    peak = holders.peak_bytes() / 2**30
    counted = sum(int(t.counts.sum()) for t in totals.values())
    holders.close()
    size = rows * width * 2 / 2**30
    say(
        f"kept: {counted} vectors of {width} ({size:.1f} GiB), limit {limit / 2**30:.0f} GiB: "
        f"private memory at most {peak:.2f} GiB a holder, "
        f"2 rounds in {time.perf_counter() - began:.0f} s"
    )
