"""Rows of the measurement on one GPU for the training of a classifier and for class maps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from gpu_rows.device_bench import CPU, DeviceBench, calibrate, on_cpu, relative
from measure import say
from peers import peer_networks
from speed_table.networks import CLASSES, SCALES, work
from torch import Tensor
from wsss.methods.cam import CAM
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.transforms import normalized
from wsss.platform.errors import InputError
from wsss.platform.method import Batch
from wsss.platform.ops.maps import grid_size
from wsss.platform.stages.inference import class_maps as inference
from wsss.platform.stages.training.trainer import Job, Trainer, build
from wsss.platform.storage.artifact_files import ArtifactFile, LocalFolder
from wsss.platform.storage.local_storage import LocalStorage

METHOD = CAM(CAM.Config())


def training_batch(b: DeviceBench, count: int) -> Batch:
    """Return a batch of random images on the device."""
    rng = torch.Generator().manual_seed(0)
    side = b.sizes.side
    images = torch.randint(0, 256, (count, side, side, 3), generator=rng, dtype=torch.uint8)
    labels = (torch.rand(count, CLASSES, generator=rng) < 0.1).float()
    valid = torch.ones(count, side, side, dtype=torch.bool)
    return Batch(images=normalized(images), labels=labels, valid=valid).to(torch.device(b.device))


def trainer_of(b: DeviceBench, precision: str, compiled: bool, device: torch.device) -> Trainer:
    """Return a trainer whose learning rate is zero, so that all steps are equal."""
    sizes = b.sizes
    job = Job(
        learner=METHOD,
        network=Network(backbone=sizes.backbone),
        training=Training(
            batch_size=sizes.batch,
            crop=sizes.side,
            epochs=1000,
            lr=0.0,
            precision=precision,
            compiled=compiled,
        ),
        classes=CLASSES,
        slices=(shards.Slice(LocalFolder(b.folder) / "none", 0, sizes.batch * 1000),),
        seed=0,
        metrics=LocalStorage(b.folder).location("metrics.jsonl"),
    )
    trainer = Trainer(job, device, 0, 1)
    trainer.network.train()
    return trainer


def run_steps(trainer: Trainer, batch: Batch, count: int) -> None:
    """Train some steps, and read the numbers of each while the step after it computes."""
    unread = trainer.advance(batch)
    for _ in range(count - 1):
        result = trainer.advance(batch)
        trainer.read(unread)
        unread = result
    trainer.read(unread)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let convolutions of a GPU compute float32 without TF32 in a block."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def gradient(trainer: Trainer, batch: Batch) -> list[Tensor]:
    """Return the gradients of one step, in float32 without TF32."""
    with full_float32():
        trainer.read(trainer.advance(batch))
    return [p.grad.clone() for p in trainer.network.parameters() if p.grad is not None]


def peer_training(b: DeviceBench, batch: Batch) -> float:
    """Return the images a second of the usual training steps."""
    net = peer_networks.Net(b.backbone, CLASSES).to(b.device).train()
    calibrate(net, batch.images[:2])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, weight_decay=1e-4)

    def steps() -> None:
        for _ in range(b.sizes.steps):
            peer_networks.train_step(net, optimizer, batch.images, batch.labels)

    return b.rate(b.sizes.batch * b.sizes.steps, steps)


def bench_training(b: DeviceBench) -> None:
    """Measure training steps on images that are on the device already."""
    sizes, device = b.sizes, torch.device(b.device)
    batch, few = training_batch(b, sizes.batch), training_batch(b, 2)
    images, peer = sizes.batch * sizes.steps, peer_training(b, batch)
    reference = trainer_of(b, "fp32", False, CPU)
    calibrate(reference.network, few.images.cpu())
    expected = gradient(reference, few.to(CPU))
    kinds = [("fp32", False), ("bf16", False), ("bf16", True)]
    for precision, compiled in kinds if sizes.compiled else kinds[:2]:
        trainer = trainer_of(b, precision, compiled, device)
        trainer.network.load_state_dict(reference.network.state_dict())
        try:
            result = gradient(trainer, few)
            with b.peak() as peak:
                rate = b.rate(images, lambda t=trainer: run_steps(t, batch, sizes.steps))
        except InputError as error:
            say(f"left out: {error}")
            continue
        share = rate * 3 * work(b, (sizes.side, sizes.side)) / b.flops[precision]
        b.add(
            f"training step, {sizes.backbone}, {sizes.side} pixels, {precision}"
            f"{', compiled' if compiled else ''} (gradients)",
            "images/s",
            rate,
            peer,
            limit=share,
            bound=f"{precision} convolutions",
            difference=relative(result, expected),
            allowed=0.01 if precision == "fp32" else 0.4,
            **peak,
        )


def weight_file(b: DeviceBench) -> ArtifactFile:
    """Write the weights of a random network and return their file."""
    file = LocalFolder(b.folder) / "network.pt"
    if not file.local().exists():
        network = build(Network(backbone=b.backbone), METHOD, CLASSES, 0)
        calibrate(network, normalized(b.images[:2]))
        torch.save(network.state_dict(), file.local())
    return file


def maps_job(b: DeviceBench, precision: str, name: str) -> inference.Job:
    """Return the description of class maps that are written to a folder of a name."""
    return inference.Job(
        trained=METHOD,
        method=METHOD,
        network=Network(backbone=b.backbone),
        classes=CLASSES,
        weights=weight_file(b),
        views=Views(scales=SCALES, precision=precision, actors=1),
        folder=LocalFolder(b.folder).subfolder(name),
        keep_features=False,
    )


def maps_of_batches(actor: inference.Infer, views: Sequence[Sequence[Tensor]], b: DeviceBench):
    """Return the class maps `[B,N,h,w]` of batches of all scales, which are on the device."""
    labels = torch.zeros(1, CLASSES)
    with torch.inference_mode():
        planes = [
            torch.cat([METHOD.localize(actor.network, batch, labels) for batch in batches])
            for batches in views
        ]
        return inference.merged(planes, grid_size(b.sizes.height, b.sizes.width))


def views_of(actor: inference.Infer, images: Tensor) -> list[list[Tensor]]:
    """Return the batches of each scale of images `[B,H,W,3]`."""
    return [list(actor.scaled(list(images.numpy()), scale)) for scale in SCALES]


def peer_class_maps(b: DeviceBench, batches: Sequence[Sequence[Tensor]]) -> float:
    """Return the images a second of class maps in the usual way, one image at a time.

    Args:
        b: the measurement.
        batches: normalised images of each scale.
    """
    net = peer_networks.Net(b.backbone, CLASSES).to(b.device).eval()
    calibrate(net, normalized(b.images[:2]).to(b.device))
    images = list(zip(*(torch.cat(list(scale)).split(1) for scale in batches), strict=True))
    pairs = [[torch.cat([v, v.flip(-1)]).to(b.device) for v in views] for views in images]
    size = b.sizes.height, b.sizes.width

    def run() -> None:
        for views in pairs:
            peer_networks.class_map_arrays(net, views, size, 0)

    return b.rate(len(pairs), run)


def bench_class_maps(b: DeviceBench) -> None:
    """Measure class maps at four scales with mirror images, without and with their files."""
    with on_cpu():
        reference = inference.Infer(maps_job(b, "fp32", "maps-cpu"))
    expected = maps_of_batches(reference, views_of(reference, b.images[: b.sizes.checked]), b)
    size = b.sizes.height, b.sizes.width
    peer = peer_class_maps(b, views_of(reference, b.images))
    sides = [(round(size[0] * scale), round(size[1] * scale)) for scale in SCALES]
    flops = 2 * work(b, *sides)
    kinds = [("fp32", False), ("bf16", False), ("bf16", True)]
    for precision, compiled in kinds if b.sizes.compiled else kinds[:2]:
        actor = inference.Infer(maps_job(b, precision, f"maps-{precision}"))
        if compiled:
            actor.network.backbone.compile(dynamic=True)
        few, views = (views_of(actor, images) for images in (b.images[: b.sizes.checked], b.images))
        try:
            result = maps_of_batches(actor, few, b)
            with b.peak() as peak:
                rate = b.rate(len(b.images), lambda a=actor, v=views: maps_of_batches(a, v, b))
        except Exception as error:
            if not compiled:
                raise
            say(f"left out: compiled class maps, {type(error).__name__}: {error}"[:300])
            continue
        del views
        b.add(
            f"class maps of images in memory, {precision}{', compiled' if compiled else ''} (mean)",
            "images/s",
            rate,
            peer,
            limit=rate * flops / b.flops[precision],
            bound=f"{precision} convolutions",
            difference=float((result - expected).abs().mean()),
            allowed=0.002 if precision == "fp32" else 0.02,
            **peak,
        )
    _bench_map_files(b, expected)


def _bench_map_files(b: DeviceBench, expected: Tensor) -> None:
    """Measure class maps from JPEG files to files of class maps."""
    out = b.folder / "peer-maps"
    out.mkdir()
    peer = peer_networks.infer(b.files, b.backbone, CLASSES, SCALES, out, b.device)
    actor = inference.Infer(maps_job(b, "bf16", "map-files"))
    with b.peak() as peak:
        rate = b.rate(len(b.images), lambda: [actor.work(piece) for piece in b.pieces])
    written = [m for m in stored_maps(b) if m.classes][: b.sizes.checked]
    off = [
        torch.from_numpy(maps.planes).float() - planes[[c - 1 for c in maps.classes]]
        for maps, planes in zip(written, expected, strict=True)
    ]
    b.add(
        "class maps from JPEG files to Parquet files, bf16 (mean)",
        "images/s",
        rate,
        peer,
        difference=max(float(part.abs().mean()) for part in off),
        allowed=0.02,
        **peak,
    )


def stored_maps(b: DeviceBench) -> list[ClassMaps]:
    """Return the class maps that the last row of `bench_class_maps` wrote, in order."""
    folder = LocalFolder(b.folder).subfolder("map-files")
    files = [folder / f"{piece.name}.parquet" for piece in b.pieces]
    return list(class_maps.read(file.local() for file in files))


def drawn_maps(b: DeviceBench, classes: int = 2) -> list[ClassMaps]:
    """Return smooth class maps of two classes of every image, in the order of the slices."""
    rng = torch.Generator().manual_seed(0)
    out = []
    for maps in stored_maps(b):
        coarse = torch.rand(1, classes, 12, 16, generator=rng)
        grid = grid_size(maps.height, maps.width)
        planes = torch.nn.functional.interpolate(coarse, grid, mode="bicubic").clamp(0, 1)[0]
        values = tuple(range(1, classes + 1))
        out.append(replace(maps, classes=values, planes=planes.half().numpy()))
    return out
