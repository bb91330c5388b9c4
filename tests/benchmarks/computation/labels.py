"""Benchmarks of superpixels, DenseCRF, the random walk and a segmenter's labels; see bench.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import photographs, say, seconds
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.sources.folder import Folder
from wsss.platform.ops.crf import CRFS
from wsss.platform.ops.random_walk import random_walk, transition_matrix
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.inference import actors, propagation, segmentation
from wsss.platform.stages.labels import pseudo_labels
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter
from wsss.platform.stages.training.trainer import build
from wsss.platform.storage.artifact_files import ArtifactFile, LocalFolder
from wsss.platform.storage.store import Store

CLASSES = 20


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
