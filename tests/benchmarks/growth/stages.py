"""Benchmarks of whole stages: memory and the field that bounds it, time and disk an image with a
projection to many images, the rate of one driver, and a clustering of more features than may be
kept. See bench.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from measure import feature_files, photographs, say, seconds, some_centers
from process_memory import Peak, private
from wsss.platform.data import registry
from wsss.platform.data.formats import shards
from wsss.platform.data.images import encode_png
from wsss.platform.data.sources.folder import Folder
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.execution import Execution
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.inference import actors
from wsss.platform.stages.prototypes import clustering
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store

ONE = "16 images at a time"
FIELDS = {
    "shards": "256 images a shard, as they are stored",
    "train cam": "training.batch_size, training.crop, training.shuffle_rows",
    "cam maps": "views.scales, views.batch_size on a GPU",
    "lpcam clusters": "views.kept_gib",
    "lpcam similarities": "views.scales",
    "train boundaries": "refine.training.batch_size, .crop, .shuffle_rows",
    "train deeplabv2": "segment.training.batch_size, .crop, .shuffle_rows",
    "deeplabv2 probabilities": "segment.test_scales, views.batch_size on a GPU",
}
"""Fields that bound the memory of a step, by the beginning of its title; otherwise `ONE`."""
CHAIN = {
    "data": "photos",
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
COCO, HUGE, NODES, CORES = 82_783, 100_000_000, 1000, 16
"""Images of COCO 2014's train; images, nodes, and cores a node of a projection."""
ALONE = """
import dataclasses, json, sys
from pathlib import Path
from growth import stages
costs = stages.chain(Path(sys.argv[1]), int(sys.argv[2]))
print(json.dumps({title: dataclasses.asdict(cost) for title, cost in costs.items()}))
"""


@dataclass
class Cost:
    """Cost of a step.

    Attributes:
        seconds: wall time, start included.
        disk: bytes of its artifact.
        driver, largest, every: peak bytes of this process, of the largest worker, of all workers.
    """

    seconds: float
    disk: int
    driver: int
    largest: int
    every: int


class Watch(ProgressDisplay):
    """Progress that measures each step."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}

    def start(self, title: str) -> None:
        self.title, self.peak, self.began = title, Peak(os.getpid()), time.perf_counter()
        self.peak.start()

    def finish(self, cached: bool) -> None:
        took = time.perf_counter() - self.began
        self.peak.done()
        peak = self.peak
        self.costs[self.title] = Cost(took, 0, peak.own, peak.largest, peak.all)


def masks(root: Path) -> None:
    """Write a mask of half of each image."""
    (root / "masks").mkdir()
    half = np.zeros((375, 500), np.uint8)
    half[:, :250] = 1
    for path in (root / "images").iterdir():
        (root / "masks" / f"{path.stem}.png").write_bytes(encode_png(half))


def chain(folder: Path, images: int) -> dict[str, Cost]:
    """Return the cost of each step of a whole chain, and of the shards before it."""
    photographs(folder / "photos", images)
    masks(folder / "photos")
    store, watch = Store(folder / "store"), Watch()
    cluster.connect()
    watch.start("shards")
    dataset, _ = registry.add(store, Folder(folder / "photos"), "photos", ProgressDisplay())
    watch.finish(False)
    pipeline = Execution.of(store, build_experiment("lpcam", changes=CHAIN), watch)
    pipeline.execute()
    watch.costs["shards"].disk = size(dataset)
    for step in pipeline.plan.steps:
        watch.costs[step.stage.title].disk = size(store.open(step.stage.name, step.stage.key))
    return watch.costs


def chain_apart(folder: Path, images: int) -> dict[str, Cost]:
    """Return the costs of `chain`, run in its own process with its own Ray."""
    folder.mkdir()
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-c", ALONE, str(folder), str(images)]
    output = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout
    return {title: Cost(**cost) for title, cost in json.loads(output.splitlines()[-1]).items()}


def size(artifact: Artifact) -> int:
    """Return the bytes of an artifact's files."""
    return sum(int(about["size"]) for about in artifact.manifest["files"].values())


def bench_stages(folder: Path, sizes: Sequence[int] = (32, 256)) -> None:
    """Measure the memory of each stage with few and with eight times as many images, and the cost
    of an image, projected to many more."""
    few, many = (chain_apart(folder / str(images), images) for images in sizes)
    say(f"stages: {sizes[0]} and {sizes[1]} images of 500 x 375, {CHAIN['network.backbone']}")
    say_memory(few, many)
    say_costs(few, many, sizes[1] - sizes[0])


def say_memory(few: dict[str, Cost], many: dict[str, Cost]) -> None:
    say("  peaks in MiB with few and with many images; the fields that bound them")
    for title in few:
        driver, largest, every = (
            f"{getattr(few[title], name) >> 20} and {getattr(many[title], name) >> 20}"
            for name in ("driver", "largest", "every")
        )
        field = next((fields for begin, fields in FIELDS.items() if title.startswith(begin)), ONE)
        say(f"  {title}: driver {driver}, largest worker {largest}, all busy {every}; {field}")


def say_costs(few: dict[str, Cost], many: dict[str, Cost], more: int) -> None:
    """Print the time and disk of an image, a pass for trainings, from the `more` images of the
    larger call; the time of trainings and of clustering is not spread over nodes."""
    share = cluster.cores() / (NODES * CORES)
    say("  of one more image, of COCO's train here, of a hundred million on 1000 nodes of 16 cores")
    for title in few:
        took = (many[title].seconds - few[title].seconds) / more
        disk = (many[title].disk - few[title].disk) / more
        alone = title.startswith(("train ", "lpcam clusters"))
        spread = "" if alone else f"{took * HUGE * share / 3600:.1f} h and "
        say(
            f"  {title}: {1e3 * took:.0f} ms and {disk / 1024:.1f} KiB; "
            f"{took * COCO / 3600:.1f} h and {disk * COCO / 2**30:.1f} GiB; "
            f"{spread}{disk * HUGE / 2**40:.2f} TiB"
        )


class Idle(actors.Actor):
    """Actor that does nothing."""

    def __init__(self, job: object) -> None:
        """Load nothing."""

    def work(self, piece: shards.Slice) -> int:
        return piece.rows


def bench_driver(folder: Path, sizes: Sequence[int] = (2_000, 16_000, 128_000)) -> None:
    """Measure how fast one driver hands out slices of 16 images to actors, and tasks, that do
    nothing, from the additional time of each larger size."""
    cluster.connect()
    for name, work in (("slices to actors", run_slices), ("tasks", run_tasks)):
        times = [seconds(partial(work, count)) for count in sizes]
        for k in range(1, len(sizes)):
            rate = (sizes[k] - sizes[k - 1]) / (times[k] - times[k - 1])
            memory = private(os.getpid()) / 2**20
            say(f"driver: {sizes[k]} {name}: {rate:.0f} a second; {memory:.0f} MiB")


def run_slices(count: int) -> None:
    """Run slices through an inference that does nothing."""
    folder = LocalFolder(Path("none"))
    pieces = [shards.Slice(folder / f"{k // 16}.parquet", k % 16, 16) for k in range(count)]
    facts = actors.run(Idle, None, pieces, 2, lambda done, total: None)
    assert facts == {"images": 16 * count}


def run_tasks(count: int) -> None:
    """Run tasks that do nothing."""
    assert sum(cluster.map_tasks(nothing, range(count))) == 0


def nothing(number: int) -> int:
    return 0


def bench_kept(folder: Path, rows: int = 2_000_000, width: int = 2048) -> None:
    """Measure the peak memory of a clustering's holders on more features than they may keep."""
    files = feature_files(folder, rows, width, 64)
    limit = 1 << 30
    cluster.connect()
    workers, peak = cluster.cores(), Peak(os.getpid())
    peak.start()
    began = time.perf_counter()
    holders = clustering.Holders(files, 0.5, workers, limit)
    centers = some_centers(holders, width)
    for _ in range(2):
        totals = holders.totals(centers, False)
        centers = {
            s: (t.sums / np.maximum(t.counts, 1)[:, None]).astype(np.float32)
            for s, t in totals.items()
        }
    peak.done()
    counted = sum(int(t.counts.sum()) for t in totals.values())
    holders.close()
    size = rows * width * 2 / 2**30
    say(
        f"kept: {counted} vectors of {width} ({size:.1f} GiB), limit {limit / 2**30:.0f} GiB: "
        f"private memory at most {peak.largest / 2**30:.2f} GiB a holder, "
        f"2 rounds in {time.perf_counter() - began:.0f} s"
    )
