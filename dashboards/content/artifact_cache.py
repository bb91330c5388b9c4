"""Images, masks, class maps and labels of a store's artifacts, slice by slice and by image."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ...platform.data.formats import class_maps, label_maps, prototype_patches, shards
from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.formats.prototype_patches import Patch
from ...platform.data.formats.shards import Slice
from ...platform.errors import InputError
from ...platform.storage.store import Store
from .layers import Mask

IMAGE = ("id", "image", "height", "width", "labels", "mask")
Value = TypeVar("Value")
SHOWN = 6
"""Patches of a prototype that pages show, of as many images."""
KEPT = 32
"""Slices of each kind that are kept in memory."""


class ByImage(dict[str, Value]):
    """What an artifact holds of each image; InputError for an image that it lacks, as an artifact
    of another data set does."""

    def __missing__(self, id: str) -> Value:
        raise InputError(f"an artifact lacks image {id}: it is of another data set")


class ArtifactCache:
    """Reads artifacts; safe for several threads. What was read last stays in memory."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.forget()

    def forget(self) -> None:
        """Reads everything again: what was open may lie in quarantine, and something else in its
        place."""
        store = self.store
        self.unkept: dict[str, dict[str, list[float]]] = {}
        """What was computed for a store that cannot be written, by key."""
        self.open = lru_cache(maxsize=None)(store.open)
        self.pieces = lru_cache(maxsize=None)(self._pieces)
        self.members = lru_cache(maxsize=None)(self._members)
        self.places = lru_cache(maxsize=None)(self._places)
        self.patches = lru_cache(maxsize=KEPT)(self._patches)
        self.images = lru_cache(maxsize=KEPT)(self._images)
        self.maps = lru_cache(maxsize=KEPT)(self._maps)
        self.labels = lru_cache(maxsize=KEPT)(self._labels)
        self.edges = lru_cache(maxsize=KEPT)(self._edges)

    def _pieces(self, key: str, split: str) -> list[Slice]:
        """The slices of a split of the data set `key`."""
        return shards.slices(self.open("shards", key), split)

    def _members(self, key: str) -> dict[Slice, list[str]]:
        """The images of each slice of the data set `key`, in order."""
        splits = self.open("shards", key).about["splits"]
        pieces = dict.fromkeys(p for split in splits for p in self.pieces(key, split))
        return {p: [row["id"] for row in shards.read(p, ("id",))] for p in pieces}

    def _places(self, key: str) -> dict[str, Slice]:
        """The slice that each image of the data set `key` is in."""
        return {id: piece for piece, ids in self.members(key).items() for id in ids}

    def place(self, key: str, id: str) -> Slice:
        """The slice of an image; raises InputError where the data set has no such image."""
        try:
            return self.places(key)[id]
        except KeyError:
            raise InputError(f"the data set has no image {id!r}") from None

    def _images(self, key: str, piece: Slice) -> ByImage[dict[str, Any]]:
        """The records of a slice by id: encoded image, size, labels, encoded mask."""
        return ByImage({row["id"]: row for row in shards.read(piece, IMAGE)})

    def masks(self, key: str, piece: Slice) -> dict[str, bytes]:
        """The encoded masks of the images of a slice that have one."""
        return {id: row["mask"] for id, row in self.images(key, piece).items() if row["mask"]}

    def _maps(self, key: str, piece: Slice) -> ByImage[ClassMaps]:
        return ByImage({m.id: m for m in class_maps.read([self._file("maps", key, piece)])})

    def _patches(self, key: str) -> dict[tuple[int, int], list[Patch]]:
        """The SHOWN patches that are closest to each prototype of class maps, by class and number,
        closest first."""
        found: dict[tuple[int, int], list[Patch]] = {}
        for path in self.open("maps", key).files(prototype_patches.SUFFIX):
            for patch in prototype_patches.read(path):
                of = found.setdefault((patch.value, patch.number), [])
                if len(of) < SHOWN or patch.cosine > of[-1].cosine:
                    of.append(patch)
                    of.sort(key=lambda p: -p.cosine)
                    del of[SHOWN:]
        return found

    def _labels(self, key: str, piece: Slice, stage: str = "labels") -> ByImage[Mask]:
        return ByImage(label_maps.read(self._file(stage, key, piece)))

    def has_edges(self, key: str, piece: Slice) -> bool:
        """Whether the class maps `key` are there with the boundaries of a slice beside them."""
        found = self.store.find("maps", key)
        return found is not None and found.has(f"{piece.name}{label_maps.EDGES}")

    def _edges(self, key: str, piece: Slice) -> ByImage[Mask]:
        return ByImage(label_maps.read(self._file("maps", key, piece, label_maps.EDGES)))

    def _file(self, stage: str, key: str, piece: Slice, suffix: str = ".parquet") -> Path:
        artifact, name = self.open(stage, key), f"{piece.name}{suffix}"
        if not artifact.has(name):
            raise InputError(f"artifact {stage}/{key[:12]} lacks the images of {piece.name}")
        return artifact.path(name)
