"""Training rows, streamed: one Ray Data pipeline over all remaining epochs, in a fixed order.

Each worker streams its own share. Order and augmentation follow from (seed, epoch, image id), so
training that resumes at an epoch sees just what it would have seen. Row: one augmented image.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.formats import class_maps, label_maps
from ...data.formats.class_maps import COARSE
from ...data.formats.shards import TRAINING_COLUMNS, Slice, multi_hot, read
from ...data.images import decode_image
from ...data.transforms import Crop, drawn, generator, normalized, placed, placed_maps, valid_pixels
from ...method import OUTSIDE, Batch

Columns = dict[str, NDArray[Any]]
ROWS_PER_TASK = 64
MOST_PIECES = 100_000
"""Row ranges that are planned together; what an execution is planned with stays in memory."""
CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which rows one worker sees.

    Attributes:
        slices: of the split.
        classes: N.
        batch_size: rows a step, of this worker.
        crop: the augmentation.
        seed: of order and augmentation.
        rank, world: this worker, and how many there are.
        shuffle_rows: rows held for local shuffling.
        planes: folder of the integer planes that batches carry, if any.
        probabilities: folder of the class maps of all classes that batches carry, if any.
    """

    slices: tuple[Slice, ...]
    classes: int
    batch_size: int
    crop: Crop
    seed: int
    rank: int = 0
    world: int = 1
    shuffle_rows: int = 256
    planes: str = ""
    probabilities: str = ""

    @property
    def steps(self) -> int:
        """Steps an epoch, the same on every worker; the rest is dropped."""
        return sum(s.rows for s in self.slices) // self.world // self.batch_size

    def pieces(self, epoch: int) -> list[dict[str, Any]]:
        """The row ranges of one epoch: slices in random order, cut evenly among workers."""
        order = list(self.slices)
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        share = sum(s.rows for s in order) // self.world
        first, last = self.rank * share, (self.rank + 1) * share
        out, at = [], 0
        for s in order:
            start, stop = max(first, at), min(last, at + s.rows)
            if start < stop:
                out.append(
                    {
                        "path": s.path,
                        "group": s.group,
                        "rows": s.rows,
                        "start": start - at,
                        "stop": stop - at,
                        "epoch": epoch,
                        "plane": self.planes and label_maps.file_of(self.planes, s),
                        "probabilities": self.probabilities
                        and label_maps.file_of(self.probabilities, s),
                    }
                )
            at += s.rows
        return out


def load_rows(pieces: Columns, classes: int, crop: Crop, seed: int) -> Columns:
    """Reads, decodes and augments the rows of some pieces; runs in Ray Data tasks."""
    out: dict[str, list[Any]] = {}
    for number in range(len(pieces["path"])):
        of = {k: v[number] for k, v in pieces.items()}
        piece = Slice(str(of["path"]), int(of["group"]), int(of["rows"]))
        beside = label_maps.read(Path(str(of["plane"]))) if of["plane"] else {}
        shares = probabilities(Path(str(of["probabilities"]))) if of["probabilities"] else {}
        for row in read(piece, TRAINING_COLUMNS)[int(of["start"]) : int(of["stop"])]:
            image = decode_image(row["image"], row["id"])
            rng = generator(seed, int(of["epoch"]), row["id"])
            place = drawn(image.shape[0], image.shape[1], rng, crop)
            found = {
                "image": placed(image, place, crop.side),
                "labels": multi_hot(row["labels"], classes),
                "rectangle": place.rectangle,
                "epoch": int(of["epoch"]),
            }
            if beside:
                found["plane"] = placed(beside[row["id"]], place, crop.side, OUTSIDE)
            if shares:
                found["probabilities"] = placed_maps(shares[row["id"]], place, crop.side, COARSE)
            for name, value in found.items():
                out.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in out.items()}


def probabilities(path: Path) -> dict[str, NDArray[np.float16]]:
    """The class maps of all classes `[N+1,h,w]` of a file, by image id."""
    return {m.id: m.planes for m in class_maps.read([path])}


def blocks(plan: Plan, epochs: Sequence[int]) -> Iterator[Columns]:
    """Blocks of augmented rows of all `epochs`, in order, from one Ray Data execution for as many
    epochs as MOST_PIECES allow."""
    together = max(1, MOST_PIECES // max(1, len(plan.slices)))
    for start in range(0, len(epochs), together):
        yield from _execution(plan, epochs[start : start + together])


def _execution(plan: Plan, epochs: Sequence[int]) -> Iterator[Columns]:
    import ray.data

    pieces = [piece for epoch in epochs for piece in plan.pieces(epoch)]
    if not pieces:  # of a training that had ended before
        return
    count = max(1, sum(p["stop"] - p["start"] for p in pieces) // ROWS_PER_TASK)
    load = partial(load_rows, classes=plan.classes, crop=plan.crop, seed=plan.seed)
    rows = ray.data.from_items(pieces, override_num_blocks=min(count, len(pieces))).map_batches(
        load, batch_size=None, batch_format="numpy"
    )
    yield from rows.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=2)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before is used."""
    found, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, found, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, found, end)
            yield item  # type: ignore[misc]


def batches(
    plan: Plan, epochs: Sequence[int], device: torch.device = CPU
) -> Iterator[tuple[int, Batch]]:
    """`(epoch, batch)` for each step of `epochs`; every epoch has `plan.steps` of them. On a GPU
    the next is on its way while one is used; on a CPU that would only take cores away."""
    found = _batches(plan, epochs, device)
    return ahead(found) if device.type == "cuda" else found


def _batches(
    plan: Plan, epochs: Sequence[int], device: torch.device
) -> Iterator[tuple[int, Batch]]:
    held: list[dict[str, Any]] = []
    now, step = -1, 0
    rng = random.Random()

    def drain(until: int) -> Iterator[tuple[int, Batch]]:
        nonlocal step
        while len(held) >= max(until, plan.batch_size) and step < plan.steps:
            rng.shuffle(held)
            rows = [held.pop() for _ in range(plan.batch_size)]
            step += 1
            yield now, collate(rows, plan.crop.side, device)

    for block in blocks(plan, epochs):
        for number, epoch in enumerate(block["epoch"].tolist()):
            if epoch != now:
                yield from drain(0)
                held.clear()
                now, step = epoch, 0
                rng.seed(f"{plan.seed} {now} {plan.rank}")
            held.append({k: v[number] for k, v in block.items()})
            yield from drain(plan.shuffle_rows)
    yield from drain(0)


def collate(rows: Sequence[Mapping[str, Any]], side: int, device: torch.device = CPU) -> Batch:
    """Rows of `load_rows` as one batch on a device, which gets bytes and normalises there."""

    def there(name: str) -> torch.Tensor:
        column = torch.from_numpy(np.stack([row[name] for row in rows]))
        column = column.pin_memory() if device.type == "cuda" else column
        return column.to(device, non_blocking=True)

    columns = {name: there(name) for name in rows[0] if name != "epoch"}
    valid = valid_pixels(columns["rectangle"], side)
    beside = {"plane": torch.long, "probabilities": torch.float32}
    return Batch(
        images=normalized(columns["image"]) * valid.unsqueeze(1),
        labels=columns["labels"],
        valid=valid,
        **{k: columns[k].to(kind) for k, kind in beside.items() if k in columns},
    )
