"""Tests of searchers: the points that a sweep tries follow from earlier values alone."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.errors import InputError
from wsss.platform.serialization import from_json
from wsss.platform.tuning.search import check_search, make_searcher, trial_count
from wsss.platform.tuning.search.known_points import draw_points, sobol_points
from wsss.platform.tuning.search.optuna_points import SAMPLERS, OptunaPoints
from wsss.platform.tuning.spaces import Computed, space_from
from wsss.platform.tuning.spaces.points import grid, point_count

SPACE = space_from(
    {"lpcam.tau": (0.1, 0.2, 0.3, 0.4, 0.5), "lpcam.K": (4, 8, 12), "lpcam.split": ("a", "b")}
)
CONTINUOUS = space_from(
    {
        "lpcam.tau": {"uniform": [0.05, 0.5]},
        "training.lr": {"loguniform": [0.001, 1.0]},
        "lpcam.K": {"randint": [4, 21]},
        "refine.scale": {"quniform": [0.0, 1.0, 0.1]},
        "lpcam.split": {"choice": ["a", "b"]},
        "refiner": [
            {"refine.kind": "crf"},
            {"refine.kind": "irn", "refine.beta": {"uniform": [1, 9]}},
        ],
    }
)
FEW = ("lpcam.tau", "lpcam.K", "lpcam.split")


def value(point):
    """Return the value of a point, which is best at tau 0.4, K 8, split b."""
    return (
        1 - abs(point["lpcam.tau"] - 0.4) - abs(point["lpcam.K"] - 8) / 20
        + 0.1 * (point["lpcam.split"] == "b") + 0.01 * point.get("refine.beta", 0)
    )  # fmt: skip


def carried_out(searcher, count, width, known=()):
    """Return the points of a sweep whose trials run `width` at a time, after some known points.

    Point 5 fails."""
    values_by_point, points = {k: values_at(k, p) for k, p in enumerate(known)}, [*known]
    for number in range(len(known), count):
        points.append(searcher.suggest(number, values_by_point))
        if (number + 1) % width == 0:
            values_by_point |= {k: values_at(k, p) for k, p in enumerate(points)}
    return points


def values_at(number, point):
    return None if number == 5 else [value(point)]


def test_the_grid_has_every_point_once():
    points = list(grid(SPACE))
    assert len(points) == point_count(SPACE) == 30
    assert len({tuple(p.values()) for p in points}) == 30
    assert points[:2] == [
        {"lpcam.tau": 0.1, "lpcam.K": 4, "lpcam.split": "a"},
        {"lpcam.tau": 0.1, "lpcam.K": 4, "lpcam.split": "b"},
    ]


def test_the_grid_of_groups_has_the_points_of_each_group():
    space = space_from(
        {
            "lpcam.K": [4, 8],
            "refiner": [{"refine.kind": ""}, {"refine.kind": "irn", "refine.steps": [4, 8]}],
        }
    )
    points = list(grid(space))
    assert len(points) == point_count(space) == 6
    assert points[:3] == [
        {"lpcam.K": 4, "refine.kind": ""},
        {"lpcam.K": 4, "refine.kind": "irn", "refine.steps": 4},
        {"lpcam.K": 4, "refine.kind": "irn", "refine.steps": 8},
    ]


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 5))
def test_drawn_points_differ_and_lie_on_the_grid(count, seed):
    points = draw_points(SPACE, count, seed)
    assert len({tuple(p.values()) for p in points}) == min(count, 30)
    assert all(p in grid(SPACE) for p in points)
    assert points == draw_points(SPACE, count, seed)


@pytest.mark.parametrize("draw", [draw_points, sobol_points])
def test_known_points_lie_in_a_continuous_space(draw):
    points = draw(CONTINUOUS, 64, 3)
    assert points == draw(CONTINUOUS, 64, 3) != draw(CONTINUOUS, 64, 4)
    assert points[:8] == draw(CONTINUOUS, 8, 3)
    for point in points:
        assert 0.05 <= point["lpcam.tau"] <= 0.5
        assert 0.001 <= point["training.lr"] <= 1
        assert point["refine.scale"] in [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
        assert ("refine.beta" in point) == (point["refine.kind"] == "irn")
    assert {p["lpcam.K"] for p in points} <= set(range(4, 21))
    assert {p["refine.kind"] for p in points} == {"crf", "irn"}
    small = sum(p["training.lr"] < 0.0316 for p in points)
    assert 20 <= small <= 44  # half of the logarithmic range


def test_sobol_points_fill_a_space_more_evenly_than_drawn_points():
    """Each half of each continuous field holds half of 16 points, and each quarter four."""
    space = {"lpcam.tau": CONTINUOUS["lpcam.tau"]}
    shares = sorted((p["lpcam.tau"] - 0.05) / 0.45 for p in sobol_points(space, 16, 1))
    assert [int(16 * share) for share in shares] == list(range(16))


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_search_waits_for_the_values_of_earlier_generations(kind):
    searcher = OptunaPoints(kind, SPACE, 0, width=2, count=8)
    assert searcher.suggest(0, {})
    assert searcher.suggest(1, {})
    assert searcher.suggest(2, {0: [0.5]}) is None
    assert searcher.suggest(2, {0: [0.5], 1: None}) is not None


@pytest.mark.parametrize("kind", ["tpe", "cmaes", "nsga2"])
def test_a_search_finds_better_points_than_chance(kind):
    """The mean of the last eight of 24 points is above that of points drawn at random."""
    space = {field: CONTINUOUS[field] for field in FEW}
    means, chance = [], []
    for seed in range(2):
        points = carried_out(OptunaPoints(kind, space, seed, 2, 32), 32, 2)
        means.append(sum(map(value, points[-8:])) / 8)
        chance.append(sum(map(value, draw_points(space, 32, seed))) / 32)
    assert sum(means) > sum(chance)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_search_resumes_with_the_points_of_an_undisturbed_sweep(kind, monkeypatch):
    """It was killed before its first generation ended, within a generation or after one; the
    journal keeps points as JSON."""
    space, count, ends = CONTINUOUS, 24, (2, 13, 18)
    if kind == "gp":  # it takes a second for each point after the drawn ones
        monkeypatch.setattr("wsss.platform.tuning.search.optuna_points.STARTUP", 3)
        space, count, ends = {k: CONTINUOUS[k] for k in FEW}, 7, (4, 6)
    whole = carried_out(OptunaPoints(kind, space, 3, 3, 24), count, 3)
    for end in ends:
        again = OptunaPoints(kind, space, 3, 3, 24)
        known = from_json(json.dumps(whole[:end]))
        for number, point in enumerate(known):
            again.recall(number, point)
        assert carried_out(again, count, 3, known) == whole, end


def test_several_objectives_are_searched_together():
    """Of two objectives that contradict each other, NSGA-II keeps points that are good in one."""
    space = {"lpcam.tau": CONTINUOUS["lpcam.tau"]}
    searcher = OptunaPoints("nsga2", space, 0, 2, 24, maximized=(True, False))
    values, points = {}, []
    for number in range(24):
        points.append(searcher.suggest(number, values))
        tau = points[-1]["lpcam.tau"]
        values[number] = [min(tau, 0.3), max(tau, 0.2)]  # no point beats 0.2 to 0.3
    good = sum(0.15 <= p["lpcam.tau"] <= 0.35 for p in points[-12:])
    assert good > sum(0.15 <= p["lpcam.tau"] <= 0.35 for p in points[:12])


def test_a_failed_point_that_runs_again_keeps_the_later_points():
    """Points that were chosen without a value stay when the value comes after all."""
    whole = carried_out(OptunaPoints("nsga2", CONTINUOUS, 1, 2, 24), 16, 2)
    again = OptunaPoints("nsga2", CONTINUOUS, 1, 2, 24)
    for number, point in enumerate(whole):
        again.recall(number, point)
    assert [again.suggest(k, {}) for k in range(16)] == whole
    assert again.suggest(16, {k: [value(p)] for k, p in enumerate(whole)}) is not None


@pytest.mark.parametrize(
    ("kind", "count", "space", "message"),
    [
        ("annealing", 3, SPACE, "unknown search 'annealing'; there are grid, random, sobol, tpe"),
        ("grid", 3, SPACE, "tries all 30 points; leave out --trials 3"),
        ("tpe", 0, SPACE, "needs a number of --trials or a --budget; the space has 30 p"),
        ("random", 0, SPACE, "needs a number of --trials"),
        ("gp", 0, CONTINUOUS, "--trials or a --budget; the space is continuous in 'lpcam.tau'"),
        ("grid", 0, CONTINUOUS, "cannot try every value of 'lpcam.tau'; list its values, e.g. by"),
        ("cmaes", 9, {"lpcam.K": SPACE["lpcam.K"]}, "cmaes needs two fields that are numbers"),
    ],
)
def test_options_that_contradict_each_other_are_refused(kind, count, space, message):
    with pytest.raises(InputError, match=message):
        check_search(kind, space, count)


def test_a_search_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"package cmaes; run pip install cmaes"):
        check_search("cmaes", SPACE, 3)


def test_without_a_name_the_search_follows_from_the_space_and_the_number_of_trials():
    assert len(make_searcher("", SPACE, 0, 0, 2).points) == 30
    assert len(make_searcher("", SPACE, 7, 0, 2).points) == 7
    assert len(make_searcher("", CONTINUOUS, 7, 0, 2).points) == 7
    assert len(make_searcher("", CONTINUOUS, 0, 0, 2).points) == 20
    assert trial_count("tpe", SPACE, 50) == 50


def with_function(function):
    """Return a space of three points with a value that a function computes."""
    return space_from({"lpcam.K": (4, 8, 12), "lpcam.tau": Computed(function, False, "source")})


def test_a_random_search_draws_as_many_points_as_it_is_told_where_a_function_draws():
    """The grid counts such a field once, whatever the function draws."""
    space = with_function(random.random)
    assert trial_count("random", space, 20) == 20
    assert trial_count("", space, 20) == trial_count("", space, 0) == 3
    points = make_searcher("random", space, 20, 5, 2).points
    assert len({point["lpcam.tau"] for point in points}) == len(points) == 20
    assert {point["lpcam.K"] for point in points} == {4, 8, 12}
    assert points == make_searcher("random", space, 20, 5, 2).points
    shuffled = make_searcher("random", space, 20, 5, 2, shuffled=True).points
    assert sorted(map(str, shuffled)) == sorted(map(str, points))


def test_what_a_function_draws_follows_from_the_random_seed_of_the_sweep():
    space = with_function(random.random)
    for kind, count in (("grid", 0), ("random", 2), ("random", 7)):
        one, same, other = (make_searcher(kind, space, count, k, 2).points for k in (0, 0, 1))
        assert one == same
        assert {p["lpcam.tau"] for p in one}.isdisjoint(p["lpcam.tau"] for p in other)
    constant = with_function(lambda: 0.5)
    grids = [make_searcher("grid", constant, 0, seed, 2).points for seed in (0, 1)]
    assert grids[0] == grids[1] == [{"lpcam.K": K, "lpcam.tau": 0.5} for K in (4, 8, 12)]


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_search_takes_every_seed_that_an_experiment_may_have(kind):
    assert OptunaPoints(kind, SPACE, 2**32 - 1, width=2, count=8).suggest(0, {})
    assert sobol_points(SPACE, 1, 2**32 - 1)
