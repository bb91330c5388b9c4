"""Tests of the page of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from drawn_records import make_run, make_score
from drawn_store import add_run
from wsss.dashboards.pages.run import gains
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


@pytest.mark.parametrize(
    ("results", "other"),
    [
        (["cam", "lpcam", "lpcam/irn/deeplabv2"], "CAM"),
        (["baseline:cam", "baseline:lpcam", "baseline:lpcam/irn", "psdpm"], "baseline: LPCAM"),
        (["baseline:lpcam", "baseline:lpcam/irn", "psdpm", "psdpm/irn"], "baseline: LPCAM, IRN"),
        (["baseline:lpcam/irn/deeplabv2", "psdpm"], ""),
        (["baseline:lpcam/irn/deeplabv2", "psdpm", "psdpm/irn"], "PSDPM"),
    ],
)
def test_a_result_is_shown_beside_one_that_knows_as_much(results: list[str], other: str) -> None:
    """Class maps know the image labels, and the predictions of a segmenter do not."""
    scores = {ResultId.parse(name): {"val": make_score("val")} for name in results}
    (gain,) = gains(dataclasses.replace(make_run(), scores=scores))
    if other:
        assert gain.text.endswith(f" % {other} (+0.0 points)")
    else:
        assert gain.text == "PSDPM"
