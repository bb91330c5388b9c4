"""Tests of the figure that draws our points and a paper's on the same axes."""

from __future__ import annotations

from wsss.dashboards.figures.paper import paper_figure
from wsss.platform.records.schema import SweepRecord, Trial

FIGURE = {
    "title": "LPCAM, Figure <5>",
    "published": "seed mIoU %, VOC train",
    "panels": {
        "K": [(4, {"lpcam.K": 4}, None), (12, {"lpcam.K": 12}, 65.3), (20, {"lpcam.K": 20}, 64.6)],
        "kind": [("one", {"lpcam.mu_f": 0.5}, 60.0), ("two", {"lpcam.mu_f": 0.9}, None)],
    },
}


def trial(number, params, value, seed=0, status="done"):
    return Trial(
        id=f"{number:04d}", params=params, status=status, seconds=1.0, value=value, seed=seed
    )


def sweep(*trials):
    return SweepRecord(
        name="s", method="lpcam", dataset="scenes", split="train", space={"lpcam.K": [4, 12, 20]},
        default={}, trials=trials, best=None, run=None, command="",
        started="2026-01-01T00:00:00+0000", seconds=0.0, digest="", figure="lpcam-5",
    )  # fmt: skip


def test_points_stand_at_their_labels_with_mean_and_spread():
    figure = paper_figure(
        sweep(
            trial(0, {"lpcam.K": 4}, 0.5),
            trial(1, {"lpcam.K": 4}, 0.6, seed=1),
            trial(2, {"lpcam.K": 20}, 0.25),
            trial(3, {"lpcam.K": 12}, 0.9, status="stopped"),
            trial(4, {"lpcam.mu_f": 0.9}, 0.75),
        ),
        FIGURE,
    )
    ours, printed, our_kinds, printed_kinds = figure["data"]
    assert ours["x"] == [4, 20]
    assert [round(y, 9) for y in ours["y"]] == [55.0, 25.0]
    assert round(ours["error_y"]["array"][0], 6) == 7.071068
    assert (printed["x"], printed["y"]) == ([12, 20], [65.3, 64.6])
    assert (our_kinds["x"], our_kinds["y"]) == (["two"], [75.0])
    assert (printed_kinds["x"], printed_kinds["y"]) == (["one"], [60.0])
    assert figure["layout"]["xaxis2"]["type"] == "category"
    assert figure["layout"]["title"]["text"] == "LPCAM, Figure &lt;5&gt;"
    assert "VOC train" in figure["layout"]["title"]["subtitle"]["text"]


def test_a_sweep_without_a_finished_trial_still_shows_the_paper():
    figure = paper_figure(sweep(), FIGURE)
    assert [list(t["x"]) for t in figure["data"]] == [[], [12, 20], [], ["one"]]
