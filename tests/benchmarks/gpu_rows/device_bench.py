"""Sizes, data and timing of the measurement on one GPU, see `gpu.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from measure import photographs, say
from speed_table.rows import HEAD, Bench
from torch import Tensor, nn
from wsss.platform.data.formats import shards
from wsss.platform.data.sources.folder import Folder
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.schema import SpeedRow
from wsss.platform.stages.inference import actors
from wsss.platform.storage.artifact_files import LocalFolder

CPU = torch.device("cpu")
BRANCH = 0.1
"""Scale of the last batch normalisation of a bottleneck."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the data of a measurement.

    Attributes:
        backbone: the network's backbone.
        images, height, width: number and size of the photographs.
        checked: number of photographs whose results are compared with those of a CPU.
        batch, side, steps: images of a training step, their side, steps of one repeat.
        repeats: times that each measurement is repeated, of which the median counts.
        features, channels, clusters: features to cluster, their width, number of centres.
        rate_size, copy_bytes: see `Bench`.
        compiled: whether compiled networks are measured too.
    """

    backbone: str
    images: int
    height: int
    width: int
    checked: int
    batch: int
    side: int
    steps: int
    repeats: int
    features: int
    channels: int
    clusters: int
    rate_size: tuple[int, int]
    copy_bytes: int
    compiled: bool


FULL = Sizes(
    backbone="resnet50",
    images=64,
    height=375,
    width=500,
    checked=2,
    batch=16,
    side=512,
    steps=10,
    repeats=5,
    features=2_000_000,
    channels=2048,
    clusters=12,
    rate_size=(64, 64),
    copy_bytes=1 << 28,
    compiled=True,
)
SMALL = Sizes(
    backbone="small",
    images=2,
    height=27,
    width=36,
    checked=1,
    batch=2,
    side=32,
    steps=1,
    repeats=1,
    features=2000,
    channels=16,
    clusters=3,
    rate_size=(1, 8),
    copy_bytes=1 << 20,
    compiled=False,
)


@dataclass
class DeviceBench(Bench):
    """Rows of the measurement on one device, and the data that they share."""

    sizes: Sizes = field(kw_only=True, default=SMALL)

    @property
    def backbone(self) -> str:
        return self.sizes.backbone

    @property
    def rate_size(self) -> tuple[int, int]:
        return self.sizes.rate_size

    @property
    def copy_bytes(self) -> int:
        return self.sizes.copy_bytes

    @cached_property
    def files(self) -> list[Path]:
        """JPEG files of generated photographs."""
        size = self.sizes.height, self.sizes.width
        photographs(self.folder / "photos", self.sizes.images, *size)
        return sorted((self.folder / "photos" / "images").glob("*.jpg"))

    @cached_property
    def pieces(self) -> list[shards.Slice]:
        """Slices of shards with the same images, written without Ray."""
        assert self.files
        source, out = Folder(self.folder / "photos"), []
        folder = LocalFolder(self.folder).subfolder("shards")
        for name, items in shards.split_into_shards(source.items()):
            shards.write_shard(folder / name, source, items, False)
            for group, start in enumerate(range(0, len(items), shards.ROWS_PER_GROUP)):
                count = min(shards.ROWS_PER_GROUP, len(items) - start)
                out.append(shards.Slice(folder / name, group, count))
        return out

    @cached_property
    def images(self) -> Tensor:
        """The photographs, uint8 `[B,H,W,3]` on the CPU, in the order of the slices."""
        rows = [row for piece in self.pieces for row in shards.read(piece, ("id", "image"))]
        decoded = [torch.from_numpy(actors.decode_image(r["image"], r["id"])) for r in rows]
        return torch.stack(decoded)

    def rate(self, images: int, action: Callable[[], object]) -> float:
        """Return the images a second of an action on some images, after a warm-up."""
        return images / self.clock(action, self.sizes.repeats)

    @contextlib.contextmanager
    def peak(self) -> Iterator[dict[str, int]]:
        """Measure the largest memory of the GPU in a block; `memory` of a row, empty on a CPU."""
        measured: dict[str, int] = {}
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        yield measured
        if self.cuda:
            torch.cuda.synchronize()
            measured["memory"] = torch.cuda.max_memory_allocated()

    def add(self, stage: str, unit: str, ours: float, peer: float | None, **more: Any) -> None:
        """Add a row; the time since the start and the difference are printed under it."""
        if not self.rows:
            say(HEAD)
        super().add(stage, unit, ours, peer, **more)
        row = self.rows[-1]
        spent = f"{(datetime.now(UTC) - self.started).total_seconds():.0f} s since the start"
        memory = "" if row.memory is None else f"{row.memory / 2**30:.2f} GiB of the GPU; "
        say(f"    difference {row.difference:.1e} of at most {row.allowed:.0e}; {memory}{spent}")

    @staticmethod
    def agrees(row: SpeedRow) -> bool:
        """Return whether the result of a row is close enough to that of the CPU."""
        assert row.difference is not None
        assert row.allowed is not None
        return row.difference <= row.allowed


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Let the actors that are made in a block compute on the CPU, on all its cores."""
    threads = torch.get_num_threads()
    with mock.patch.object(actors, "device", return_value=CPU):
        torch.set_num_threads(cluster.cores())
        yield
    torch.set_num_threads(threads)


@torch.no_grad()
def calibrate(network: nn.Module, images: Tensor) -> None:
    """Give a random network the activations of a trained one, so that rounding errors do not grow.

    The residual branches of a ResNet with bottlenecks add little (`BRANCH`), and all batch
    normalisations have the statistics of images `[B,3,H,W]`.
    """
    for name, module in network.named_modules():
        if name.endswith("bn3"):
            module.weight.fill_(BRANCH)  # type: ignore[operator, union-attr]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    modes = [(norm, norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # type: ignore[assignment]
        norm.train()
    network(images)
    for norm, training, momentum in modes:
        norm.train(training)
        norm.momentum = momentum


def relative(result: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the length of the difference of two lists of tensors, as a share of the length."""
    pairs = list(zip(result, expected, strict=True))
    off = sum(float((a.double().cpu() - b.double().cpu()).square().sum()) for a, b in pairs)
    whole = sum(float(b.double().square().sum()) for _, b in pairs)
    return (off / whole) ** 0.5
