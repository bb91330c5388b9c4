"""Tests of plans on data that give no scores or no prototypes, which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.planner import plan
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store

COUNTS = {"images": 7, "masked": 7, "unlabelled": 0, "pixels": [5, 0, 3] + 252 * [0] + [1]}
VOID_MASKS = {"pixels": 255 * [0] + [9]}


class OneDataSet(Catalog):
    """Catalog of one data set, for which no file is read.

    Args:
        store: a store.
        classes: names of its classes.
        counts: changes of the counts over its split `train`.
    """

    def __init__(self, store: Store, classes: list[str], counts: dict[str, Any]) -> None:
        super().__init__(store, gpu=False)
        splits = {"train": {**COUNTS, **counts}, "val": COUNTS}
        about = {"classes": classes, "splits": ["train", "val"], "check": {"splits": splits}}
        self.shards = {"key": "ab" * 32, "about": {**about, "source": "scenes"}}

    def dataset(self, name: str) -> Artifact:
        return Artifact(LocalFolder(Path("nowhere")), self.shards)


@pytest.mark.parametrize(
    ("counts", "method", "classes", "changes", "message"),
    [
        ({}, "lpcam", 2, {}, ""),
        ({"unlabelled": 6}, "lpcam", 2, {}, ""),
        (VOID_MASKS, "cam", 2, {}, r"all pixels of .* split 'train' .* void \(255\).*scoring\.spl"),
        (VOID_MASKS, "cam", 2, {"scoring.splits": ("val",)}, r"void \(255\).* in segment\.splits"),
        ({**VOID_MASKS, "masked": 0}, "cam", 2, {}, ""),
        ({"unlabelled": 7}, "lpcam", 2, {}, r"no image of split 'train' .* lpcam has.* lpcam\.spl"),
        ({"unlabelled": 7}, "cam", 2, {}, ""),
        ({}, "lpcam", 1, {}, "lpcam chooses prototypes by .* has the class 'ant' alone; choose"),
        ({}, "cam", 1, {}, ""),
    ],
)
def test_data_without_scores_or_prototypes_are_refused_before_any_stage(
    tmp_path: Path,
    counts: dict[str, Any],
    method: str,
    classes: int,
    changes: dict[str, Any],
    message: str,
) -> None:
    catalog = OneDataSet(Store(tmp_path), ["ant", "bee"][:classes], counts)
    segmenter = {"segment.network": "deeplabv2", "segment.splits": ("train",)}
    experiment = build_experiment(method, preset="scenes", changes={**segmenter, **changes})
    if not message:
        assert plan(experiment, catalog).stages
        return
    with pytest.raises(InputError, match=message):
        plan(experiment, catalog)
