"""Tests of the schema of records: records are read back from JSON as they were."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from wsss.platform.errors import InputError
from wsss.platform.records.field_labels import field_labels
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import (
    RunRecord,
    Score,
    StageRecord,
    SweepRecord,
    Trial,
    read_run,
    read_sweep,
)
from wsss.platform.serialization import as_json
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.local_storage import LocalStorage

CAM = ResultId(localizer="cam")
NAN = float("nan")


@pytest.fixture
def score():
    return Score(
        split="train",
        n=12,
        classes=("background", "cat", "dog"),
        scored=(0, 1, 2),
        rule="a rule",
        thresholds=(0.0, 0.01, 0.02),
        miou=(0.1, NAN, 1 / 3),
        threshold=0.02,
        threshold_from="train",
        iou=(0.9, None, 0.1),
        false_positives=0.25,
        false_negatives=NAN,
        precision=NAN,
        recall=0.5,
        parts={"discriminative": 0.75, "context": 0.1},
    )


@pytest.fixture
def run(score):
    return RunRecord(
        name="a-run",
        method="lpcam",
        dataset="scenes",
        seed=3,
        experiment={"training": {"resize": [320, 640], "lr": 0.1}, "localizer": ""},
        digest="d" * 64,
        command="wsss run lpcam",
        machine="2 cores",
        versions={"python": "3.11"},
        started="2026-01-01T00:00:00+0000",
        seconds=12.5,
        shards="s",
        network="n",
        stages=(StageRecord(stage="maps", title="t", key="k", seconds=0.1, cached=True),),
        scores={CAM: {"train": score, "val": replace(score, split="val", parts=None)}},
        maps={CAM: {"train": "k1", "val": "k2"}},
    )


@pytest.fixture
def sweep(score):
    trials = (
        Trial(id="0000", params={"lpcam.tau": 0.1, "lpcam.K": 6}, status="done", seconds=1.0,
              value=1 / 3, score=score),
        Trial(id="0001", params={"lpcam.tau": 0.2, "lpcam.K": 6}, status="failed", seconds=0.0,
              error="<b>"),
    )  # fmt: skip
    return SweepRecord(
        name="a-sweep",
        method="lpcam",
        dataset="scenes",
        split="train",
        space={"lpcam.tau": [0.1, 0.2], "lpcam.K": [6]},
        default={"lpcam.tau": 0.1, "lpcam.K": 12},
        trials=trials,
        best="0000",
        run=None,
        command="wsss sweep lpcam",
        started="2026-01-01T00:00:00+0000",
        seconds=2.0,
        digest="d",
    )


def same(a, b):
    """Return whether two values are equal, where NaN equals NaN (`as_json` turns it to null)."""
    return as_json(a) == as_json(b)


@pytest.mark.parametrize(("kind", "reader"), [("run", read_run), ("sweep", read_sweep)])
def test_a_record_is_read_back_from_json(kind, reader, request, tmp_path):
    record = request.getfixturevalue(kind)
    path = tmp_path / "deep" / "record.json"
    file = LocalStorage(tmp_path).location("deep", "record.json")
    write_json(file, record)
    again = reader(file)
    assert type(again) is type(record)
    assert same(again, record)
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]
    first = path.read_text()
    write_json(file, again)
    assert path.read_text() == first
    json.loads(first, parse_constant=pytest.fail)


def test_a_score_is_read_back_with_its_types(run, score, tmp_path):
    write_json(LocalStorage(tmp_path).location("r.json"), run)
    again = read_run(LocalStorage(tmp_path).location("r.json")).scores[CAM]["train"]
    assert again.classes == score.classes
    assert again.scored == score.scored
    assert again.thresholds == score.thresholds
    assert again.value == score.value == 1 / 3
    assert again.iou == score.iou
    assert math.isnan(again.miou[1])
    assert math.isnan(again.precision)
    assert math.isnan(again.false_negatives)
    assert again.recall == 0.5
    assert again.parts == score.parts
    assert read_run(LocalStorage(tmp_path).location("r.json")).scores[CAM]["val"].parts is None


def test_results_made_from_class_maps_are_listed_in_their_order(run):
    score = next(iter(run.scores.values()))
    names = ("cam", "lpcam/irn/deeplabv2", "baseline:cam", "baseline:cam/deeplabv2", "lpcam")
    ids = [ResultId.parse(name) for name in (*names, "lpcam/crf", "lpcam/irn")]
    made = replace(run, scores=dict.fromkeys(ids, score))
    assert list(map(str, made.later_results())) == ["lpcam/crf", "lpcam/irn", "lpcam/irn/deeplabv2"]


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        (["lpcam.tau", "lpcam.K", "seed"], ["tau", "K", "seed"]),
        (["training.lr", "segment.training.lr"], ["training.lr", "segment.training.lr"]),
        (
            ["refine.training.lr", "segment.training.lr"],
            ["refine.training.lr", "segment.training.lr"],
        ),
        (["lpcam.split", "scoring.split", "split.lr"], ["lpcam.split", "scoring.split", "lr"]),
        (["refine.kind", "kind", "kind"], ["refine.kind", "kind"]),
        (["a.rate", "a.lr_rate"], ["rate", "lr_rate"]),
    ],
)
def test_a_label_is_the_shortest_that_names_one_field_only(fields, labels):
    assert list(field_labels(fields).items()) == list(
        zip(dict.fromkeys(fields), labels, strict=True)
    )


def test_trials_are_read_back(sweep, tmp_path):
    write_json(LocalStorage(tmp_path).location("s.json"), sweep)
    again = read_sweep(LocalStorage(tmp_path).location("s.json"))
    assert again.trials[1] == sweep.trials[1]
    assert again.trials[0].params == {"lpcam.tau": 0.1, "lpcam.K": 6}
    assert again.trials[0].score.value == 1 / 3


@pytest.mark.parametrize("reader", [read_run, read_sweep])
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"name": "x"}', '{"scores": [], "stages": []}', '{"trials": [1]}',
     '{"scores": null, "stages": null, "trials": null}', "\x00"],
)  # fmt: skip
def test_a_file_that_is_no_record_is_refused_by_name(reader, text, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"record\.json"):
        reader(LocalStorage(tmp_path).location("record.json"))


@pytest.mark.parametrize("reader", [read_run, read_sweep])
def test_a_missing_file_is_named(reader, tmp_path):
    with pytest.raises(InputError, match="there is no"):
        reader(LocalStorage(tmp_path).location("none.json"))


def test_a_field_of_another_version_is_refused(run, tmp_path):
    row = as_json(run)
    (tmp_path / "r.json").write_text(json.dumps({**row, "extra": 1}))
    with pytest.raises(InputError, match="this version"):
        read_run(LocalStorage(tmp_path).location("r.json"))


def test_as_json_turns_nan_to_null_and_paths_to_text():
    assert as_json({1: (1, NAN, math.inf), "p": Path("a")}) == {"1": [1, None, None], "p": "a"}
