"""Tests of the search by expected improvement per unit of cost, and of budgets."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.records.schema import StageRecord, Trial
from wsss.platform.serialization import digest, from_json
from wsss.platform.tuning.budget import Budget, parse_budget
from wsss.platform.tuning.costs.needed_stages import LOST
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.search import MarginalCosts, Need, cost_aware_points, make_searcher
from wsss.platform.tuning.search.cost_aware_points import score, together
from wsss.platform.tuning.search.encoding import Encoding
from wsss.platform.tuning.search.gaussian_process import log_expected_improvement
from wsss.platform.tuning.search.known_points import draw_points
from wsss.platform.tuning.search.marginal_costs import TRIAL, UNUSUAL_SECONDS, Account
from wsss.platform.tuning.spaces import space_from
from wsss.platform.tuning.spaces.points import grid
from wsss.platform.tuning.sweep import Sweep, searcher

SPACE = space_from(
    {
        "lpcam.tau": {"uniform": [0.05, 0.4]},
        "lpcam.K": {"lograndint": [4, 21]},
        "lpcam.mu_f": {"quniform": [0.6, 0.9, 0.1]},
        "refiner": [
            {"refine.kind": "crf", "refine.crf": {"choice": ["irn", "psa"]}},
            {"refine.kind": "irn", "refine.beta": {"loguniform": [1, 9]}},
        ],
    }
)
SECONDS = {"centers": 20.0, "scores": 1.0}


def needs(point):
    """Return the stages of a point: a clustering for each tau and K, and its scores."""
    clustering = f"centers-{point['lpcam.tau']}-{point['lpcam.K']}"
    scores = "scores-" + digest(point)
    return [Need(key, key.partition("-")[0], "title") for key in (clustering, scores)]


def record(need):
    return StageRecord(
        stage=need.name, title=need.name, key=need.key, seconds=SECONDS[need.name], cached=False
    )


def value(point):
    return 1 - abs(point["lpcam.tau"] - 0.3) - abs(point["lpcam.K"] - 8) / 20


def carried_out(count, width, known=(), **options):
    """Return the points of a search and its costs, after some known points; point 5 fails."""
    costs = MarginalCosts(needs, **options)
    points, values = [], {}
    search = make_searcher("eipu", SPACE, count, 3, width, costs=costs)
    for number, point in enumerate(known):
        search.recall(number, point)
    for number in range(count):
        if number % width == 0:
            for k, point in enumerate(points):
                values[k] = None if k == 5 else [value(point)]
                costs.add(k, map(record, needs(point)))
        points.append(search.suggest(number, values))
    return points, costs


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2h", Budget(7200, False)),
        ("1.5 m", Budget(90, False)),
        (" 90s", Budget(90, False)),
        ("40 stages", Budget(40, True)),
        ("1 stage", Budget(1, True)),
    ],
)
def test_a_budget_is_a_time_or_a_number_of_stages(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-1h", "0m", "2 days", "1.5 stages", "2h 3m", "1e3s"]
)
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"--budget is '.*'; write hours, minutes, seconds or sta"):
        parse_budget(text)


STAGES = st.lists(st.sampled_from([Need(str(k), "maps", "ab"[k % 2]) for k in range(6)]))


@settings(max_examples=50)
@given(STAGES, STAGES, STAGES, st.booleans())
def test_a_cost_is_that_of_the_missing_stages(before, first, further, in_stages):
    """It is never lower with more missing stages, and nothing but that of the trial without."""
    account = Account(in_stages=in_stages).with_point(before)
    cost = account.marginal_cost(first)
    assert cost <= account.marginal_cost([*first, *further])
    assert account.marginal_cost(before) == TRIAL
    grown = account.with_point(first)
    assert grown.spent == pytest.approx(account.spent + cost - TRIAL)
    assert grown.marginal_cost(first) == TRIAL


def test_times_are_learnt_from_stages_with_the_same_title():
    need = Need("new", "unknown", "clusters")
    ran = [record(Need("a", "centers", "")), record(Need("b", "scores", ""))]
    ran = [dataclasses.replace(r, title="clusters") for r in ran]
    assert Account().seconds(need) == UNUSUAL_SECONDS
    assert Account(earlier=ran[:1]).seconds(need) == 20
    assert Account(computed={r.key: r for r in ran}, earlier=ran[:1]).seconds(need) == 10.5


def test_a_point_is_found_again_from_its_shares():
    encoding = Encoding(SPACE)
    for point in draw_points(SPACE, 40, 1):
        again = encoding.point(encoding.shares(point), "x")
        assert again.keys() == point.keys()
        for field, number in point.items():
            assert again[field] == (pytest.approx(number) if isinstance(number, float) else number)
    features = encoding.features(draw_points(SPACE, 5, 1))
    assert features.shape == (5, 10)  # of groups and choices one for each value
    assert 0 <= features.min() <= features.max() <= 1


@pytest.mark.parametrize("z", [6.0, 0.5, -0.99, -1.01, -5.0, -30.0, -900.0, -2000.0])
def test_the_logarithm_of_the_expected_improvement_is_that_of_its_integral(z):
    """The integral of the improvement t over its density, of which exp(-z^2 / 2) is a factor."""
    scale = max(1.0, -z)
    inner, _ = quad(
        lambda t: t / scale * np.exp(z * t / scale - (t / scale) ** 2 / 2),
        0,
        60 * max(1, 9 * (z > 0)),
    )
    oracle = np.log(3) + np.log(inner / scale) - z * z / 2 - np.log(2 * np.pi) / 2
    improvement = log_expected_improvement(np.array([2 + 3 * z]), np.array([3.0]), 2.0)
    assert improvement[0] == pytest.approx(oracle, rel=1e-6)
    assert score(improvement[0], 20.0, 0.5) == pytest.approx(oracle - np.log(20) / 2, rel=1e-6)


def test_a_search_shares_stages_that_cost_much():
    """Points at random need a clustering each; the search tries several points with one."""
    points, _ = carried_out(14, 1, amount=400.0)
    clusterings = {(p["lpcam.tau"], p["lpcam.K"]) for p in points}
    assert len({json.dumps(p, sort_keys=True) for p in points}) == 14
    assert len(clusterings) <= 10
    assert max(map(value, points)) > 0.9


def test_a_search_tries_every_point_of_a_small_space():
    space = space_from(
        {"lpcam.tau": [0.1, 0.2, 0.3], "lpcam.K": [4, 8], "refine.crf": ["irn", "psa"]}
    )
    costs = MarginalCosts(needs)
    search, values, points = make_searcher("eipu", space, 14, 0, 1, costs=costs), {}, []
    for number in range(14):
        points.append(search.suggest(number, values))
        values[number] = [value(points[-1])]
    texts = [json.dumps(p, sort_keys=True) for p in points]
    assert len({*texts[:12]}) == len({*texts}) == 12
    base = build_experiment("lpcam")
    assert Sweep(base=base, space=space, kind="eipu", budget="1h").count == 12
    assert Sweep(base=base, space=space, budget="1h").count == 12
    points = searcher(Sweep(base=base, space=space, kind="random", budget="1h")).points
    assert [*points] != [*grid(space)]  # a budget that ends it early leaves a random sample
    assert sorted(points, key=repr) == sorted(grid(space), key=repr)
    assert Sweep(base=base, space=SPACE, kind="tpe", budget="1h", trials=30).count == 30


@pytest.fixture
def few_candidates(monkeypatch):
    """Let a search compare fewer candidates for each point."""
    monkeypatch.setattr(cost_aware_points, "NEAR", 8)
    monkeypatch.setattr(cost_aware_points, "ANYWHERE", 32)


@pytest.mark.usefixtures("few_candidates")
def test_a_search_resumes_with_the_points_of_an_undisturbed_sweep():
    whole, _ = carried_out(12, 3, amount=200.0)
    for end in (2, 7, 9):
        known = from_json(json.dumps(whole[:end]))
        assert carried_out(12, 3, known, amount=200.0)[0] == whole, end


def test_points_that_share_missing_stages_follow_one_another():
    first, second = ({"p": k} for k in (1, 2))
    a, b, c = (Need(key, "centers", "") for key in "abc")
    chosen = [(first, [a]), (second, [b, c]), ({"p": 3}, [a]), ({"p": 4}, [c])]
    assert [p["p"] for p, _ in together(chosen, Account())] == [1, 3, 2, 4]
    account = Account().with_point([a])
    assert [p["p"] for p, _ in together(chosen, account)] == [1, 2, 4, 3]


def ended(config):
    """Return a trial as its config says."""
    point = config["point"]
    return Trial(
        id=str(config["number"]), params=point, status="done", seconds=1.0, value=value(point),
        stages=tuple(map(record, needs(point))),
    )  # fmt: skip


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("kind", ["random", "eipu"])
def test_a_sweep_ends_when_its_budget_is_spent(kind):
    """The generation in which it is spent ends, no matter which of its trials ends first."""
    base = build_experiment("lpcam")
    sweep = Sweep(base=base, space=SPACE, kind=kind, budget="50s", concurrent=2)
    assert sweep.count == 1000
    outcomes = []
    for order in (1, -1):
        costs = MarginalCosts(needs, amount=50.0)
        queue, number = TrialQueue(sweep, searcher(sweep, costs), [], costs), 0
        while configs := [queue.suggest() for _ in "ab" if queue.left]:
            if configs == [None]:
                break
            assert queue.suggest() is None  # the next generation waits
            for config in configs[::order]:
                queue.end(config["number"], ended(config))
            number += 2
        assert queue.total == len(queue.ended) == number
        assert costs.before(number).spent >= 50
        assert costs.before(number - 2).spent < 50
        outcomes.append([queue.ended[k].params for k in range(number)])
    assert outcomes[0] == outcomes[1]


def failed(number, seconds):
    lost = StageRecord(
        stage=LOST, title="failed trial", key=f"{number:04d}-0", seconds=seconds, cached=False
    )
    return Trial(
        id=f"{number:04d}", params={}, status="failed", seconds=seconds, error="no", stages=(lost,)
    )


def test_trials_that_fail_spend_the_budget():
    sweep = Sweep(base=build_experiment("lpcam"), space=SPACE, kind="random", budget="50s")
    costs = MarginalCosts(needs, amount=50.0)
    queue = TrialQueue(sweep, searcher(sweep, costs), [], costs)
    for _ in range(2):
        for _ in "ab":
            queue.end(queue.suggest()["number"], failed(queue.left[0] - 1, 20.0))
    assert costs.before(4).spent == 80
    assert queue.suggest() is None
    assert queue.total == len(queue.ended) == 4


def test_trials_that_failed_are_tried_again_although_the_budget_is_spent():
    sweep = Sweep(base=build_experiment("lpcam"), space=SPACE, kind="random", budget="50s")
    points = searcher(sweep).suggest
    done = [ended({"number": k, "point": points(k, {})}) for k in (0, 2, 3, 5)]
    costs = MarginalCosts(needs, amount=50.0)
    queue = TrialQueue(sweep, searcher(sweep, costs), done, costs)
    assert costs.before(6).spent > 50
    assert [queue.suggest()["number"] for _ in "ab"] == [1, 4]
    assert queue.suggest() is None


@pytest.mark.parametrize("kind", ["", "random"])
def test_a_budget_that_may_cut_a_grid_off_has_points_in_a_random_order(kind):
    space = {"lpcam.K": [4, 5, 6], "lpcam.tau": [0.1, 0.2, 0.3]}
    grid, drawn = (
        Sweep(base=build_experiment("lpcam"), space=space, kind=k, budget="9 stages")
        for k in ("grid", kind)
    )
    first, second = ([searcher(s).suggest(k, {}) for k in range(9)] for s in (grid, drawn))
    assert first != second
    assert sorted(map(str, first)) == sorted(map(str, second))
    catalog = SimpleNamespace(gpu=False)
    planned = SimpleNamespace(digest="digest", context=SimpleNamespace(catalog=catalog))
    assert grid.key(planned) != drawn.key(planned)
