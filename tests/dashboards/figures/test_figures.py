from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from drawn_records import DEFAULT, HOSTILE, QUOTES, make_score, make_sweep
from wsss.dashboards.figures import optimization, training
from wsss.dashboards.figures import scores as figures_scores
from wsss.dashboards.figures.parallel_coordinates import parallel_coordinates
from wsss.dashboards.figures.sensitivity import sensitivity
from wsss.platform.metrics import RULE


def traces_of(figure: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the traces of a figure after a round trip through strict JSON."""
    parsed: dict[str, Any] = json.loads(json.dumps(figure, allow_nan=False))
    return list(parsed["data"])


@pytest.mark.parametrize("count", [0, 1, 24, 500])
@pytest.mark.parametrize("make", [parallel_coordinates, sensitivity])
def test_figures_are_drawn_for_any_number_of_trials(make: Any, count: int) -> None:
    figure = make(make_sweep(count))
    traces = traces_of(figure)
    subtitle = figure["layout"]["title"]["subtitle"]["text"]
    assert f"of {count} trials done" in subtitle
    assert "train" in subtitle
    assert len(traces) < 40
    assert len(json.dumps(figure)) < 300_000
    if count:
        assert f"240 images · 6 classes and background · {RULE}" in subtitle
    else:
        assert any(a["text"].startswith("No ") for a in figure["layout"]["annotations"])


@pytest.mark.parametrize("make", [parallel_coordinates, sensitivity])
def test_a_figure_says_that_no_trial_finished(make: Any) -> None:
    figure = make(make_sweep(24, fail=lambda k: True))
    assert "0 of 24 trials done" in figure["layout"]["title"]["subtitle"]["text"]
    assert any(a["text"] == "No finished trial" for a in figure["layout"]["annotations"])


def test_parallel_coordinates_draws_each_trial_once_and_the_best_again() -> None:
    sweep = make_sweep(24)
    traces = traces_of(parallel_coordinates(sweep))
    lines = [t for t in traces if t["mode"] == "lines"]
    done = sum(t.value is not None for t in sweep.trials)
    ends = sum(x == 4 for t in lines for x in t["x"])
    assert ends == done + 1
    failed = next(t for t in lines if t["line"].get("dash") == "dot")
    assert max(x for x in failed["x"] if x is not None) == 3
    assert sum(x is None for x in failed["x"]) == 24 - done


def test_parallel_coordinates_are_marked_as_positions_on_the_page() -> None:
    assert parallel_coordinates(make_sweep(24))["layout"]["meta"] == {"positions": True}


def test_sensitivity_draws_mean_range_and_default_line() -> None:
    sweep = make_sweep(24, fail=lambda k: False)
    traces = traces_of(sensitivity(sweep))
    assert len(traces) == 3 * 4
    spread, line, point = traces[:3]
    for k, tau in enumerate((0.1, 0.2, 0.3)):
        values = [100 * (t.value or 0) for t in sweep.trials if t.params["lpcam.tau"] == tau]
        assert spread["x"][k] == tau
        assert spread["y"][k] == pytest.approx(np.mean(values))
        assert spread["error_y"]["array"][k] == pytest.approx(max(values) - np.mean(values))
        assert spread["error_y"]["arrayminus"][k] == pytest.approx(np.mean(values) - min(values))
        params = {**DEFAULT, "lpcam.tau": tau}
        trial = next(t for t in sweep.trials if t.params == params)
        assert line["y"][k] == pytest.approx(100 * (trial.value or 0))
    assert point["x"] == [0.1]


def test_threshold_curve_marks_the_chosen_point() -> None:
    scores = {"CAM": make_score(top=0.4, at=0.2), "LPCAM": make_score(top=0.5, at=0.3)}
    traces = traces_of(figures_scores.threshold_curve(scores, "a-run"))
    curve, mark = traces[:2]
    assert curve["y"]["dtype"] == "f4"
    assert mark["x"] == [0.2]
    assert mark["y"] == [pytest.approx(40)]
    assert "from train" in curve["name"]
    assert traces[2]["line"]["color"] != curve["line"]["color"]
    assert traces[2]["line"]["dash"] != curve["line"]["dash"]


def test_an_absent_class_is_marked_as_absent() -> None:
    (trace,) = traces_of(figures_scores.per_class_iou({"CAM": make_score()}, "a-run"))
    assert trace["text"][-1] == "absent"
    assert "absent" not in trace["text"][:-1]


def test_the_parts_figure_leaves_out_scores_without_parts() -> None:
    scores = {"CAM": make_score(parts=False), "LPCAM": make_score()}
    assert [t["name"] for t in traces_of(figures_scores.parts(scores, "a-run"))] == ["LPCAM"]
    assert traces_of(figures_scores.parts({"CAM": make_score(parts=False)}, "a-run")) == []


@pytest.mark.parametrize(
    "make", [figures_scores.threshold_curve, figures_scores.per_class_iou, figures_scores.parts]
)
def test_no_scores_draw_no_trace(make: Any) -> None:
    """A run may have other scores, such as those of labels, so the figure says nothing of them."""
    figure = make({}, "a-run")
    assert traces_of(figure) == []
    assert figure["layout"]["title"]["subtitle"]["text"] == "no score to draw · a-run"


def test_hostile_names_are_escaped() -> None:
    score = make_score(classes=("background", HOSTILE, QUOTES))
    sweep = make_sweep(24)
    figures = [
        figures_scores.per_class_iou({HOSTILE: score}, QUOTES),
        figures_scores.threshold_curve({QUOTES: score}, HOSTILE),
        figures_scores.parts({HOSTILE: score}, HOSTILE),
        parallel_coordinates(sweep),
    ]
    for figure in figures:
        text = json.dumps(figure)
        assert "<script" not in text
        assert "<img" not in text


def test_every_figure_names_its_run_or_sweep() -> None:
    scores = {"CAM": make_score()}
    figures = [
        figures_scores.threshold_curve(scores, "a-run"),
        figures_scores.per_class_iou(scores, "a-run"),
        figures_scores.parts(scores, "a-run"),
        figures_scores.confusion("CAM", scores["CAM"], "a-run"),
        training.training("train cam", rows_of(3), "a-run"),
    ]
    for figure in figures:
        assert figure["layout"]["title"]["subtitle"]["text"].endswith("· a-run")
    sweep = make_sweep(24)
    importances = optimization.importances(sweep)
    for figure in (
        optimization.importance(sweep, importances),
        optimization.history(sweep),
        optimization.pairs(sweep, importances),
    ):
        assert "240 images" in figure["layout"]["title"]["subtitle"]["text"]
        assert sweep.name in figure["layout"]["title"]["subtitle"]["text"]


def rows_of(count: int) -> list[dict[str, Any]]:
    return [
        {"epoch": 0, "step": k, "steps": 900, "a": k, "b": 1, "loss": k + 1, "lr": 0.1}
        for k in range(count)
    ]


def test_training_draws_each_term_and_the_learning_rate() -> None:
    traces = traces_of(training.training("cam", rows_of(3), "a-run"))
    assert [t["name"] for t in traces] == ["total loss", "a", "b", "learning rate"]
    assert traces[0]["y"] == {"dtype": "f4", "bdata": traces[0]["y"]["bdata"]}
    long = training.training("cam", rows_of(900), "a-run")
    assert "mean of 4 steps" in long["layout"]["title"]["subtitle"]["text"]
    assert "step 900 of 900" in long["layout"]["title"]["subtitle"]["text"]
    none = training.training("cam", [], "a-run")
    assert any(a["text"] == "No step yet" for a in none["layout"]["annotations"])


def test_reliability_is_the_share_of_correct_pixels() -> None:
    counts = np.zeros((3, 3, 101), np.int64)
    counts[1, 1, 5], counts[0, 1, 5], counts[2, 2, 95] = 3, 1, 7
    trace = traces_of(training.reliability({"CAM": counts}, "of these"))[1]
    assert trace["x"] == [pytest.approx(0.05), pytest.approx(0.95)]
    assert trace["y"] == [75, 100]


def test_the_field_that_decides_has_the_greatest_importance() -> None:
    sweep = make_sweep(24, fail=lambda k: False)
    importances = optimization.importances(sweep)
    assert next(iter(importances)) == "lpcam.tau"
    assert sum(importances.values()) == pytest.approx(1)
    assert optimization.importances(make_sweep(1)) == {}
    assert optimization.importances(make_sweep(24, fail=lambda k: True)) == {}


@pytest.mark.parametrize("kind", ["loguniform", "lograndint"])
def test_the_importance_of_a_logarithmic_field_is_that_of_its_logarithm(kind: str) -> None:
    """The exponent and its power of ten say the same of each point, so they weigh the same."""
    trials = [
        dataclasses.replace(
            t,
            params={"lpcam.K": 10 ** (4 * k / 23), "lpcam.tau": 4 * k / 23},
            value=0.3 + 0.2 * np.exp(-((k - 4) ** 2) / 8),
        )
        for k, t in enumerate(make_sweep(24, fail=lambda k: False).trials)
    ]
    space = {"lpcam.K": {kind: [1, 10_000]}, "lpcam.tau": {"uniform": [0, 4]}}
    sweep = dataclasses.replace(make_sweep(24), trials=tuple(trials), space=space)
    importances = optimization.importances(sweep)
    assert importances["lpcam.K"] == pytest.approx(importances["lpcam.tau"], abs=1e-3)


def test_random_seeds_are_no_difference_between_points() -> None:
    """Each point has two trials that lie as far apart as seeds can make them."""
    sweep = make_sweep(24, fail=lambda k: False)
    repeated = [
        dataclasses.replace(t, id=f"{t.id}-{seed}", seed=seed, value=(t.value or 0) + change)
        for t in sweep.trials
        for seed, change in ((0, -0.25), (1, 0.25))
    ]
    repeats = dataclasses.replace(sweep, trials=tuple(repeated))
    assert optimization.importances(repeats) == pytest.approx(optimization.importances(sweep))


@pytest.mark.parametrize("count", [0, 1, 24, 500])
def test_search_figures_are_drawn_for_any_number_of_trials(count: int) -> None:
    sweep = make_sweep(count)
    importances = optimization.importances(sweep)
    for figure in (
        optimization.importance(sweep, importances),
        optimization.history(sweep),
        optimization.pairs(sweep, importances),
    ):
        assert len(json.dumps(figure)) < 200_000
    best = [t for t in traces_of(optimization.history(sweep)) if t.get("name") == "best so far"]
    if count:
        assert list(np.diff(decoded(best[0]["y"])) < 0) == [False] * (
            len(decoded(best[0]["y"])) - 1
        )


def decoded(values: Any) -> Any:
    return np.frombuffer(base64.b64decode(values["bdata"]), np.float32)


def test_pairs_are_means_over_the_remaining_fields() -> None:
    sweep = make_sweep(24, fail=lambda k: False)
    trace = traces_of(optimization.pairs(sweep, {"lpcam.tau": 0.9, "lpcam.K": 0.1}))[0]
    values = [
        100 * (t.value or 0)
        for t in sweep.trials
        if (t.params["lpcam.tau"], t.params["lpcam.K"]) == (0.2, 12)
    ]
    assert trace["x"] == ["0.1", "0.2", "0.3"]
    assert trace["z"][trace["y"].index("12")][1] == pytest.approx(np.mean(values))
