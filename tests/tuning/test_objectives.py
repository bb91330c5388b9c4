"""Tests of objectives: the front of points that no other point beats, and rules of the best."""

from __future__ import annotations

import itertools
import json
import math
from typing import get_args
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.config.limits import ObjectiveName
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.records import schema
from wsss.platform.records.schema import Score, Trial, trial_from_json
from wsss.platform.serialization import as_json, from_json
from wsss.platform.tuning import objectives, ranking
from wsss.platform.tuning.objectives import (
    OBJECTIVES,
    PREDICTIONS,
    PSEUDO_LABELS,
    SEED,
    BestSoFar,
    Rule,
    check_objectives,
    mean_objectives,
    pareto_front,
    parse_rule,
    ranking_by,
    scored_result,
)
from wsss.platform.tuning.ranking import point_key
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.sweep import Sweep, searcher


def trial(
    number, miou, recall=0.5, seconds=1.0, point=None, status="done", parts=None, precision=0.5,
    seed=0,
):  # fmt: skip
    score = Score(
        split="train", n=1, classes=("a", "b"), scored=(0, 1), rule="r", thresholds=(0.5,),
        miou=(miou,), threshold=0.5, threshold_from="train", iou=(miou, miou),
        false_positives=0.1, false_negatives=0.1, precision=precision, recall=recall, parts=parts,
    )  # fmt: skip
    params = {"lpcam.tau": number if point is None else point}
    return Trial(
        id=f"{number:04d}", params=params, status=status, seconds=seconds, value=miou, score=score,
        seed=seed,
    )  # fmt: skip


def ids(points):
    return [point.trials[0].id for point in points]


def test_the_front_holds_the_points_that_no_other_point_beats():
    trials = [
        trial(0, 0.5, 0.9), trial(1, 0.7, 0.7), trial(2, 0.6, 0.6), trial(3, 0.9, 0.2),
        trial(4, 0.9, 0.1), trial(5, 1.0, 1.0, status="failed"),
    ]  # fmt: skip
    front = pareto_front(trials, ["miou", "recall"])
    assert [t.id for t, _ in front] == ["0003", "0001", "0000"]
    assert front[1][1] == {"miou": 0.7, "recall": 0.7}
    assert pareto_front(trials, ["miou", "parts"]) == []


def test_fewer_seconds_are_better_and_repeats_count_by_their_mean():
    trials = [
        trial(0, 0.5, seconds=1.0), trial(1, 0.7, seconds=2.0, point=9),
        trial(2, 0.3, seconds=4.0, point=9, seed=1), trial(3, 0.4, seconds=9.0),
    ]  # fmt: skip
    front = pareto_front(trials, ["miou", "seconds"])
    assert [(t.id, m) for t, m in front] == [("0000", {"miou": 0.5, "seconds": 1.0})]


def test_a_point_that_is_tried_again_does_not_lead_by_the_seconds_of_its_second_try():
    """All its stages were in the store by then."""
    trials = [
        trial(0, 0.5, seconds=100.0, point=9), trial(1, 0.5, seconds=40.0),
        trial(2, 0.5, seconds=0.5, point=9),
    ]  # fmt: skip
    assert [(t.id, m) for t, m in pareto_front(trials, ["miou", "seconds"])] == [
        ("0001", {"miou": 0.5, "seconds": 40.0})
    ]
    assert ids(ranking_by(trials, parse_rule("seconds"))) == ["0001", "0000"]
    best = BestSoFar(parse_rule("seconds"))
    for ended in reversed(trials):  # trials of a generation end in any order
        best.add(ended)
    assert best.mean == 40.0


def test_a_point_with_a_stopped_training_is_not_on_the_front():
    trials = [
        trial(0, 0.9, point=9), trial(1, 0.1, point=9, seed=1, status="stopped"), trial(2, 0.5),
    ]  # fmt: skip
    assert [t.id for t, _ in pareto_front(trials, ["miou", "recall"])] == ["0002"]
    best = BestSoFar(parse_rule("miou"))
    for ended in trials:
        best.add(ended)
    assert best.mean == 0.5


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_each_point_is_on_the_front_or_beaten_by_a_point_of_it(values):
    trials = [trial(k, a / 4, b / 4, float(c)) for k, (a, b, c) in enumerate(values)]
    on_front = {int(t.id) for t, _ in pareto_front(trials, ["miou", "recall", "seconds"])}
    costs = [(-a, -b, c) for a, b, c in values]
    for k, cost in enumerate(costs):
        beaten = [
            j
            for j, other in enumerate(costs)
            if other != cost and all(x <= y for x, y in zip(other, cost, strict=True))
        ]
        assert (k in on_front) == (not beaten)
        assert k in on_front or on_front & set(beaten)
    for i, j in itertools.combinations(on_front, 2):
        assert costs[i] == costs[j] or not all(x <= y for x, y in zip(costs[i], costs[j],
                                                                      strict=True))  # fmt: skip


def test_the_rule_ranks_points_by_its_objective_among_those_that_keep_its_conditions():
    trials = [trial(0, 0.5, 0.9, 3.0), trial(1, 0.7, 0.7, 2.0), trial(2, 0.6, 0.6, 1.0)]
    assert ids(ranking_by(trials, parse_rule("miou"))) == ["0001", "0002", "0000"]
    assert ids(ranking_by(trials, parse_rule("recall"))) == ["0000", "0001", "0002"]
    assert ids(ranking_by(trials, parse_rule("seconds"))) == ["0002", "0001", "0000"]
    rule = parse_rule("miou where recall >= 65 and seconds <= 2.5")
    assert rule == Rule("miou", (("recall", ">=", 65.0), ("seconds", "<=", 2.5)))
    points = ranking_by(trials, rule)
    assert ids(points) == ["0001"]
    assert (points[0].mean, points[0].trials[0]) == (0.7, trials[1])
    assert ranking_by(trials, parse_rule("miou where parts >= 1")) == []
    some = [trial(0, 0.5, parts={"other": 0.3}), trial(1, 0.4, parts={"other": 0.6})]
    assert ids(ranking_by(some, parse_rule("parts"))) == ["0001", "0000"]


def test_a_trial_without_a_finite_value_leads_by_no_objective():
    """The journal writes NaN as null and reads it back as NaN: of precision without an activated
    pixel, and of parts of which the data set marks no pixel."""
    nan = float("nan")
    trials = [
        trial(0, 0.5, precision=0.6, parts={"other": 0.3}),
        trial(1, 0.6, precision=nan, parts={"other": nan}),
        trial(2, 0.4, precision=0.8, parts={"other": 0.5}),
        trial(3, nan, recall=nan, precision=0.7, parts={"other": 0.4}),
    ]
    again = [trial_from_json(from_json(json.dumps(as_json(t)))) for t in trials[:3]]
    assert math.isnan(again[1].score.precision)
    for order in itertools.permutations(trials):
        assert ids(ranking_by(order, parse_rule("precision"))) == ["0002", "0003", "0000"]
        assert ids(ranking_by(order, parse_rule("parts"))) == ["0002", "0003", "0000"]
        assert ids(ranking_by(order, parse_rule("miou"))) == ["0001", "0000", "0002"]
        rule = parse_rule("miou where precision >= 1")
        assert ids(ranking_by(order, rule)) == ["0000", "0002"]
        front = pareto_front(order, ["miou", "precision"])
        assert [t.id for t, _ in front] == ["0000", "0002"]
    seeds = [trial(4, 0.5, precision=0.2, point=1), trial(5, 0.5, precision=nan, point=1)]
    assert mean_objectives(seeds, ["precision"]) == {"precision": 0.2}
    assert mean_objectives(seeds[1:], ["precision"]) == {"precision": None}


def test_a_point_without_a_finite_objective_counts_as_failed_for_a_search():
    """A Gaussian process, or Optuna, takes no value that is not a number."""
    base = build_experiment("lpcam")
    sweep = Sweep(base=base, space={"lpcam.tau": [0.1, 0.2]}, objectives=("precision",))
    done = [trial(0, 0.5, precision=float("nan")), trial(1, 0.5, precision=0.25)]
    assert TrialQueue(sweep, searcher(sweep), done).values_by_point() == {0: None, 1: [0.25]}


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        (["lpcam.tau", "training.lr", "combination"], SEED),
        (["lpcam.tau", "refine.beta"], PSEUDO_LABELS),
        (["segment.training.lr", "refine.beta"], PREDICTIONS),
        (["baseline.segment.training.lr"], SEED),
        ([], SEED),
    ],
)
def test_trials_score_the_result_of_the_last_stage_that_a_field_changes(fields, result):
    assert scored_result(fields) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("iou", "unknown objective 'iou'; there are miou, precision"),
        ("miou where", "unknown objective 'miou where'"),
        ("miou where recall > 3", "is no rule of the best point; write OBJECTIVE"),
        ("miou where recall >= 1.2.3", "is no rule of the best point"),
        ("miou where call >= 3", "unknown objective 'call'"),
        ("", "unknown objective ''"),
    ],
)
def test_a_text_that_is_no_rule_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_rule(text)


def test_a_record_may_name_each_objective():
    assert list(OBJECTIVES) == list(schema.OBJECTIVES) == list(get_args(ObjectiveName))


def test_an_objective_is_named_once():
    with pytest.raises(InputError, match="the objectives are miou, miou; name each one once"):
        check_objectives(["miou", "miou"])
    with pytest.raises(InputError, match="missing"):
        check_objectives([])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            Trial,
            id=st.sampled_from("012345"),
            params=st.fixed_dictionaries({"lpcam.tau": st.sampled_from([0.1, 0.2, 0.3])}),
            status=st.sampled_from(["done", "done", "done", "failed", "stopped"]),
            seconds=st.sampled_from([1.0, 2.0, 3.0]),
            value=st.sampled_from([None, math.nan, 0.25, 0.5, 0.75]),
            seed=st.sampled_from([0, 1]),
        ),
        max_size=12,
    ),
    st.sampled_from(
        ["miou", "seconds", "precision", "miou where seconds <= 2", "seconds where miou >= 40"]
    ),
)
def test_the_best_mean_so_far_is_that_of_a_ranking_of_all_trials(ended, text):
    """A trial that ends again replaces its earlier end, even with other values of its fields."""
    rule, by_id = parse_rule(text), {}
    best = BestSoFar(rule)
    for trial in ended:
        best.add(trial)
        by_id[trial.id] = trial
        ranked = ranking_by(sorted(by_id.values(), key=lambda t: t.id), rule)
        assert best.mean == (ranked[0].mean if ranked else None)


def test_the_point_of_each_trial_is_looked_up_once_for_the_best_so_far(monkeypatch):
    """Ranking all trials at each end of a trial would take half an hour with 10,000 trials."""
    counted = Mock(side_effect=point_key)
    monkeypatch.setattr(objectives, "point_key", counted)
    monkeypatch.setattr(ranking, "point_key", counted)
    sweep = Sweep(base=build_experiment("lpcam"), space={"lpcam.K": [*range(2, 52)]})
    queue = TrialQueue(sweep, searcher(sweep), [])
    for number in range(50):
        ended = trial(number, number / 50)
        queue.end(number, ended)
        assert queue.leader == f"best by miou: {2 * number:.1f} %"
    assert counted.call_count == 50
