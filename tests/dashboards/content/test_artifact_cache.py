"""Tests of the reader of artifacts."""

from __future__ import annotations

from pathlib import Path

from drawn_datasets import Drawn, add_dataset
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.platform.storage.store import Store


def test_an_empty_split_hides_no_image_of_other_splits(tmp_path: Path) -> None:
    """A data set may have a split without images, for example of an empty list."""
    store = Store(tmp_path / "store")
    splits = {"train": ["train"], "test": [], "val": ["val"]}
    counts = {"train": 2, "test": 0, "val": 2}
    key = add_dataset(store, "mine", Drawn(("cat", "dog")), splits=splits, counts=counts)
    artifacts = ArtifactCache(store)
    assert set(artifacts.slice_by_id(key)) == {"train-0", "train-1", "val-0", "val-1"}
    (piece,) = artifacts.pieces(key, "val")
    assert set(artifacts.members(key)[piece]) == {"val-0", "val-1"}
