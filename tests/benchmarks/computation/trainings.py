"""Benchmarks of training, superpixels, refinement and segmentation; see bench.py."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import photographs, say, seconds
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.sources.folder import Folder
from wsss.platform.method import Batch, Learner
from wsss.platform.ops.crf import CRFS
from wsss.platform.ops.random_walk import random_walk, transition_matrix
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.inference import actors, propagation, segmentation
from wsss.platform.stages.labels import pseudo_labels
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter
from wsss.platform.stages.training.trainer import Job, Trainer, build
from wsss.platform.storage.artifact_files import ArtifactFile, LocalFolder
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.storage.store import Store

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
    """Measure the training images a second of each method relative to CAM, and peak memory."""
    from wsss.platform.method import methods

    results = {}
    names = [n for n, c in methods().items() if c.trains and not c.trains_as]
    for name in [*names, WITHOUT_FPEM, "boundaries", "deeplabv2"]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[name] = pool.apply(_training, (name, rounds))
    for name, (step, peak) in results.items():
        share, rate = results["cam"][0] / step, IMAGES / step
        say(f"methods: {name}: {rate:.1f} images/s, {share:.2f} of cam; {peak:.2f} GiB at most")


def bench_superpixels(folder: Path, images: int = 24) -> None:
    """Measure superpixels of images of 500 x 375 pixels on one core."""
    from wsss.platform.data.images import decode_image
    from wsss.platform.stages.labels.superpixels import KINDS, regions_of

    photographs(folder, images)
    pixels = [decode_image(p.read_bytes(), p.stem) for p in sorted(folder.glob("images/*.jpg"))]
    for kind in KINDS:
        took = seconds(lambda kind=kind: [regions_of(p, kind) for p in pixels])  # type: ignore[misc]
        say(f"superpixels: {kind}: {images / took:.2f} images a second and core")


def bench_walk(folder: Path, height: int = 47, width: int = 62) -> None:
    """Compare the random walk on one core with the dense matrix raised to its power by squaring."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    maps, edge = uniform(2, height, width), uniform(height, width) ** 3
    outputs: list[torch.Tensor] = []

    def dense() -> None:
        matrix = transition_matrix(edge[None]).to_dense()
        for _ in range(8):
            matrix = matrix @ matrix
        outputs.append((matrix @ (maps * (1 - edge)).flatten(1).T).T.reshape(maps.shape))

    slow = seconds(dense)
    fast = seconds(lambda: outputs.append(random_walk(maps, edge)), 3)
    worst = float((outputs[0] - outputs[1]).abs().max())
    say(f"walk: {height} x {width}, 2 maps: {fast:.3f} s, dense {slow:.1f} s")
    say(f"      {slow / fast:.0f} times; largest difference {worst:.1e} in float32")
    maps, edge = uniform(3, 94, 125), uniform(94, 125) ** 3
    say(f"      94 x 125, 3 maps: {seconds(lambda: random_walk(maps, edge), 5):.3f} s on one core")


def _write_maps(folder: Path, images: int) -> tuple[Store, list[shards.Slice], list[ArtifactFile]]:
    """Write shards of photographs and class maps of two classes for each image."""
    photographs(folder / "photos", images)
    store = Store(folder / "store")
    cluster.connect()
    dataset, _ = registry.add(store, Folder(folder / "photos"), "photos", ProgressDisplay())
    pieces = list(slices(dataset, "train"))
    rng, files = np.random.default_rng(0), []
    target = LocalFolder(folder).subfolder("maps")
    for piece in pieces:
        rows = [
            ClassMaps(
                id=row["id"],
                classes=(1, 2),
                planes=rng.random((2, 94, 125), np.float32).astype(np.float16),
                height=row["height"],
                width=row["width"],
            )
            for row in shards.read(piece, ("id", "height", "width"))
        ]
        files.append(target / f"{piece.name}.parquet")
        class_maps.write(files[-1], rows)
    return store, pieces, files


def bench_crf(folder: Path, images: int = 32) -> None:
    """Compare DenseCRF as tasks on all cores with one task at a time, three labels an image."""
    _, pieces, files = _write_maps(folder, images)
    cut = pseudo_labels.Cut(levels=(0.5,), crf=CRFS["irn"])
    out = LocalFolder(folder).subfolder("out")

    def run() -> None:
        pseudo_labels.make(out, pieces, files, cut, lambda done, total: None)

    run()
    every = images / seconds(run)
    workers = cluster.workers
    cluster.workers = lambda: 1  # type: ignore[assignment]
    one = images / seconds(run)
    cluster.workers = workers
    say(
        f"crf: {every:.2f} images/s on {workers()} cores, {one:.2f} on one, {every / one:.2f} times"
    )


def bench_chain(folder: Path, images: int = 32) -> None:
    """Measure refinement and segmentation an image: certain labels, the walk, predictions."""
    _, pieces, files = _write_maps(folder, images)
    own, out = LocalFolder(folder), LocalFolder(folder).subfolder("out")
    network = Network(backbone="mobilenet_v2")

    def timed(name: str, action: Callable[[], object]) -> None:
        say(f"chain: {name}: {images / seconds(action):.2f} images/s")

    cut = pseudo_labels.Cut(levels=(0.6, 0.4), crf=CRFS["irn"])
    timed("certain labels", lambda: pseudo_labels.make(out, pieces, files, cut, lambda d, n: None))
    torch.save(build(network, Boundaries(), 0, 0).state_dict(), folder / "edges.pt")
    walking = propagation.Job(
        network=network,
        weights=own / "edges.pt",
        maps=own.subfolder("maps"),
        folder=out,
        radius=5,
        beta=10.0,
        steps=256,
        power=1.0,
        background=False,
        views=Views(actors=cluster.cores()),
    )

    def quiet(done: int, total: int) -> None:
        """Show no progress."""

    timed("boundaries and walk", partial(actors.compute, propagation.Walk, walking, pieces, quiet))
    learner = Segmenter((), stride=16)
    torch.save(build(network, learner, CLASSES, 0).state_dict(), folder / "segmenter.pt")
    predicting = segmentation.Job(
        learner=learner,
        network=network,
        classes=CLASSES,
        weights=own / "segmenter.pt",
        folder=out,
        probabilities=False,
        coarse=False,
        known=False,
        views=Views(actors=cluster.cores()),
    )
    timed("deeplabv2", partial(actors.compute, segmentation.Predict, predicting, pieces, quiet))
