"""Tests of which runs can be ranked together."""

from __future__ import annotations

import dataclasses
import json

import pytest
from wsss.platform.cli.tables import comparison_table
from wsss.platform.errors import InputError
from wsss.platform.metrics import RULE
from wsss.platform.records.comparability import (
    check_comparable,
    data_key,
    known_digests,
    same_data,
    same_scoring,
)
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import RunRecord, Score, run_from_json
from wsss.platform.serialization import as_json

CAM = ResultId(localizer="cam")
DIGESTS = {"val": {"ids": "1" * 64, "masks": "2" * 64}}


def score(**changes: object) -> Score:
    known = Score(
        split="val",
        n=3,
        classes=("background", "cat", "dog"),
        scored=(0, 1, 2),
        rule=RULE,
        thresholds=(0.2,),
        miou=(0.5,),
        threshold=0.2,
        threshold_from="val",
        iou=(0.5, 0.5, 0.5),
        false_positives=0.2,
        false_negatives=0.2,
        precision=0.8,
        recall=0.8,
    )
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


def run(name: str, shards: str = "", digests: object = None, **changes: object) -> RunRecord:
    return RunRecord(
        name=name,
        method="cam",
        dataset="voc",
        seed=0,
        experiment={},
        digest="",
        command="",
        machine="",
        versions={},
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        shards=shards,
        digests=digests or {},  # type: ignore[arg-type]
        scores={CAM: {"val": score(**changes)}},
    )


def test_runs_of_the_same_shards_or_digests_have_the_same_data() -> None:
    masks = {"val": {"ids": "1" * 64, "masks": "3" * 64}}
    assert same_data(run("a", "k1"), run("b", "k1"), "val")
    assert same_data(run("a", "k1", DIGESTS), run("b", "k2", DIGESTS), "val")
    assert same_data(run("a", "k1"), run("b", "k1", DIGESTS), "val")  # an older record
    assert not same_data(run("a", "k1", DIGESTS), run("b", "k2", masks), "val")
    assert not same_data(run("a", "k1"), run("b", "k2"), "val")
    assert not same_data(run("a", "k1"), run("b", "k2", DIGESTS), "val")
    assert not same_data(run("a", "k1", DIGESTS), run("b", "k2", DIGESTS), "train")
    assert same_data(run("a"), run("b"), "val")


def test_older_records_share_the_digests_of_their_shards() -> None:
    runs = [run("a", "k1"), run("b", "k1", DIGESTS), run("c", "k2", DIGESTS), run("d", "k3")]
    keys = [data_key(r, "val", known_digests(runs)) for r in runs]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_scores_over_other_classes_or_rules_are_unlike() -> None:
    assert same_scoring(score(), score(miou=(0.9,)))
    assert same_scoring(
        score(scored=(0, 1)), score(classes=("background", "cat", "cow"), scored=(0, 1))
    )
    assert not same_scoring(score(), score(scored=(0, 1)))
    assert not same_scoring(score(), score(classes=("background", "dog", "cat")))
    assert not same_scoring(score(), score(n=4))


def test_a_comparison_of_unlike_data_ends_with_one_sentence() -> None:
    masks = {"val": {"ids": "1" * 64, "masks": "3" * 64}}
    rows = [("cam", CAM, [run("a", "k1", DIGESTS)]), ("lpcam", CAM, [run("b", "k2", masks)])]
    sentence = (
        r"^cam \(voc, list 111111111111, masks 222222222222\) and lpcam \(voc, list 111111111111, "
        r"masks 333333333333\) cannot be compared on val, because their images, masks or classes "
        r"differ; run both on one data set$"
    )
    with pytest.raises(InputError, match=sentence):
        comparison_table(rows)
    check_comparable([rows[0], ("lpcam", CAM, [run("b", "k2", DIGESTS)])])


def test_unlike_seeds_of_one_row_are_found() -> None:
    with pytest.raises(InputError, match=r"^cam \(voc\) and cam \(voc\) cannot be compared on val"):
        check_comparable([("cam", CAM, [run("a", "k1"), run("b", "k2")])])


def test_records_without_digests_are_read() -> None:
    row = json.loads(json.dumps(as_json(run("a", "k1", DIGESTS))))
    assert run_from_json(row, "run.json").digests == DIGESTS
    del row["digests"]
    assert run_from_json(row, "run.json").digests == {}


def test_a_split_that_one_record_lacks_is_known_from_another_record() -> None:
    train = {"train": {"ids": "4" * 64, "masks": "5" * 64}}
    assert same_data(run("a", "k1", train), run("b", "k1", DIGESTS), "val")
    assert known_digests([run("a", "k1", train), run("b", "k1", DIGESTS)]) == {
        "k1": {**train, **DIGESTS}
    }
