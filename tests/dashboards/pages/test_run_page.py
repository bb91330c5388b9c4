"""Tests of the page of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from drawn_records import make_run, make_score
from drawn_store import add_run
from wsss.dashboards.site import Site
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.store import Store


def test_a_split_where_labels_alone_are_scored_has_no_curve_of_thresholds(tmp_path: Path) -> None:
    run, store = make_run(), Store(tmp_path)
    labels = dataclasses.replace(make_score("val"), boundary=0.4)
    scores = {
        ResultId(localizer="lpcam"): {"train": make_score("train")},
        ResultId.parse("lpcam/crf"): {"val": labels},
    }
    add_run(store, dataclasses.replace(run, scores=scores))
    page = (Site(store).file("run.demo.html") or b"").decode()
    assert page.count('aria-label="Seed mIoU by threshold"') == 1
    assert page.count('aria-label="IoU % by class"') == 2
    assert "No score" not in page
