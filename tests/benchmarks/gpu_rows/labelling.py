"""Rows of the measurement on one GPU for certain labels by DenseCRF and for random walks."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import torch
from gpu_rows.classifier import drawn_maps
from gpu_rows.device_bench import DeviceBench, calibrate, on_cpu
from measure import say
from numpy.typing import NDArray
from peers import peer_steps
from torch.nn import functional
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.transforms import normalized
from wsss.platform.ops.crf import CRFS
from wsss.platform.ops.random_walk import random_walk, transition_matrix
from wsss.platform.ray_runtime import cluster
from wsss.platform.stages.inference import propagation
from wsss.platform.stages.labels import batched_labels
from wsss.platform.stages.labels.pseudo_labels import Cut
from wsss.platform.stages.training.label_learners import Boundaries
from wsss.platform.stages.training.trainer import build
from wsss.platform.storage.artifact_files import LocalFolder

CUT = Cut(levels=(0.6, 0.4), crf=CRFS["irn"])
DIFFERENT = 0.001
"""Largest share of pixels with another label than on a CPU."""


def write_drawn_maps(b: DeviceBench) -> list[ClassMaps]:
    """Write drawn class maps as our stages and as the peers keep them, and return them."""
    ours, theirs = LocalFolder(b.folder).subfolder("drawn"), b.folder / "kept"
    theirs.mkdir()
    maps = drawn_maps(b)
    remaining = iter(maps)
    for piece in b.pieces:
        rows = [next(remaining) for _ in range(piece.rows)]
        class_maps.write(ours / f"{piece.name}.parquet", rows)
    for image_maps in maps:
        size = image_maps.height, image_maps.width
        planes = torch.from_numpy(image_maps.planes).float()[None]
        full = functional.interpolate(planes, size, mode="bilinear")[0].numpy()
        values = {"keys": np.array([0, 1]), "high_res": full}
        np.save(theirs / f"{image_maps.id}.npy", values)  # type: ignore[arg-type]
    return maps


def different(labels: Sequence[NDArray[np.uint8]], expected: Sequence[NDArray[np.uint8]]) -> float:
    """Return the largest share of pixels of an image whose labels differ."""
    return max(float((a != e).mean()) for a, e in zip(labels, expected, strict=True))


def peer_rate(b: DeviceBench) -> float | None:
    """Return the images per second of certain labels in the usual way; None: not installed."""
    if not importlib.util.find_spec("pydensecrf"):
        say("left out: certain labels in the usual way; install pydensecrf2")
        return None
    processes = cluster.cores() if b.cuda else 1
    return peer_steps.certain_labels(b.files, b.folder / "kept", CUT.levels, processes)


def bench_labels(b: DeviceBench) -> None:
    """Measure certain labels of three labels an image: two starts of DenseCRF with ten steps."""
    maps, checked = write_drawn_maps(b), b.sizes.checked
    peer = peer_rate(b)
    expected = batched_labels.labels_of_batch(b.images[:checked], maps[:checked], CUT).numpy()
    images, group = b.images.to(b.device), Views().batch_size

    @torch.inference_mode()
    def label_batches() -> list[NDArray[np.uint8]]:
        starts = range(0, len(images), group)
        return [
            labels.cpu().numpy()
            for start in starts
            for labels in batched_labels.labels_of_batch(
                images[start : start + group], maps[start : start + group], CUT
            )
        ]

    with b.peak() as peak:
        rate = b.rate(len(images), label_batches)
    b.add(
        "certain labels of images in memory, 3 labels (share of pixels)",
        "images/s",
        rate,
        peer,
        difference=different(label_batches()[:checked], expected),
        allowed=DIFFERENT,
        **peak,
    )
    folder = LocalFolder(b.folder)
    files = {p.name: folder.subfolder("drawn") / f"{p.name}.parquet" for p in b.pieces}
    out, views = folder.subfolder("labels"), Views(actors=1)
    actor = batched_labels.Label(batched_labels.Job(cut=CUT, maps=files, folder=out, views=views))
    with b.peak() as peak:
        rate = b.rate(len(images), lambda: [actor.work(piece) for piece in b.pieces])
    written = label_maps.read(label_maps.file_of_slice(out, b.pieces[0]).local())
    b.add(
        "certain labels from JPEG files and class maps to PNG, 3 labels (share of pixels)",
        "images/s",
        rate,
        peer,
        difference=different([written[m.id] for m in maps[:checked]], expected),
        allowed=DIFFERENT,
        **peak,
    )


def bench_walk(b: DeviceBench) -> None:
    """Measure random walks of two class maps, alone and with the boundary network before them."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.from_numpy(drawn_maps(b)[0].planes).float()
    edge = torch.rand(maps.shape[1:], generator=rng) ** 3
    expected = random_walk(maps, edge)
    on_device = maps.to(b.device), edge.to(b.device)
    with b.peak() as peak:
        rate = b.rate(1, lambda: random_walk(*on_device))
    peer = b.rate(1, lambda: peer_steps.walk(*on_device))
    entries = transition_matrix(on_device[1][None]).values().numel()
    b.add(
        f"random walk of an image in memory, {edge.shape[0]} x {edge.shape[1]}, 2 maps (largest)",
        "images/s",
        rate,
        peer,
        limit=rate * 256 * (entries * 12 + maps.numel() * 16) / b.bandwidth,
        bound="a copy's bytes",
        difference=float((random_walk(*on_device).cpu() - expected).abs().max()),
        allowed=1e-4,
        **peak,
    )
    _bench_walk_files(b)


def walk_job(b: DeviceBench, name: str) -> propagation.Job:
    """Return the description of random walks whose maps are written to a folder of a name."""
    folder, network = LocalFolder(b.folder), Network(backbone=b.backbone)
    file = folder / "boundaries.pt"
    if not file.local().exists():
        boundary_net = build(network, Boundaries(), 0, 0)
        calibrate(boundary_net, normalized(b.images[:2]))
        torch.save(boundary_net.state_dict(), file.local())
    return propagation.Job(
        network=network,
        weights=file,
        maps=folder.subfolder("drawn"),
        folder=folder.subfolder(name),
        radius=5,
        beta=10.0,
        steps=256,
        power=1.0,
        background=False,
        views=Views(actors=1),
    )


def _bench_walk_files(b: DeviceBench) -> None:
    """Measure boundaries and walks from JPEG files and class maps to files of class maps."""
    actor = propagation.Walk(walk_job(b, "walked"))
    with b.peak() as peak:
        rate = b.rate(len(b.images), lambda: [actor.work(piece) for piece in b.pieces])
    with on_cpu():
        job = walk_job(b, "walked-cpu")
        reference = propagation.Walk(job)
    first = b.pieces[0]
    rows = shards.read(first, shards.INFERENCE_COLUMNS)[: b.sizes.checked]
    drawn = drawn_maps(b)[: len(rows)]
    expected = [maps.planes for _, (maps, _) in reference._results(rows, drawn)]
    file = label_maps.file_of_slice(actor.job.folder, first)
    written = [maps.planes for maps in class_maps.read([file.local()])]
    pairs = zip(written[: len(rows)], expected, strict=True)
    off = [np.abs(planes.astype(np.float32) - other).max() for planes, other in pairs]
    b.add(
        "boundaries and walks from JPEG files and class maps to Parquet files (largest)",
        "images/s",
        rate,
        None,
        difference=float(max(off)),
        allowed=0.05,
        **peak,
    )
