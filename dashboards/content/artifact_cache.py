"""Cached reading of images, masks, class maps and labels from the artifacts of a store.

Data are read a slice (a row group of a shard) at a time and looked up by image id.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ...platform.data.check.dataset_check import DatasetCheck
from ...platform.data.formats import class_maps, label_maps, prototype_patches, segments, shards
from ...platform.data.formats.checked_shards import kept_check
from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.formats.parquet import Row
from ...platform.data.formats.prototype_patches import Patch
from ...platform.data.formats.shards import Slice
from ...platform.errors import InputError
from ...platform.ops.refinement.segment_merging import Segments
from ...platform.storage.store import Store
from .layers import Mask
from .scoring import ImageScore

IMAGE_COLUMNS = ("id", "image", "height", "width", "labels", "mask")
Value = TypeVar("Value")
PATCHES_PER_PROTOTYPE = 6
"""Number of patches that a page has for a prototype, each from another image."""
CACHED_SLICES = 32
"""Number of slices of each kind that stay in memory."""


class ByImage(dict[str, Value]):
    """Content of an artifact by image id; an image that the artifact lacks raises InputError."""

    def __missing__(self, id: str) -> Value:
        raise InputError(f"an artifact lacks image {id}: it is of another data set")


class ArtifactCache:
    """Reader of artifacts that keeps the latest data in memory; several threads may use it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clear()

    def clear(self) -> None:
        """Drop all data from memory: an artifact may have moved to quarantine and been replaced."""
        store = self.store
        self.unkept: dict[str, dict[str, ImageScore]] = {}
        """Image scores by key of their artifact, where the store cannot be written."""
        self.open = lru_cache(maxsize=None)(store.open)
        self.holds = lru_cache(maxsize=None)(store.holds)
        self.check = lru_cache(maxsize=CACHED_SLICES)(self._check)
        self.pieces = lru_cache(maxsize=None)(self._pieces)
        self.members = lru_cache(maxsize=None)(self._members)
        self.slice_by_id = lru_cache(maxsize=None)(self._slice_by_id)
        self.patches = lru_cache(maxsize=CACHED_SLICES)(self._patches)
        self.images = lru_cache(maxsize=CACHED_SLICES)(self._images)
        self.maps = lru_cache(maxsize=CACHED_SLICES)(self._maps)
        self.labels = lru_cache(maxsize=CACHED_SLICES)(self._labels)
        self.edges = lru_cache(maxsize=CACHED_SLICES)(self._edges)
        self.segments = lru_cache(maxsize=CACHED_SLICES)(self._segments)

    def _check(self, key: str) -> DatasetCheck | None:
        """Return the check that the shards `key` keep, None where they keep none."""
        return kept_check(self.open("shards", key))

    def _pieces(self, key: str, split: str) -> list[Slice]:
        """Return the slices of a split of the data set `key`."""
        return shards.slices(self.open("shards", key), split)

    def _members(self, key: str) -> dict[Slice, list[str]]:
        """Return the image ids of each slice of the data set `key`, in stored order."""
        counts = self.open("shards", key).about["counts"]
        splits = [split for split, count in counts.items() if count]  # one may have no image
        pieces = dict.fromkeys(p for split in splits for p in self.pieces(key, split))
        return {p: [row["id"] for row in shards.read(p, ("id",))] for p in pieces}

    def _slice_by_id(self, key: str) -> dict[str, Slice]:
        """Return the slice that holds each image of the data set `key`."""
        return {id: piece for piece, ids in self.members(key).items() for id in ids}

    def slice_of(self, key: str, id: str) -> Slice:
        """Return the slice that holds an image of the data set `key`.

        Raises:
            InputError: the data set has no such image.
        """
        try:
            return self.slice_by_id(key)[id]
        except KeyError:
            raise InputError(f"the data set has no image {id!r}") from None

    def _images(self, key: str, piece: Slice) -> ByImage[Row]:
        """Return the records of a slice by image id, with the fields in IMAGE_COLUMNS."""
        return ByImage({row["id"]: row for row in shards.read(piece, IMAGE_COLUMNS)})

    def masks(self, key: str, piece: Slice) -> dict[str, bytes]:
        """Return the encoded masks of a slice by image id; images without a mask are left out."""
        return {id: row["mask"] for id, row in self.images(key, piece).items() if row["mask"]}

    def _maps(self, key: str, piece: Slice) -> ByImage[ClassMaps]:
        return ByImage({m.id: m for m in class_maps.read([self._file("maps", key, piece)])})

    def _patches(self, key: str) -> dict[tuple[int, int], list[Patch]]:
        """Return the closest patches of each prototype, by (mask value, prototype number).

        A prototype has at most PATCHES_PER_PROTOTYPE of them.

        Args:
            key: key of the class maps whose prototypes they are.

        Returns:
            The patches of a prototype by falling cosine.
        """
        closest: dict[tuple[int, int], list[Patch]] = {}
        for file in self.open("maps", key).files(prototype_patches.SUFFIX):
            for patch in prototype_patches.read(file.local()):
                patches = closest.setdefault((patch.value, patch.number), [])
                if len(patches) < PATCHES_PER_PROTOTYPE or patch.cosine > patches[-1].cosine:
                    patches.append(patch)
                    patches.sort(key=lambda p: -p.cosine)
                    del patches[PATCHES_PER_PROTOTYPE:]
        return closest

    def _labels(self, key: str, piece: Slice, stage: str = "labels") -> ByImage[Mask]:
        return ByImage(label_maps.read(self._file(stage, key, piece)))

    def has_edges(self, key: str, piece: Slice) -> bool:
        """Return whether the class maps `key` exist and hold boundaries for a slice."""
        artifact = self.store.find("maps", key)
        return artifact is not None and artifact.has(f"{piece.name}{label_maps.EDGES}")

    def _edges(self, key: str, piece: Slice) -> ByImage[Mask]:
        return ByImage(label_maps.read(self._file("maps", key, piece, label_maps.EDGES)))

    def _segments(self, key: str, piece: Slice) -> ByImage[Segments]:
        return ByImage(segments.read(self._file("segments", key, piece)))

    def _file(self, stage: str, key: str, piece: Slice, suffix: str = ".parquet") -> Path:
        artifact, name = self.open(stage, key), f"{piece.name}{suffix}"
        if not artifact.has(name):
            raise InputError(f"artifact {stage}/{key[:12]} lacks the images of {piece.name}")
        return artifact.file(name).local()
