"""Tests of the leaderboards: which scores they show, and beside which rows of the papers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from drawn_records import make_run, make_score
from wsss.dashboards.leaderboard import COCO, VOC, boards, stages_of
from wsss.dashboards.published import leaderboard
from wsss.dashboards.tables import Table
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import RunRecord, Score

LPCAM = ResultId(localizer="lpcam")
VOC_TRAIN, VOC_VAL = ("train", 1464, 20), ("val", 1449, 20)
Data = tuple[str, int, int]
"""Split, number of images, number of foreground classes."""


def score(data: Data, value: float) -> Score:
    split, images, classes = data
    names = ("background", *(f"class {k}" for k in range(classes)))
    return dataclasses.replace(make_score(split, value, classes=names), n=images)


def run_with(name: str, scores: dict[str, tuple[Data, float]], **changes: Any) -> RunRecord:
    """Return a run of LPCAM with a score of each result."""
    by_id: dict[ResultId, dict[str, Score]] = {}
    for id, (data, value) in scores.items():
        by_id[ResultId.parse(id)] = {data[0]: score(data, value)}
    return dataclasses.replace(make_run(name=name), scores=by_id, **changes)


def row_of(table: Table, name: str) -> dict[str, str]:
    """Return the texts of a run's row by column."""
    (cells,) = [cells for cells in table.rows if cells[-1].text == name]
    return {head: cell.text for head, cell in zip(table.head, cells, strict=True)}


def rows_of_papers(table: Table) -> list[dict[str, str]]:
    rows = [dict(zip(table.head, (c.text for c in cells), strict=True)) for cells in table.rows]
    return [row for row in rows if row["measured by"] == "paper"]


def kinds_of_data(table: Table) -> list[str]:
    """Return the pills of the data of the store's rows."""
    at = [*table.head].index("data")
    return [cells[at].pill for cells in table.rows if cells[1].text == "this store"]


@pytest.mark.parametrize("id", ["lpcam/masks/deeplabv2", "lpcam/irn/deeplabv2/known"])
def test_a_segmenter_that_was_told_more_is_not_the_methods_own(id: str) -> None:
    run = run_with("upper", {"lpcam": (VOC_TRAIN, 0.5), id: (VOC_VAL, 0.9)})
    row = row_of(boards([run])[0], "upper")
    assert (row["seed, train"], row["segmenter, val"]) == ("50.0", "–")
    alone = dataclasses.replace(run, scores={ResultId.parse(id): run.scores[ResultId.parse(id)]})
    (papers,) = boards([alone])
    assert papers.caption == "Leaderboard of the papers: mIoU %"


def test_of_equal_seeds_the_run_with_most_scores_is_shown() -> None:
    seeds, refined = {"lpcam": (VOC_TRAIN, 0.5)}, {"lpcam/irn": (VOC_TRAIN, 0.6)}
    newest = run_with("newest", seeds)
    (table,) = boards([newest, run_with("refined", {**seeds, **refined})])
    assert row_of(table, "refined")["refined, train"] == "60.0"
    assert "newest" not in [cells[-1].text for cells in table.rows]
    better = run_with("better", {"lpcam": (VOC_TRAIN, 0.51)})
    (table,) = boards([newest, run_with("refined", {**seeds, **refined}), better])
    assert row_of(table, "better")["seed, train"] == "51.0"


@pytest.mark.parametrize(("train", "val"), [(82783, 40504), (82081, 40137)])
def test_a_segmenter_on_coco_stands_in_the_column_of_coco(train: int, val: int) -> None:
    scores = {
        "lpcam": (("train", train, 80), 0.35),
        "lpcam/irn/deeplabv2": (("val", val, 80), 0.44),
    }
    table, papers = boards([run_with("mine", scores)])
    row = row_of(table, "mine")
    assert (row["segmenter, COCO val"], row["segmenter, val"]) == ("44.0", "–")
    assert row["data"] == f"scenes: as many images and classes as {COCO}"
    assert kinds_of_data(table) == ["good"]
    beside = rows_of_papers(table)
    assert len(beside) == sum("coco" in line.figures for line in leaderboard())
    on_voc = ("seed, train", "+ CRF, train", "refined, train", "segmenter, val", "segmenter, test")
    assert {row[column] for row in beside for column in on_voc} == {"–"}
    assert len(rows_of_papers(papers)) == len(leaderboard())


def test_runs_on_voc_stand_once_beside_the_papers() -> None:
    """It does not matter that one of the runs scored a further split."""
    seeds = {"lpcam": (VOC_TRAIN, 0.5)}
    segmented = run_with("segmented", {**seeds, "lpcam/deeplabv2": (VOC_VAL, 0.6)}, method="cam")
    (table,) = boards([run_with("seeds", seeds), segmented])
    assert row_of(table, "seeds")["seed, train"] == "50.0"
    row = row_of(table, "segmented")
    assert (row["segmenter, val"], row["segmenter, COCO val"]) == ("60.0", "–")
    assert row["data"].endswith(VOC)
    assert kinds_of_data(table) == ["good", "good"]
    assert len(rows_of_papers(table)) == len(leaderboard())


def test_a_held_out_score_on_other_data_is_left_empty() -> None:
    seeds, segmenter = {"lpcam": (VOC_TRAIN, 0.5)}, "lpcam/deeplabv2"
    (beside_papers,) = boards([run_with("few", {**seeds, segmenter: (("val", 500, 20), 0.6)})])
    assert row_of(beside_papers, "few")["segmenter, val"] == "–"
    digests = {s: {"ids": "a" * 64, "masks": "b" * 64} for s in ("train", "val")}
    unlike = {**digests, "val": {"ids": "a" * 64, "masks": "c" * 64}}
    scores = {"lpcam": (("train", 90, 6), 0.5), segmenter: (("val", 80, 6), 0.6)}
    runs = [
        run_with("one", {**scores, "lpcam": (("train", 90, 6), 0.9)}, digests=unlike),
        run_with("two", scores, digests=digests, method="sipe"),
        run_with("three", scores, digests=digests, method="cam"),
    ]
    table, _ = boards(runs)
    shown = {name: row_of(table, name)["segmenter, val"] for name in ("one", "two", "three")}
    assert shown == {"one": "–", "two": "60.0", "three": "60.0"}
    assert "scenes (list: train aaaaaaaaaaaa)" in table.caption


def test_seeds_scored_on_val_alone_stand_beside_no_paper() -> None:
    table, papers = boards([run_with("val", {"lpcam": (VOC_VAL, 0.5)})])
    assert kinds_of_data(table) == ["bad"]
    assert "other data: scenes, val 1,449, 20 classes" in row_of(table, "val")["data"]
    assert (rows_of_papers(table), len(rows_of_papers(papers))) == ([], len(leaderboard()))


def test_seeds_that_are_labels_of_another_split_stay_seeds() -> None:
    run = run_with("mixed", {"lpcam": (("val", 9, 6), 0.5)}, maps={LPCAM: {"val": "a" * 64}})
    assert stages_of(dataclasses.replace(run, labels={LPCAM: {"train": "b" * 64}})) == {
        "seed": LPCAM
    }


def test_a_run_without_seeds_keeps_the_score_by_which_it_is_compared() -> None:
    order = {"scoring": {"splits": ["val", "test"]}}
    scores = {"lpcam": (("val", 9, 6), 0.5), "lpcam/deeplabv2": (("test", 9, 6), 0.6)}
    both = run_with("both", scores, experiment=order, method="cam")
    labels = run_with("labels", {"toco/deeplabv2": (("val", 9, 6), 0.4)})
    table, _ = boards([both, labels])
    assert row_of(table, "labels")["segmenter, val"] == "40.0"
