"""Data sets as `wsss data` leaves them, written without Ray from drawn images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from drawn_records import HOSTILE, QUOTES
from PIL import Image
from wsss.platform.data.formats import shards
from wsss.platform.data.images import decode_image
from wsss.platform.data.sources.source import Item, Record
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.artifact_files import ArtifactFolder
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store

HOSTILE_NAMES = (HOSTILE, QUOTES, "</style>", "x" * 200, *(f"class {k}" for k in range(86)))
"""Ninety class names, some of them attacks."""


class Drawn:
    """A source of one image a class and split, whose masks show a square of the class.

    Args:
        classes: class names.
        masks: whether images have masks.
    """

    name = "folder"

    def __init__(self, classes: tuple[str, ...], masks: bool = True) -> None:
        self.classes, self.masks = classes, masks
        self.splits = {"train": ("train",), "val": ("val",)}

    def items(self) -> list[Item]:
        return [
            Item(
                id=f"{split}-{k}", split=split, labels=(k,), image=f"images/{split}-{k}.jpg", seed=k
            )
            for split in self.splits
            for k in range(len(self.classes))
            for id in [f"{split}-{k}"]
        ]

    def load(self, item: Item) -> Record:
        seed = item.seed + 1000 * (item.split == "val")
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 10:30] = item.labels[0] + 1
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG")
        return Record(
            id=item.id,
            image=out.getvalue(),
            pixels=decode_image(out.getvalue(), item.id),
            labels=item.labels,
            mask=mask if self.masks else None,
            split=item.split,
        )

    def notes(self) -> list[str]:
        return [f"the list was read as {HOSTILE}"]

    def settings(self) -> dict[str, object]:
        return {"list": QUOTES}

    def fingerprint(self) -> str:
        return str(len(self.classes)) + str(self.masks)


def add_dataset(store: Store, name: str, source: Any, **changes: Any) -> str:
    """Write a data set as `wsss data` leaves it and return the key of its shards."""

    def write(folder: ArtifactFolder) -> dict[str, Any]:
        items = source.items()
        results = [
            shards.write_shard(folder / file, source, members, False)
            for file, members in shards.split_into_shards(items)
        ]
        entries = shards.manifest_entries(source, shards.conversion_of(source, items, results))
        return {k: v for k, v in {**entries, **changes}.items() if v is not None}

    stage = Stage(name="shards", version=1, config={"name": name}, title=name)
    key = store.get(stage, write)[0].key
    write_json(store.location("data", f"{name}.json"), {"key": key, "source": source.name})
    return key
