"""Rows of the speed table for training and class maps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from peers import peer_networks
from speed_table.rows import Bench, elapsed, steady_rate
from torch.utils.flop_counter import FlopCounterMode
from wsss.methods.cam import CAM
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.ray_runtime import cluster
from wsss.platform.ray_runtime.quirks import settings
from wsss.platform.stages.inference import actors, class_maps
from wsss.platform.stages.training.trainer import Job, Trainer, build, run_epochs
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage

CLASSES = 20
SCALES = (1.0, 0.5, 1.5, 2.0)
TRAINING = """
import sys
from pathlib import Path
from speed_table import networks, rows
print(networks.trained(rows.Bench(Path(sys.argv[1])), sys.argv[2]))
"""


def shape(b: Bench) -> tuple[int, int, tuple[int, int]]:
    """Return the images a step, the side of a crop and the range of the long side in pixels."""
    batch, side = (16, 512) if b.cuda else (8, 320)
    return batch, side, (side * 5 // 8, side * 5 // 4)


def trained(b: Bench, precision: str) -> float:
    """Return the images a second of three epochs after the first, to be run in its own process
    with the environment of a training worker."""
    batch, side, long = shape(b)
    job = Job(
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
        metrics=LocalStorage(b.folder).location("metrics.jsonl"),
    )
    torch.set_num_threads(cluster.cores())
    trainer, ends = Trainer(job, torch.device(b.device), 0, 1), []
    run_epochs(trainer, None, lambda *_: ends.append(time.perf_counter()))
    return 2 * trainer.plan.steps * batch / (ends[2] - ends[0])


def work(b: Bench, *views: tuple[int, int]) -> int:
    """Return the floating-point operations of class scores of views (height, width)."""
    network = build(Network(backbone=b.backbone), CAM(CAM.Config()), CLASSES, 0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for height, width in views:
            network(torch.zeros(1, 3, height, width))
    return counter.get_total_flops()


def bench_training(b: Bench) -> None:
    """Measure training together with its data path."""
    batch, side, long = shape(b)
    peer = peer_networks.train(b.files, b.backbone, CLASSES, long, side, batch, b.device)
    for precision in ("fp32", "bf16"):
        words = [sys.executable, "-c", TRAINING, str(b.folder), precision]
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, **settings.ENVIRONMENT, "PYTHONPATH": path}
        output = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
        rate = float(output.split()[-1])
        share = rate * 3 * work(b, (side, side)) / b.flops[precision]  # backwards is twice forwards
        name = f"train cam, {b.backbone}, {side} pixels, {precision}"
        b.add(name, "images/s", rate, peer, limit=share, bound=f"{precision} convolutions")


def bench_inference(b: Bench) -> None:
    """Measure class maps at four scales with mirror images."""
    out = b.folder / "peer"
    out.mkdir()
    peer = peer_networks.infer(b.files[: b.few], b.backbone, CLASSES, SCALES, out, b.device)
    method, network = CAM(CAM.Config()), Network(backbone=b.backbone)
    torch.save(build(network, method, CLASSES, 0).state_dict(), b.folder / "network.pt")
    image_flops = 2 * work(b, *((round(375 * scale), round(500 * scale)) for scale in SCALES))
    for precision in ("fp32", "bf16"):
        job = class_maps.Job(
            trained=method,
            method=method,
            network=network,
            classes=CLASSES,
            weights=LocalFolder(b.folder) / "network.pt",
            views=Views(scales=SCALES, precision=precision, actors=b.actors),
            folder=LocalFolder(b.folder).subfolder(f"maps-{precision}"),
            keep_features=False,
        )

        def run(count: int, job: class_maps.Job = job) -> float:
            chosen = b.pieces[: count // 16]
            actor = class_maps.Infer
            return elapsed(lambda: actors.compute(actor, job, chosen, lambda d, n: None))

        rate = steady_rate(run, b)
        share = rate * image_flops / b.flops[precision]
        name = f"class maps, {b.backbone}, 4 scales, {precision}"
        b.add(name, "images/s", rate, peer, limit=share, bound=f"{precision} convolutions")
