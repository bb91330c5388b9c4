"""Tests of searchers: the points that a sweep tries follow from earlier values alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.errors import InputError
from wsss.platform.tuning.search import (
    TPE,
    check_search,
    draw_points,
    grid,
    make_searcher,
    point_count,
)

SPACE = {"lpcam.tau": (0.1, 0.2, 0.3, 0.4, 0.5), "lpcam.K": (4, 8, 12), "lpcam.split": ("a", "b")}


def value(point):
    """Return the value of a point, which is best at tau 0.4, K 8, split b."""
    return (
        1 - abs(point["lpcam.tau"] - 0.4) - abs(point["lpcam.K"] - 8) / 20
        + 0.1 * (point["lpcam.split"] == "b")
    )  # fmt: skip


def trials(tpe, count):
    value_by_point, points = {}, []
    for number in range(count):
        points.append(tpe.suggest(number, value_by_point))
        if (number + 1) % tpe.width == 0:
            value_by_point |= {k: value(p) for k, p in enumerate(points)}
    return points


def test_the_grid_has_every_point_once():
    points = list(grid(SPACE))
    assert len(points) == point_count(SPACE) == 30
    assert len({tuple(p.values()) for p in points}) == 30
    assert points[:2] == [
        {"lpcam.tau": 0.1, "lpcam.K": 4, "lpcam.split": "a"},
        {"lpcam.tau": 0.1, "lpcam.K": 4, "lpcam.split": "b"},
    ]


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 5))
def test_drawn_points_differ_and_lie_on_the_grid(count, seed):
    points = draw_points(SPACE, count, seed)
    assert len({tuple(p.values()) for p in points}) == min(count, 30)
    assert all(p in grid(SPACE) for p in points)
    assert points == draw_points(SPACE, count, seed)


def test_tpe_waits_for_the_values_of_earlier_generations():
    tpe = TPE(SPACE, 0, width=2)
    assert tpe.suggest(0, {})
    assert tpe.suggest(1, {})
    assert tpe.suggest(2, {0: 0.5}) is None
    assert tpe.suggest(2, {0: 0.5, 1: None}) is not None


def test_tpe_finds_good_points_sooner_than_random_search():
    best = [sum(sorted(map(value, trials(TPE(SPACE, seed, 2), 24)))[-8:]) / 8 for seed in range(4)]
    chance = [sum(sorted(map(value, draw_points(SPACE, 24, s)))[-8:]) / 8 for s in range(4)]
    assert sum(best) > sum(chance)


def test_tpe_resumes_with_the_same_points():
    whole = trials(TPE(SPACE, 3, 2), 16)
    value_by_point = {k: value(p) for k, p in enumerate(whole[:12])}
    again = TPE(SPACE, 3, 2)
    assert [again.suggest(k, value_by_point) for k in (12, 13)] == whole[12:14]


@pytest.mark.parametrize(
    ("kind", "count", "message"),
    [
        ("annealing", 3, "unknown search 'annealing'; there are grid, random, tpe"),
        ("grid", 3, "tries all 30 points; leave out --trials 3"),
        ("tpe", 0, "needs a number of --trials; the space has 30 points"),
        ("random", 0, "needs a number of --trials"),
    ],
)
def test_options_that_contradict_each_other_are_refused(kind, count, message):
    with pytest.raises(InputError, match=message):
        check_search(kind, SPACE, count)


def test_without_a_name_the_search_follows_from_the_number_of_trials():
    assert len(make_searcher("", SPACE, 0, 0, 2).points) == 30
    assert len(make_searcher("", SPACE, 7, 0, 2).points) == 7


def test_tpe_takes_every_seed_that_an_experiment_may_have():
    assert TPE(SPACE, 2**32 - 1, width=2).suggest(0, {})
