"""Data and timing for the rows of the speed table: images, shards, limits of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from measure import photographs, say, seconds
from wsss.platform.data import registry
from wsss.platform.data.formats import shards
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.sources.folder import Folder
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.schema import SpeedRow
from wsss.platform.storage.store import Store

WAVES = 3
"""Slices of images that each core gets in the larger of two calls."""


@dataclass
class Bench:
    """Rows of the speed table, and the data and limits that the rows share."""

    folder: Path
    rows: list[SpeedRow] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

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
    def rate_size(self) -> tuple[int, int]:
        """Number and side in positions of the images of the convolution that measures the limit."""
        return 8, 64

    @property
    def copy_bytes(self) -> int:
        """Bytes of the copy that measures the limit."""
        return 1 << 28

    @property
    def actors(self) -> int:
        cluster.connect()
        return cluster.gpus() or cluster.cores()

    @property
    def few(self) -> int:
        """Number of images that gives each core one slice."""
        return shards.ROWS_PER_GROUP * cluster.cores()

    @property
    def many(self) -> int:
        """Number of images that gives each core `WAVES` slices."""
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
        """Slices of the shards with the same images."""
        assert self.files
        cluster.connect()
        source = Folder(self.folder / "photos")
        dataset, _ = registry.add(Store(self.folder / "store"), source, "photos", ProgressDisplay())
        return list(slices(dataset, "train"))

    @cached_property
    def flops(self) -> dict[str, float]:
        """Floating-point operations a second of large convolutions, by precision; fp32 on a GPU
        is TF32, as in networks."""
        rates = {}
        for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            conv = torch.nn.Conv2d(512, 512, 3, padding=1, bias=False)
            conv = conv.to(self.device, kind, memory_format=torch.channels_last)
            count, side = self.rate_size
            x = torch.randn(count, 512, side, side, device=self.device, dtype=kind)
            x = x.to(memory_format=torch.channels_last)
            with torch.no_grad():
                elapsed = self.clock(lambda c=conv, x=x: c(x), 5)  # type: ignore[misc]
            rates[name] = 2 * x.numel() * conv.weight.numel() / len(conv.weight) / elapsed
        return rates

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second that a copy reads and writes."""
        source = torch.zeros(self.copy_bytes, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * len(source) / self.clock(lambda: target.copy_(source), 5)

    def clock(self, action: Callable[[], object], repeats: int = 1) -> float:
        """Return the median seconds of an action after one warm-up call, work on a GPU included."""

        def finish() -> None:
            action()
            if self.cuda:
                torch.cuda.synchronize()

        finish()
        return seconds(finish, repeats)

    def add(self, stage: str, unit: str, ours: float, peer: float | None, **limit: Any) -> None:
        row = SpeedRow(stage=stage, unit=unit, ours=ours, peer=peer, **limit)
        self.rows.append(row)
        say(line(row))


HEAD = f"{'stage':40} {'ours':>9} {'usual':>9} {'ratio':>7}  share of the limit"


def line(row: SpeedRow) -> str:
    peer = f"{row.peer:9.2f}" if row.peer else f"{'':>9}"
    ratio = f"{row.ours / row.peer:7.2f}" if row.peer else f"{'':>7}"
    limit = f"{row.limit:.2f} of {row.bound}" if row.limit is not None else ""
    return f"{row.stage:40} {row.ours:9.2f} {peer} {ratio}  {limit} ({row.unit})"


def steady_rate(run: Callable[[int], float], b: Bench) -> float:
    """Return the images a second after the start, from the additional time of the larger call."""
    extra = run(b.many) - run(b.few)
    if extra <= 0:
        raise RuntimeError(f"{b.many} images take no longer than {b.few}: raise rows.WAVES")
    return (b.many - b.few) / extra


def elapsed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
