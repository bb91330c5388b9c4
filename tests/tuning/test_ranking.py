"""Tests of the ranking of points, and of what a command says about the points that lead."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wsss.platform.cli.sweep_commands import _summary, leaders
from wsss.platform.records.schema import SweepRecord, Trial
from wsss.platform.tuning.objectives import standing
from wsss.platform.tuning.ranking import point_key, ranking

NAN = float("nan")


def trial(id, tau, value, seed=0):
    status = "failed" if value is None else "done"
    return Trial(
        id=id, params={"lpcam.tau": tau}, status=status, seconds=0.0, value=value, seed=seed
    )


def record_of(*rows):
    """Return the record of a finished sweep whose trials have these taus, values and seeds."""
    trials = tuple(trial(str(k), *row) for k, row in enumerate(rows))
    return SweepRecord(
        name="a-sweep", method="lpcam", dataset="scenes", split="train", space={"lpcam.tau": []},
        default={}, trials=trials, best="0", run=None, command="", digest="d", seconds=2.0,
        started="2026-01-01T00:00:00+0000",
    )  # fmt: skip


def test_points_are_ranked_by_their_mean_over_seeds():
    """A single lucky trial does not win, and points within one spread are tied."""
    trials = [
        trial("0", 0.1, 0.50, 0),
        trial("1", 0.1, 0.70, 1),
        trial("2", 0.2, 0.62, 0),
        trial("3", 0.2, 0.64, 1),
        trial("4", 0.3, 0.40, 0),
        trial("5", 0.3, None, 1),
        trial("6", 0.4, None, 0),
    ]
    points = ranking(trials)
    assert [p.trials[0].params["lpcam.tau"] for p in points] == [0.2, 0.1, 0.3]
    assert [p.mean for p in points] == pytest.approx([0.63, 0.60, 0.40])
    assert [p.spread for p in points] == pytest.approx([0.01414, 0.14142, 0.0], abs=1e-5)
    assert [p.tied for p in points] == [True, True, False]
    assert ranking([trial("0", 0.1, None)]) == []


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_takes_no_part_in_the_ranking(value):
    rows = [(0.1, 0.5), (0.2, value), (0.3, 0.7), (0.1, value), (0.4, 0.6)]
    points = ranking([trial(str(k), *row) for k, row in enumerate(rows)])
    assert [(p.trials[0].params["lpcam.tau"], p.mean) for p in points] == [
        (0.3, 0.7), (0.4, 0.6), (0.1, 0.5),
    ]  # fmt: skip
    assert ranking([trial("0", 0.1, value)]) == []


def test_a_point_that_is_tried_twice_counts_once_for_each_random_seed():
    """TPE on lists and NSGA-II try points again; each is the same training."""
    trials = [
        trial("0", 0.1, 0.5, 0),
        trial("1", 0.1, 0.7, 1),
        trial("2", 0.1, None, 2),
        trial("3", 0.1, 0.9, 1),
        trial("4", 0.1, 0.6, 2),
    ]
    (point,) = ranking(trials)
    assert [t.id for t in point.trials] == ["0", "1", "4"]
    assert point.mean == pytest.approx(0.6)
    assert point.spread == pytest.approx(0.1)


def test_a_point_with_a_stopped_training_is_no_point_of_the_result():
    """Its better random seeds alone would put it ahead."""
    stopped = replace(trial("1", 0.1, 0.2, 1), status="stopped")
    whole = [trial("2", 0.2, 0.6, 0), trial("3", 0.2, 0.6, 1)]
    (point,) = ranking([trial("0", 0.1, 0.9, 0), stopped, *whole])
    assert point.trials == tuple(whole)
    tried_again = replace(whole[0], id="4", status="stopped")
    assert ranking([*whole, tried_again]) == ranking(whole)


def test_without_repeats_nothing_is_tied():
    points = ranking([trial("0", 0.1, 0.5), trial("1", 0.2, 0.5)])
    assert [p.tied for p in points] == [False, False]


def test_points_with_the_same_values_have_one_key():
    assert point_key({"a": (1, 2), "b": NAN}) == point_key({"b": None, "a": [1, 2]})
    assert point_key({"a": 1}) != point_key({"a": 2})


def test_a_command_calls_the_leading_points_as_the_page_does():
    tied = record_of((0.1, 0.50, 0), (0.1, 0.52, 1), (0.2, 0.5, 0), (0.2, 0.51, 1), (0.3, 0.2))
    assert leaders(tied) == [
        "tied for best, and chosen, on train: tau 0.1 (51.0 ± 1.4 % over 2 seeds)",
        "tied with it: tau 0.2 (50.5 ± 0.7 % over 2 seeds)",
    ]
    assert standing(tied) == dict.fromkeys("0123", "tied")
    apart = record_of((0.1, 0.50, 0), (0.1, 0.52, 1), (0.2, 0.3, 0), (0.2, 0.31, 1))
    assert leaders(apart) == ["best on train: tau 0.1 (51.0 ± 1.4 % over 2 seeds)"]
    assert standing(apart) == dict.fromkeys("01", "best")
    alone = record_of((0.1, 0.5))
    note = "with one random seed, it may lead by chance"
    assert leaders(alone) == [f"chosen on train: tau 0.1 (50.0 %); {note}"]
    assert standing(alone) == {"0": "chosen"}
    one_training = record_of((0.1, 0.5), (0.1, 0.5))  # a point that was tried twice
    assert leaders(one_training) == leaders(alone)
    assert leaders(replace(alone, best=None)) == []


def test_a_command_names_the_seconds_of_the_trials_in_all_passes():
    """The final runs, and the passes before an interruption, took another time than the command."""
    record = replace(record_of((0.1, 0.5), (0.2, None)), seconds=3600.4)
    assert _summary(record, known=False) == "1 of 2 trials, 3600 s"
    assert _summary(record, known=True) == "nothing to do, its 2 trials are already in the store"
