"""Fuzz tests of the check of a data set, as a foreign store's manifest may hold it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
from hostile import altered, attempt, fuzz
from hypothesis import example, given
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.dataset_images import picture
from wsss.dashboards.pages.dataset import dataset_page
from wsss.dashboards.pages.layout import render
from wsss.platform.data.check.dataset_check import DatasetCheck, check_of_dataset
from wsss.platform.data.check.findings import refusal, sentences
from wsss.platform.data.check.rows import rows_of
from wsss.platform.data.check.shard_check import check_of_record
from wsss.platform.data.formats.checked_shards import kept_check
from wsss.platform.data.sources.source import Record
from wsss.platform.serialization import as_json, from_json
from wsss.platform.storage.store import Store

MASK = np.array([[0, 1, 255]] * 2, np.uint8)
RECORD = Record(
    id="a",
    image=b"",
    pixels=np.zeros((2, 3, 3), np.uint8),
    labels=(0, 1),
    mask=MASK,
    split="train",
)
CHECK = as_json(
    check_of_dataset(
        {"train": [check_of_record(RECORD, 2, ("train-00000.parquet", 0))]},
        ("cat", "dog"),
        {"train": ("train",)},
    )
)
KEY = "ab" * 32


def kept(check: Any) -> DatasetCheck | None:
    """Return the check that is read from the manifest of a foreign store."""
    try:
        about = {"check": from_json(json.dumps(check))}
    except ValueError:  # the manifest is refused as a whole
        return None
    return kept_check(SimpleNamespace(about=about))  # type: ignore[arg-type]


def test_an_undamaged_check_is_read() -> None:
    check = kept(CHECK)
    assert check is not None
    assert as_json(check) == CHECK


@fuzz(100)
@given(altered(CHECK))
@example({**CHECK, "sizes": {**CHECK["sizes"], "median": [0, 0]}})
@example({**CHECK, "examples": [[[True, "../../x", -1, "/etc"]], []]})
def test_an_altered_check_is_shown_or_not_read(check: Any) -> None:
    known = kept(check)
    if known is None:
        return
    assert all(isinstance(text, str) for text in [*sentences(known), refusal(known)])
    assert len(list(rows_of(known))) == 1 + len(known.splits) + len(known.classes)
    about = {"source": "folder", "classes": ["cat", "dog"], "counts": {"train": 1}}
    page = dataset_page("mine", KEY, about, known)
    assert "<script>alert" not in render(page, None, 0, [])


@fuzz(30)
@given(altered(CHECK["examples"]))
@example([[{"unmasked": True, "file": "../../x", "row": -1, "id": "a"}], []])
def test_altered_examples_lead_to_no_file(given_folder: Any, examples: Any) -> None:
    known = kept({**CHECK, "examples": examples})
    if known is None:
        return
    attempt(picture, ArtifactCache(Store(given_folder)), KEY, known, "1.0.jpg")
