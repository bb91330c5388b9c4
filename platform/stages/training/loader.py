"""Training batches from shards: one Ray Data pipeline over all remaining epochs, in a fixed order.

Each worker reads its own share of the rows. Order and augmentation follow from (seed, epoch, image
id), so a training that resumes at an epoch gets exactly the batches of an undisturbed one. A row of
the pipeline is one augmented image.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.formats import class_maps, label_maps
from ...data.formats.class_maps import PROBABILITY_STRIDE
from ...data.formats.shards import TRAINING_COLUMNS, Slice, multi_hot, read
from ...data.images import decode_image
from ...data.transforms import (
    Crop,
    crop_image,
    crop_maps,
    normalized,
    random_generator,
    random_placement,
    valid_pixels,
)
from ...method import PADDING, Batch
from ...ray_runtime.worker_errors import sendable, unwrapped
from ...storage.artifact_files import ArtifactFolder

Columns = dict[str, NDArray[Any]]
ROWS_PER_TASK = 64
LOADING_CPUS = 0.8
"""CPUs that a task which loads rows reserves.

It is less than the CPU that `cluster.check_workers` leaves, because the trials of a sweep may take
some hundredths of it."""
MOST_PIECES = 100_000
"""Most row ranges of one Ray Data execution, because its plan stays in memory."""
CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows and options of one worker.

    Attributes:
        slices: slices of the split.
        classes: N, the number of foreground classes.
        batch_size: images of this worker in one step.
        crop: options of the augmentation.
        seed: seed of order and augmentation.
        rank: number of this worker.
        world: number of workers.
        shuffle_rows: rows in memory that a batch is drawn from.
        planes: folder of the integer planes that batches carry; None for none.
        probabilities: folder of the class maps of all classes that batches carry; None for none.
    """

    slices: tuple[Slice, ...]
    classes: int
    batch_size: int
    crop: Crop
    seed: int
    rank: int = 0
    world: int = 1
    shuffle_rows: int = 256
    planes: ArtifactFolder | None = None
    probabilities: ArtifactFolder | None = None

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on every worker; a last batch that is not full is dropped."""
        return sum(s.rows for s in self.slices) // self.world // self.batch_size

    @property
    def loading(self) -> Loading:
        """The folders and options that all row ranges share."""
        return Loading(
            shards=self.slices[0].file.folder,
            classes=self.classes,
            crop=self.crop,
            seed=self.seed,
            planes=self.planes,
            probabilities=self.probabilities,
        )

    def pieces(self, epoch: int) -> list[dict[str, Any]]:
        """Return the row ranges of one epoch, of slices in random order.

        The rows are cut evenly among the workers."""
        order = list(self.slices)
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        share = sum(s.rows for s in order) // self.world
        first, last = self.rank * share, (self.rank + 1) * share
        ranges, offset = [], 0
        for s in order:
            start, stop = max(first, offset), min(last, offset + s.rows)
            if start < stop:
                ranges.append(
                    {
                        "file": s.file.name,
                        "group": s.group,
                        "rows": s.rows,
                        "start": start - offset,
                        "stop": stop - offset,
                        "epoch": epoch,
                    }
                )
            offset += s.rows
        return ranges


@dataclass(frozen=True, kw_only=True)
class Loading:
    """The folders and options of `load_rows`, which all row ranges share.

    Attributes:
        shards: folder of the shards.
        classes, crop, seed, planes, probabilities: see `Plan`.
    """

    shards: ArtifactFolder
    classes: int
    crop: Crop
    seed: int
    planes: ArtifactFolder | None = None
    probabilities: ArtifactFolder | None = None


def load_rows(pieces: Columns, loading: Loading) -> Columns:
    """Read, decode and augment the rows of some row ranges; runs in Ray Data tasks.

    Args:
        pieces: columns of `Plan.pieces`.
        loading: folders and options.

    Returns:
        Columns with one entry for each image.
    """
    crop = loading.crop
    examples: dict[str, list[Any]] = {}
    for index in range(len(pieces["file"])):
        columns = {name: values[index] for name, values in pieces.items()}
        file = loading.shards / str(columns["file"])
        piece = Slice(file, int(columns["group"]), int(columns["rows"]))
        planes = _planes(loading.planes, piece)
        shares = _probabilities(loading.probabilities, piece)
        for row in read(piece, TRAINING_COLUMNS)[int(columns["start"]) : int(columns["stop"])]:
            image = decode_image(row["image"], row["id"])
            rng = random_generator(loading.seed, int(columns["epoch"]), row["id"])
            place = random_placement(image.shape[0], image.shape[1], rng, crop)
            example = {
                "image": crop_image(image, place, crop.side),
                "labels": multi_hot(row["labels"], loading.classes),
                "rectangle": place.rectangle,
                "epoch": int(columns["epoch"]),
            }
            if planes:
                example["plane"] = crop_image(planes[row["id"]], place, crop.side, PADDING)
            if shares:
                example["probabilities"] = crop_maps(
                    shares[row["id"]], place, crop.side, PROBABILITY_STRIDE
                )
            for name, value in example.items():
                examples.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in examples.items()}


def _planes(folder: ArtifactFolder | None, piece: Slice) -> dict[str, label_maps.Plane]:
    """Return the integer planes of a slice by image id; empty without a folder of them."""
    return label_maps.read(label_maps.file_of_slice(folder, piece).local()) if folder else {}


def _probabilities(folder: ArtifactFolder | None, piece: Slice) -> dict[str, NDArray[np.float16]]:
    """Return the class maps of all classes `[N+1,h,w]` of a slice, like `_planes`."""
    paths = [label_maps.file_of_slice(folder, piece).local()] if folder else []
    return {maps.id: maps.planes for maps in class_maps.read(paths)}


def blocks(plan: Plan, epochs: Sequence[int]) -> Iterator[Columns]:
    """Yield blocks of augmented rows of all `epochs`, in order.

    One Ray Data execution covers as many epochs as `MOST_PIECES` allows."""
    epochs_at_once = max(1, MOST_PIECES // max(1, len(plan.slices)))
    for start in range(0, len(epochs), epochs_at_once):
        yield from _execution(plan, epochs[start : start + epochs_at_once])


def _execution(plan: Plan, epochs: Sequence[int]) -> Iterator[Columns]:
    import ray.data

    pieces = [piece for epoch in epochs for piece in plan.pieces(epoch)]
    if not pieces:  # the training is complete
        return
    count = max(1, sum(p["stop"] - p["start"] for p in pieces) // ROWS_PER_TASK)
    load = partial(load_rows, loading=plan.loading)
    rows = ray.data.from_items(pieces, override_num_blocks=min(count, len(pieces))).map_batches(
        sendable(load), batch_size=None, batch_format="numpy", num_cpus=LOADING_CPUS
    )
    with unwrapped():
        yield from rows.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=2)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the same items, each made in a thread while the item before it is in use."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        next_item = pool.submit(next, iterator, end)
        while (item := next_item.result()) is not end:
            next_item = pool.submit(next, iterator, end)
            yield item  # type: ignore[misc]


def batches(
    plan: Plan, epochs: Sequence[int], device: torch.device = CPU
) -> Iterator[tuple[int, Batch]]:
    """Yield `(epoch, batch)` for each step of `epochs`; every epoch has `plan.steps` steps.

    On a GPU the next batch is copied while one is in use. On a CPU that would only take cores away.

    Args:
        plan: rows and options of this worker.
        epochs: numbers of the epochs.
        device: device that the batches are copied to.
    """
    iterator = _batches(plan, epochs, device)
    return ahead(iterator) if device.type == "cuda" else iterator


def _batches(
    plan: Plan, epochs: Sequence[int], device: torch.device
) -> Iterator[tuple[int, Batch]]:
    waiting: list[dict[str, Any]] = []
    current, step = -1, 0
    rng = random.Random()

    def drain(least: int) -> Iterator[tuple[int, Batch]]:
        nonlocal step
        while len(waiting) >= max(least, plan.batch_size) and step < plan.steps:
            rng.shuffle(waiting)
            rows = [waiting.pop() for _ in range(plan.batch_size)]
            step += 1
            yield current, collate(rows, plan.crop.side, device)

    for block in blocks(plan, epochs):
        for number, epoch in enumerate(block["epoch"].tolist()):
            if epoch != current:
                yield from drain(0)
                waiting.clear()
                current, step = epoch, 0
                rng.seed(f"{plan.seed} {current} {plan.rank}")
            waiting.append({name: values[number] for name, values in block.items()})
            yield from drain(plan.shuffle_rows)
    yield from drain(0)


def collate(rows: Sequence[Mapping[str, Any]], side: int, device: torch.device = CPU) -> Batch:
    """Return rows of `load_rows` as one batch on a device.

    The images are copied as bytes and normalised on the device.

    Args:
        rows: one mapping for each image.
        side: side of the square crop in pixels.
        device: device that the batch is copied to.
    """

    def on_device(name: str) -> torch.Tensor:
        column = torch.from_numpy(np.stack([row[name] for row in rows]))
        column = column.pin_memory() if device.type == "cuda" else column
        return column.to(device, non_blocking=True)

    columns = {name: on_device(name) for name in rows[0] if name != "epoch"}
    valid = valid_pixels(columns["rectangle"], side)
    dtypes = {"plane": torch.long, "probabilities": torch.float32}
    return Batch(
        images=normalized(columns["image"]) * valid.unsqueeze(1),
        labels=columns["labels"],
        valid=valid,
        **{name: columns[name].to(dtype) for name, dtype in dtypes.items() if name in columns},
    )
