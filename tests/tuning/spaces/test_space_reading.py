"""Tests of the reading of search spaces: lists, Ray Tune's objects and file forms."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from ray import tune
from wsss.platform.config.yaml_writer import value_text
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.tuning.search import FixedPoints
from wsss.platform.tuning.spaces import find_space, recorded, space_from, space_in_file_form
from wsss.platform.tuning.spaces.domains import Groups, Listed, Numbers
from wsss.platform.tuning.sweep import Sweep, searcher
from wsss.platform.tuning.sweep_file import sweep_section

GROUPS = [
    {"refine.kind": "crf", "refine.crf": tune.choice(["irn", "psa"])},
    {"refine.kind": "irn", "refine.beta": tune.uniform(5.0, 15.0)},
]
PLAIN_GROUPS = [
    {"refine.kind": ["crf"], "refine.crf": {"choice": ["irn", "psa"]}},
    {"refine.kind": ["irn"], "refine.beta": {"uniform": [5.0, 15.0]}},
]


@pytest.mark.parametrize(
    ("made", "form", "domain"),
    [
        ([1, 2], [1, 2], Listed((1, 2))),
        (tune.grid_search([1, 2]), [1, 2], Listed((1, 2))),
        (tune.choice([1, 2]), {"choice": [1, 2]}, Listed((1, 2), ordered=False)),
        (tune.uniform(0.1, 0.5), {"uniform": [0.1, 0.5]}, Numbers(0.1, 0.5)),
        (tune.loguniform(0.1, 0.5), {"loguniform": [0.1, 0.5]}, Numbers(0.1, 0.5, log=True)),
        (tune.quniform(0.1, 0.5, 0.1), {"quniform": [0.1, 0.5, 0.1]}, Numbers(0.1, 0.5, step=0.1)),
        (
            tune.qloguniform(0.1, 0.5, 0.1),
            {"qloguniform": [0.1, 0.5, 0.1]},
            Numbers(0.1, 0.5, log=True, step=0.1),
        ),
        (tune.randint(4, 9), {"randint": [4, 9]}, Numbers(4, 8, True, step=1)),
        (tune.lograndint(4, 9), {"lograndint": [4, 9]}, Numbers(4, 8, True, True, 1)),
        (tune.qrandint(4, 12, 4), {"qrandint": [4, 12, 4]}, Numbers(4, 12, True, step=4)),
        (
            tune.qlograndint(4, 12, 4),
            {"qlograndint": [4, 12, 4]},
            Numbers(4, 12, True, True, 4),
        ),
        (tune.choice(GROUPS), {"choice": PLAIN_GROUPS}, None),
    ],
)
def test_a_domain_and_its_plain_form_are_the_same(made, form, domain):
    read = space_from({"a.b": made})
    assert space_in_file_form(read) == {"a.b": form}
    assert space_from(space_in_file_form(read)) == read
    assert domain in (None, read["a.b"])
    text = yaml.safe_load(value_text(form))
    assert space_from({"a.b": text}) == read


def test_quantized_numbers_are_those_that_tune_draws():
    """In Ray 2.60 a step makes the highest number of a range of whole numbers possible."""
    for made, integer in ((tune.quniform(0.1, 0.7, 0.1), False), (tune.qrandint(4, 12, 4), True)):
        drawn = {made.sample(random_state=np.random.default_rng(k)) for k in range(200)}
        domain = space_from({"a": made})["a"]
        ours = {domain.at(k) for k in range(domain.size)}
        assert {round(v, 9) for v in drawn} == {round(v, 9) for v in ours}
        assert all(isinstance(v, int) == integer for v in ours)
        assert {domain.at_share(k / 50) for k in range(50)} == ours


def test_whole_numbers_are_drawn_by_their_logarithm():
    domain = space_from({"a": tune.lograndint(1, 101)})["a"]
    drawn = [domain.at_share(random.Random(k).random()) for k in range(400)]
    assert {*drawn} <= set(range(1, 101))
    assert 160 <= sum(v < 10 for v in drawn) <= 240


def test_a_function_computes_a_value_from_its_point_by_the_same_draws():
    def lower(config):
        return config["lpcam.mu_f"] * random.random() + 0.0 * np.random.uniform()

    space = {"lpcam.mu_b": tune.sample_from(lower), "lpcam.mu_f": [0.6, 0.8]}
    sweep = Sweep(base=build_experiment("lpcam"), space=space)
    state = random.getstate()
    points = searcher(sweep).points
    assert random.getstate() == state
    assert points == searcher(sweep).points
    assert [list(p) for p in points] == [["lpcam.mu_b", "lpcam.mu_f"]] * 2
    assert all(0 <= p["lpcam.mu_b"] < p["lpcam.mu_f"] for p in points)
    assert "def lower(config)" in str(recorded(sweep.space)["lpcam.mu_b"])
    section = sweep_section(sweep)
    assert "# A function computes lpcam.mu_b: give" in section
    assert "    lpcam.mu_b: {sample_from: [FILE.py]}" in section.splitlines()


HALVES = """
SHARE = {share}

def lower(config):
    return SHARE * config["lpcam.mu_f"] + 0.01 * {draw}

SPACES = {{"mine": {{"lpcam.mu_f": [0.6, 0.8], "lpcam.mu_b": sample_from(lower)}}}}
"""
"""A file with a function that uses a number of the file."""


def key_of(path, share, draw="random.random()", **options):
    """Return the key of a sweep over the space of a file, which is read anew."""
    text = HALVES.format(share=share, draw=draw)
    path.write_text(f"import random\nimport numpy\nfrom ray.tune import sample_from\n{text}")
    sweep = Sweep(
        base=build_experiment("lpcam"), space=find_space("lpcam", str(path))[1], **options
    )
    catalog = SimpleNamespace(gpu=False)
    planned = SimpleNamespace(digest="digest", context=SimpleNamespace(catalog=catalog))
    return sweep.key(planned)


@pytest.mark.parametrize("kind", ["grid", "random", "sobol", "tpe", "eipu"])
def test_a_sweep_depends_on_what_its_functions_refer_to(tmp_path, kind):
    """The source code of the function does not show it."""
    options = {"kind": kind, "trials": 0 if kind == "grid" else 4}
    first = key_of(tmp_path / "mine.py", 0.5, **options)
    assert key_of(tmp_path / "mine.py", 0.5, **options) == first
    assert key_of(tmp_path / "mine.py", 0.25, **options) != first


def test_a_function_whose_draws_have_no_random_seed_leaves_the_key_as_it_is(tmp_path):
    """Otherwise, no sweep over such a space could be resumed."""
    draw = "numpy.random.default_rng().random()"
    keys = {key_of(tmp_path / "mine.py", 0.5, draw) for _ in range(2)}
    assert len(keys) == 1


def test_groups_are_recorded_by_field():
    space = space_from({"refiner": tune.choice(GROUPS)})
    assert isinstance(space["refiner"], Groups)
    assert recorded(space) == {
        "refine.kind": ["crf", "irn"],
        "refine.crf": {"choice": ["irn", "psa"]},
        "refine.beta": {"uniform": [5.0, 15.0]},
    }
    sweep = Sweep(base=build_experiment("lpcam"), space=space, trials=12)
    assert isinstance(searcher(sweep), FixedPoints)
    kinds = {p["refine.kind"]: set(p) for p in searcher(sweep).points}
    assert kinds == {
        "crf": {"refine.kind", "refine.crf"},
        "irn": {"refine.kind", "refine.beta"},
    }
    assert sweep.trial_experiment({"refine.kind": "irn"}).refine.kind == "irn"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"a": 0.1}, "has 0.1 for 'a'; give a list of values, or a distribution of ray.tune"),
        ({"a": []}, r"has \[\] for 'a'; give a list"),
        ({"a": {"normal": [0, 1]}}, "has {'normal'.* give a list"),
        ({"a": {"sample_from": "lambda: 1"}}, "a function computes 'a', which no experiment file"),
        ({"b": [1], "a.sample_from": ["FILE.py"]}, "a function computes 'a'"),
        ({"a": tune.randn(0, 1)}, "for 'a', which has no bounds"),
        ({"a": {"uniform": [1]}}, r"uniform\(1\) for 'a'; uniform takes 2 numbers"),
        ({"a": {"uniform": [0, float("nan")]}}, "takes 2 numbers"),
        ({"a": {"quniform": [0, 1, 0]}}, "the step must be above 0"),
        ({"a": {"quniform": [0.1, 0.2, 0.5]}}, "it holds no number"),
        ({"a": {"randint": [4, 4]}}, "it holds no number"),
        ({"a": {"randint": [1.5, 4]}}, "randint takes whole numbers"),
        ({"a": {"loguniform": [0, 1]}}, "the lowest number must be above 0"),
        ({"a": [{"b": 1}, 2]}, "mixes groups of fields with other values in 'a'"),
        ({"a": [{"b": 1}, {"b": 1, "c": 2}]}, "two groups of 'a' cannot be told apart"),
        ({"a": [{"b": {"uniform": [0, 2]}}, {"b": 1}]}, "cannot be told apart"),
        ({"a": [{"b": 1}, {"b": 2}], "b": [3]}, "has 'b' both in and outside the groups of 'a'"),
        ({"a.b": [1], "a.b.uniform": [0, 1]}, "the space names 'a.b' twice; leave one of them out"),
        ({"a.choice": [1], "b": [2], "a": [3]}, "the space names 'a' twice"),
    ],
)
def test_a_space_that_is_none_is_refused(space, message):
    with pytest.raises(InputError, match=message):
        space_from(space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lpcam.taau": tune.uniform(0, 1)}, r"unknown field 'lpcam.taau'.*lpcam\.tau"),
        ({"lpcam.tau": tune.uniform(0, 2)}, r"lpcam\.tau is 2"),
        ({"lpcam.K": tune.uniform(2, 8.5)}, r"lpcam\.K is 2\.0; it must be a whole"),
        ({"lpcam.taau": tune.sample_from(lambda: 0.1)}, "unknown field 'lpcam.taau'"),
        ({"x": tune.choice([{"refine.kind": "irn", "refine.betta": [1]}])}, "refine.betta"),
        ({"x": [{"seed": 1}]}, "a space cannot vary 'seed'"),
    ],
)
def test_a_field_or_value_that_no_experiment_has_is_refused(space, message):
    for kind, trials in (("", 3), ("tpe", 0)):  # the field is named before the missing --trials
        with pytest.raises(InputError, match=message):
            Sweep(base=build_experiment("lpcam"), space=space, trials=trials, kind=kind)
