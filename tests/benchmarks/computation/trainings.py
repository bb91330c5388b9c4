"""Benchmarks of the training of each method and of the later stages' networks; see bench.py."""

from __future__ import annotations

import multiprocessing
import resource
from pathlib import Path

import torch
from measure import say, seconds
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats import shards
from wsss.platform.errors import InputError
from wsss.platform.method import Batch, Learner
from wsss.platform.ray_runtime import cluster
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter
from wsss.platform.stages.training.trainer import Job, Trainer
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage

SIDE, IMAGES, CLASSES = 320, 8, 20
WITHOUT_FPEM = "psdpm without FPEM"


def learner_of(name: str) -> Learner:
    """Return a method by name, psdpm without its estimator, or a learner of the later stages."""
    from wsss.methods.psdpm import PSDPM, PSDPMConfig
    from wsss.platform.method import methods

    if name == WITHOUT_FPEM:
        return PSDPM(PSDPMConfig(depth=0))
    if name == "boundaries":
        return Boundaries()
    if name == "deeplabv2":
        return Segmenter((), stride=16)
    cls = methods()[name]
    return cls(cls.Config())


def make_trainer(learner: Learner, network: Network, training: Training, classes: int) -> Trainer:
    """Return a trainer without data, past every warm-up."""
    job = Job(
        learner=learner,
        network=network,
        training=training,
        classes=classes,
        slices=(shards.Slice(LocalFolder(Path("none")) / "none", 0, training.batch_size),),
        seed=0,
        metrics=LocalStorage(Path("none")).location("metrics.jsonl"),
    )
    trainer = Trainer(job, torch.device("cpu"), 0, 1)
    trainer.network.train()
    trainer.step = 50
    return trainer


def _training(name: str, rounds: int) -> tuple[float, float]:
    """Return the seconds a step and the peak GiB of this process for one learner."""
    torch.set_num_threads(cluster.cores())
    trainer = make_trainer(
        learner_of(name),
        Network(backbone="mobilenet_v2", frozen_stages=4 if name == "boundaries" else 2),
        Training(batch_size=IMAGES, crop=SIDE, epochs=100, precision="fp32", lr=1e-3),
        CLASSES,
    )
    generator = torch.Generator().manual_seed(0)
    cells = torch.arange(SIDE) // 40
    plane = (8 * cells[:, None] + cells).expand(IMAGES, SIDE, SIDE)
    batch = Batch(
        images=torch.randn(IMAGES, 3, SIDE, SIDE, generator=generator),
        labels=(torch.rand(IMAGES, CLASSES, generator=generator) < 0.1).float(),
        valid=torch.ones(IMAGES, SIDE, SIDE, dtype=torch.bool),
        plane=plane % CLASSES if name in ("boundaries", "deeplabv2") else plane,
        probabilities=torch.rand(
            IMAGES, CLASSES + 1, SIDE // 8, SIDE // 8, generator=generator
        ).softmax(1),
    )
    for _ in range(2):
        trainer.job.learner.on_epoch_start(trainer.network, 0)
        trainer.update(batch)
    step = seconds(lambda: trainer.update(batch), rounds)
    return step, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def bench_methods(folder: Path, rounds: int = 5) -> None:
    """Measure the training images a second of each method relative to CAM, and peak memory.

    Methods that need another network are named.
    """
    from wsss.platform.method import methods

    results = {}
    names = [n for n, c in methods().items() if c.trains and not c.trains_as]
    for name in [*names, WITHOUT_FPEM, "boundaries", "deeplabv2"]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            try:
                results[name] = pool.apply(_training, (name, rounds))
            except InputError as error:
                say(f"methods: {name}: not measured; {error}")
    for name, (step, peak) in results.items():
        share, rate = results["cam"][0] / step, IMAGES / step
        say(f"methods: {name}: {rate:.1f} images/s, {share:.2f} of cam; {peak:.2f} GiB at most")
