"""Tests of the overview page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from drawn_records import make_run, make_score
from drawn_store import add_run
from wsss.dashboards.site import Site
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.store import Store


@pytest.mark.parametrize(
    ("id", "words"),
    [("lpcam/masks/deeplabv2", "true masks"), ("lpcam/irn/deeplabv2/known", "labels known")],
)
def test_the_table_of_runs_says_what_a_segmenter_was_told(
    tmp_path: Path, id: str, words: str
) -> None:
    run, store = make_run(), Store(tmp_path)
    scores = {**run.scores, ResultId.parse(id): {"val": make_score(top=0.9)}}
    add_run(store, dataclasses.replace(run, scores=scores))
    page = (Site(store).file("index.html") or b"").decode()
    assert f">90.0 ({words})</td>" in page
    assert page.count("90.0") == 1  # the leaderboard leaves the score out
