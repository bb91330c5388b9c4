"""One table: each stage, the way researchers run it today beside ours, in one run.

Ours are the product's stages as commands run them, Ray included, each after its start (what a
second, longer call takes more). The other way is stated again in `peers`. The share of the limit is
of what this machine does in the same run: large convolutions, copies of memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import KEPT, feature_files, photographs, say, seconds, some_centers
from peers import peer_networks, peer_steps
from torch.utils.flop_counter import FlopCounterMode
from wsss.methods.cam import CAM
from wsss.platform import datasets
from wsss.platform.bucket import open_store
from wsss.platform.data import class_maps, shards
from wsss.platform.data.class_maps import ClassMaps
from wsss.platform.data.folder import Folder
from wsss.platform.data.images import encode_png
from wsss.platform.experiment import Network, Training, Views
from wsss.platform.metrics import THRESHOLDS
from wsss.platform.ops import kmeans
from wsss.platform.ops.crf import CRFS
from wsss.platform.ops.random_walk import random_walk, transition
from wsss.platform.pipeline import machine
from wsss.platform.progress import Silent
from wsss.platform.runs import SpeedRecord, SpeedRow, write_json
from wsss.platform.stages import cluster, clustering, labels, maps, score, train
from wsss.platform.store import Artefact, Store

CLASSES = 20
SCALES = (1.0, 0.5, 1.5, 2.0)
WAVES = 3
"""How often each core gets a slice of images in the larger of two calls."""
TRAINING = """
import sys
from pathlib import Path
import speed
print(speed.trained(speed.Bench(Path(sys.argv[1])), sys.argv[2]))
"""


@dataclass
class Bench:
    """What the rows share."""

    folder: Path
    rows: list[SpeedRow] = field(default_factory=list)

    @cached_property
    def cuda(self) -> bool:
        return torch.cuda.is_available()

    @property
    def device(self) -> str:
        return "cuda" if self.cuda else "cpu"

    @property
    def backbone(self) -> str:
        return "resnet50" if self.cuda else "mobilenet_v2"

    @property
    def actors(self) -> int:
        cluster.connect()
        return cluster.gpus() or cluster.cores()

    @property
    def few(self) -> int:
        """Images: a slice for each core."""
        return shards.ROWS_PER_GROUP * cluster.cores()

    @property
    def many(self) -> int:
        """Images: some slices for each core."""
        return WAVES * self.few

    @cached_property
    def files(self) -> list[Path]:
        """JPEG files of 500 x 375 pixels."""
        images = self.folder / "photos" / "images"
        if not images.exists():
            photographs(self.folder / "photos", self.many)
        return sorted(images.glob("*.jpg"))

    @cached_property
    def pieces(self) -> list[shards.Slice]:
        """The same images in shards."""
        assert self.files
        cluster.connect()
        source = Folder(self.folder / "photos")
        kept, _ = datasets.add(Store(self.folder / "store"), source, "photos", Silent())
        return list(datasets.slices(kept, "train"))

    @cached_property
    def flops(self) -> dict[str, float]:
        """Floating-point operations a second of large convolutions, by precision; in fp32 those
        of a GPU are TF32, as in networks."""
        found = {}
        for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            conv = torch.nn.Conv2d(512, 512, 3, padding=1, bias=False)
            conv = conv.to(self.device, kind, memory_format=torch.channels_last)
            x = torch.randn(8, 512, 64, 64, device=self.device, dtype=kind)
            x = x.to(memory_format=torch.channels_last)
            with torch.no_grad():
                took = self.clock(lambda c=conv, x=x: c(x), 5)  # type: ignore[misc]
            found[name] = 2 * x.numel() * conv.weight.numel() / len(conv.weight) / took
        return found

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second that a copy reads and writes."""
        one = torch.zeros(1 << 28, dtype=torch.uint8, device=self.device)
        other = torch.empty_like(one)
        return 2 * len(one) / self.clock(lambda: other.copy_(one), 5)

    def clock(self, action: Callable[[], object], repeats: int = 1) -> float:
        """Median seconds, after one call that does not count, with what the GPU has to do."""

        def whole() -> None:
            action()
            if self.cuda:
                torch.cuda.synchronize()

        whole()
        return seconds(whole, repeats)

    def add(self, stage: str, unit: str, ours: float, peer: float | None, **limit: Any) -> None:
        row = SpeedRow(stage=stage, unit=unit, ours=ours, peer=peer, **limit)
        self.rows.append(row)
        say(line(row))


HEAD = f"{'stage':40} {'ours':>9} {'today':>9} {'ratio':>7}  share of the limit"


def line(row: SpeedRow) -> str:
    peer = f"{row.peer:9.2f}" if row.peer else f"{'':>9}"
    ratio = f"{row.ours / row.peer:7.2f}" if row.peer else f"{'':>7}"
    limit = f"{row.limit:.2f} of {row.bound}" if row.limit is not None else ""
    return f"{row.stage:40} {row.ours:9.2f} {peer} {ratio}  {limit} ({row.unit})"


def later(run: Callable[[int], float], b: Bench) -> float:
    """Images a second after the start: what the larger of two calls does and takes more."""
    extra = run(b.many) - run(b.few)
    if extra <= 0:
        raise RuntimeError(f"{b.many} images take no longer than {b.few}: raise speed.WAVES")
    return (b.many - b.few) / extra


def took(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def shape(b: Bench) -> tuple[int, int, tuple[int, int]]:
    """Images a step, the crop's side, the range of the long side."""
    batch, side = (16, 512) if b.cuda else (8, 320)
    return batch, side, (side * 5 // 8, side * 5 // 4)


def trained(b: Bench, precision: str) -> float:
    """In a process of its own with a training worker's environment: images a second of three
    epochs after the first."""
    batch, side, long = shape(b)
    job = train.Job(
        learner=CAM(CAM.Config()),
        network=Network(backbone=b.backbone),
        training=Training(
            batch_size=batch,
            crop=side,
            resize=long,
            epochs=3,
            precision=precision,
            lr=0.01,
            compiled=b.cuda,
        ),
        classes=CLASSES,
        slices=tuple(b.pieces),
        seed=0,
        metrics="",
    )
    torch.set_num_threads(cluster.cores())
    trainer, ends = train.Trainer(job, torch.device(b.device), 0, 1), []
    train.train(trainer, None, lambda *_: ends.append(time.perf_counter()))
    return 2 * trainer.plan.steps * batch / (ends[2] - ends[0])


def work(b: Bench, *views: tuple[int, int]) -> int:
    """Floating-point operations of class scores of views of such heights and widths."""
    network = train.build(Network(backbone=b.backbone), CAM(CAM.Config()), CLASSES, 0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for height, width in views:
            network(torch.zeros(1, 3, height, width))
    return counter.get_total_flops()


def bench_training(b: Bench) -> None:
    """Training with what feeds it."""
    batch, side, long = shape(b)
    peer = peer_networks.train(b.files, b.backbone, CLASSES, long, side, batch, b.device)
    for precision in ("fp32", "bf16"):
        words = [sys.executable, "-c", TRAINING, str(b.folder), precision]
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        own = {**os.environ, **cluster.ENVIRONMENT, "PYTHONPATH": path}
        said = subprocess.run(words, env=own, capture_output=True, text=True, check=True).stdout
        rate = float(said.split()[-1])
        share = rate * 3 * work(b, (side, side)) / b.flops[precision]  # backwards is twice forwards
        name = f"train cam, {b.backbone}, {side} pixels, {precision}"
        b.add(name, "images/s", rate, peer, limit=share, bound=f"{precision} convolutions")


def bench_inference(b: Bench) -> None:
    """Class maps at four scales with mirror images."""
    out = b.folder / "peer"
    out.mkdir()
    peer = peer_networks.infer(b.files[: b.few], b.backbone, CLASSES, SCALES, out, b.device)
    method, network = CAM(CAM.Config()), Network(backbone=b.backbone)
    torch.save(train.build(network, method, CLASSES, 0).state_dict(), b.folder / "network.pt")
    of_image = 2 * work(b, *((round(375 * scale), round(500 * scale)) for scale in SCALES))
    for precision in ("fp32", "bf16"):
        job = maps.Job(
            host=method,
            method=method,
            network=network,
            classes=CLASSES,
            weights=str(b.folder / "network.pt"),
            views=Views(scales=SCALES, precision=precision, actors=b.actors),
            folder=str(b.folder / f"maps-{precision}"),
            keep_features=False,
        )
        Path(job.folder).mkdir()

        def run(count: int, job: maps.Job = job) -> float:
            chosen = b.pieces[: count // 16]
            return took(lambda: maps.infer(Path(job.folder), job, chosen, lambda d, n: None))

        rate = later(run, b)
        share = rate * of_image / b.flops[precision]
        name = f"class maps, {b.backbone}, 4 scales, {precision}"
        b.add(name, "images/s", rate, peer, limit=share, bound=f"{precision} convolutions")


def bench_clustering(b: Bench, rows: int = 60_000, width: int = 1280, count: int = 12) -> None:
    """Rounds of k-means over the features of a class, both sides of the threshold."""
    (b.folder / "features").mkdir()
    paths = feature_files(b.folder / "features", rows, width, 16)
    whole = torch.from_numpy(np.concatenate([np.load(p) for p in paths])).float()
    device = "cuda" if kmeans.on_gpu() else "cpu"
    halves = [part.to(device) for part in whole.chunk(2)]
    generator = torch.Generator().manual_seed(0)

    def of_peer() -> None:
        for half in halves:
            peer_steps.cluster(half, count, 1, generator)

    cluster.connect()
    holders = clustering.Holders([str(p) for p in paths], 0.5, cluster.cores(), KEPT)
    centers = some_centers(holders, width)
    round_ = b.clock(lambda: holders.totals(centers, False), 5)
    holders.close()
    name = f"k-means on {device}, {rows:,} x {width}, K {count}"
    limit: dict[str, Any] = {}
    if device == b.device:  # distances and sums
        share = 4 * rows * width * count / round_ / b.flops["fp32"]
        limit = {"limit": share, "bound": "fp32 convolutions"}
    b.add(name, "rounds/s", 1 / round_, 1 / b.clock(of_peer), **limit)


def kept_maps(b: Bench) -> list[Path]:
    """Class maps of two classes of every image, as our stages and as the others keep them."""
    rng, files = np.random.default_rng(0), []
    for name in ("found", "kept"):
        (b.folder / name).mkdir()
    for piece in b.pieces:
        rows = []
        for row in shards.read(piece, ("id", "height", "width")):
            small = torch.from_numpy(rng.random((1, 2, 12, 16), np.float32))
            planes_, full = (
                torch.nn.functional.interpolate(small, size, mode="bicubic")[0].clamp(0, 1).numpy()
                for size in ((94, 125), (row["height"], row["width"]))
            )
            values = {"keys": np.array([0, 1]), "cam": planes_, "high_res": full}
            np.save(b.folder / "kept" / f"{row['id']}.npy", values)  # type: ignore[arg-type]
            found = ClassMaps(
                id=row["id"],
                classes=(1, 2),
                planes=planes_.astype(np.float16),
                height=row["height"],
                width=row["width"],
            )
            rows.append(found)
        files.append(b.folder / "found" / f"{piece.name}.parquet")
        class_maps.write(files[-1], rows)
    return files


def bench_crf(b: Bench) -> None:
    """DenseCRF of three labels an image, images cut among processes."""
    files, cores = kept_maps(b), cluster.cores()
    (b.folder / "labels").mkdir()
    cut = labels.Cut(levels=(0.5,), crf=CRFS["irn"])

    def ours(count: int) -> float:
        chosen = b.pieces[: count // 16], files[: count // 16]
        return took(lambda: labels.make(b.folder / "labels", *chosen, cut, lambda d, n: None))

    def theirs(count: int) -> float:
        return took(lambda: peer_steps.crf(b.files[:count], b.folder / "kept", cores))

    rate, peer = later(ours, b), later(theirs, b)
    b.add("DenseCRF, 3 labels, 10 steps", "images/s", rate, peer)


def bench_scoring(b: Bench) -> None:
    """mIoU at 100 thresholds of class maps of every image."""
    rng = np.random.default_rng(0)
    masks = {f.stem: rng.choice([0, 1, 2, 255], (375, 500)).astype(np.uint8) for f in b.files}
    for name, mask in masks.items():
        path = b.folder / "photos" / "masks" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(mask))
    kept, _ = datasets.add(
        Store(b.folder / "masked"), Folder(b.folder / "photos"), "photos", Silent()
    )
    pieces = list(datasets.slices(kept, "train"))
    manifest = {"stage": "maps", "files": {f"{p.name}.parquet": {} for p in pieces}}
    found = Artefact(b.folder / "found", manifest)
    (b.folder / "scores").mkdir()

    def ours(count: int) -> float:
        chosen = pieces[: count // 16]
        out = b.folder / "scores"
        return took(lambda: score.score(out, found, chosen, 3, lambda d, n: None))

    def theirs(count: int) -> float:
        stems = [f.stem for f in b.files[:count]]
        those = [masks[s] for s in stems]
        share = THRESHOLDS[::10]
        of_ten = took(lambda: peer_steps.curve(stems, b.folder / "kept", those, 3, share))
        return of_ten * len(THRESHOLDS) / len(share)

    rate, peer = later(ours, b), 16 / theirs(16)
    b.add("mIoU at 100 thresholds", "images/s", rate, peer)


def bench_walk(b: Bench, height: int = 47, width: int = 62) -> None:
    """The random walk of one image, on the largest grid that the dense matrix is worth trying."""
    generator = torch.Generator().manual_seed(0)
    found = torch.rand(2, height, width, generator=generator).to(b.device)
    edge = (torch.rand(height, width, generator=generator) ** 3).to(b.device)
    ours = b.clock(lambda: random_walk(found, edge), 5)
    peer = b.clock(lambda: peer_steps.walk(found, edge))
    moved = 256 * (transition(edge[None]).values().numel() * 12 + 4 * found.numel() * 4)
    share = moved / ours / b.bandwidth
    name = f"random walk, {height} x {width}, 2 maps"
    b.add(name, "images/s", 1 / ours, 1 / peer, limit=share, bound="a copy's bytes")


def bench_table(folder: Path) -> None:
    """All rows, kept in the store of `WSSS_STORE` for the dashboard."""
    torch.set_num_threads(cluster.cores())
    b = Bench(folder)
    began = datetime.now(UTC)
    what = torch.cuda.get_device_name() if b.cuda else machine()
    say(HEAD)
    for bench in (
        bench_training,
        bench_inference,
        bench_clustering,
        bench_crf,
        bench_scoring,
        bench_walk,
    ):
        bench(b)
    record = SpeedRecord(
        name=began.strftime("%Y%m%d-%H%M%S"),
        started=began.isoformat(timespec="seconds"),
        machine=what,
        rows=tuple(b.rows),
    )
    store = open_store(os.environ.get("WSSS_STORE", "store"))
    write_json(store.root / "speeds" / f"{record.name}.json", record)
