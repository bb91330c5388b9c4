"""Tests of search spaces: every method has one, and every value makes an experiment."""

from __future__ import annotations

import dataclasses
import importlib
import re
from functools import partial
from pathlib import Path

import pytest
from wsss.platform.cli.resolve import parse_combination
from wsss.platform.cli.sweep_commands import front, leaders
from wsss.platform.cli.tables import figure_table
from wsss.platform.config.fields import walk
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment, methods
from wsss.platform.records.schema import SweepRecord, Trial, read_sweep
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store
from wsss.platform.tuning import spaces, tuner
from wsss.platform.tuning.journal import Journal, SweepPlan
from wsss.platform.tuning.spaces import (
    COMBINATION,
    Numbers,
    named,
    space_from,
    space_in_file_form,
    spaces_of_method,
)
from wsss.platform.tuning.spaces.domains import domains_by_field
from wsss.platform.tuning.spaces.points import grid
from wsss.platform.tuning.sweep import Sweep, best_experiment, searcher

NAMES = sorted(p.stem for p in (Path(__file__).parents[3] / "tune_spaces").glob("*.py"))


def module(name):
    return importlib.import_module(f"wsss.tune_spaces.{name.replace('-', '_')}")


def test_every_method_has_spaces():
    assert {*(name.replace("-", "_") for name in methods()), "common"} == set(NAMES)
    assert all("default" in module(name).SPACES for name in methods())


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_allowed(name):
    for space in module(name).SPACES.values():
        domains = domains_by_field(space_from(space))
        assert any(len({*map(repr, d.extremes)}) > 1 for each in domains.values() for d in each)
        for field, values in ((f, d.extremes) for f, each in domains.items() for d in each):
            assert len(set(values)) == len(values) > 0
            for value in values:
                if field == COMBINATION:
                    assert build_experiment(**parse_combination(value)).combination == value
                else:
                    method = "cam" if name == "common" else name.replace("_", "-")
                    build_experiment(method, changes={field: value})


@pytest.mark.parametrize("name", methods())
def test_every_interval_holds_the_value_of_the_paper(name):
    published = {field: value for field, value, _ in walk(build_experiment(name, preset="paper"))}
    for space in module(name).SPACES.values():
        for field, domains in domains_by_field(space_from(space)).items():
            for domain in domains:
                if isinstance(domain, Numbers):
                    assert domain.low <= published[field] <= domain.high, field


@pytest.mark.parametrize("name", methods())
def test_every_point_of_a_figure_makes_a_different_experiment(name):
    for figure in getattr(module(name), "FIGURES", {}).values():
        assert figure["title"].lower().startswith(name)
        assert "VOC train" in figure["published"]
        for points in figure["panels"].values():
            made = [repr(build_experiment(name, changes=changes)) for _, changes, _ in points]
            assert len(set(made)) == len(made) > 1
            assert all(printed is None or 0 < printed < 100 for _, _, printed in points)


def test_cpals_space_has_the_papers_temperature_in_the_middle():
    (domain,) = domains_by_field(space_from(spaces_of_method("cpal")["default"]))[
        "cpal.temperature"
    ]
    low, high = domain.extremes
    assert domain.log
    assert low * high == build_experiment("cpal", preset="paper").settings["cpal"].temperature == 1


def test_a_figure_is_found_by_its_name():
    method, figure = spaces.find_figure("cpal-table-2")
    assert method == "cpal"
    assert figure["title"] == "CPAL, Table 2"
    with pytest.raises(InputError, match=r"unknown figure 'lpcam-9'; there are cpal-4, .*ssc-7"):
        spaces.find_figure("lpcam-9")


def test_the_table_of_a_figure_states_the_options_that_no_row_names():
    """For Fig. 4 these are the weighting, which all points set, and what the other panel varies."""
    figure = spaces.find_figure("cpal-4")[1]
    points = [changes for panel in figure["panels"].values() for _, changes, _ in panel]
    trials = tuple(
        Trial(
            id=f"{k:04d}",
            params=point,
            status="done",
            seconds=1.0,
            value=k / 100,
        )
        for k, point in enumerate(points)
    )
    record = SweepRecord(
        name="f", method="cpal", dataset="voc", split="train", space={}, trials=trials, best="0000",
        default={"cpal.weighting": "printed", "cpal.tau": 0.6, "cpal.slots": 1000}, run=None,
        command="", started="2026-01-01T00:00:00+0000", seconds=1.0, digest="", figure="cpal-4",
    )  # fmt: skip
    table = str(figure_table(figure, record))
    assert "unless a row says otherwise: slots 1000, tau 0.6, weighting weighted\n" in table
    assert re.search(r"length of the support set: 800 +6.0 +62.3", table)


RATES = {"training.lr": (0.1, 0.2), "segment.training.lr": (0.01, 0.02, 0.03)}


def test_fields_with_one_last_name_vary_in_one_sweep(tmp_path):
    """Both fields keep their full names in the journal, and the best point has both values."""
    base = build_experiment("lpcam", changes={"segment.network": "deeplabv2"})
    sweep = Sweep(base=base, space=RATES)
    journal, points = Journal(Store(tmp_path), "rates"), list(grid(space_from(RATES)))
    journal.begin(SweepPlan(digest="d", trials=6, command="c"))
    for number, point in enumerate(points):
        journal.add(Trial(id=f"{number:04d}", params=point, status="done", seconds=1.0,
                         value=0.9 if number == 4 else 0.1 * number))  # fmt: skip
    trials = journal.trials()
    assert [t.params for t in trials] == points
    record = SweepRecord(
        name="rates", method="lpcam", dataset="voc", split="train", default=sweep.default,
        space={field: list(values) for field, values in RATES.items()}, trials=tuple(trials),
        best="0004", run=None, command="", started="2026-01-01T00:00:00+0000",
        seconds=1.0, digest="d",
    )  # fmt: skip
    assert set(record.default) == set(RATES)
    best = best_experiment(sweep, record, seed=3)
    assert (best.training.lr, best.segment.training.lr, best.seed) == (0.2, 0.02, 3)
    line = "chosen on train: training.lr 0.2, segment.training.lr 0.02 (90.0 %)"
    assert leaders(record) == [f"{line}; with one random seed, it may lead by chance"]
    rows = [(k, point, None) for k, point in enumerate(points)]
    figure = {"title": "LPCAM, Table 0", "published": "nowhere", "panels": {"rates": rows}}
    assert re.search(r"rates: 4 +90.0 +-\n", str(figure_table(figure, record)))


def test_a_search_over_fields_with_one_last_name_resumes_with_the_same_points(tmp_path):
    sweep = Sweep(base=build_experiment("lpcam"), space=RATES, trials=6, kind="tpe", concurrent=2)
    whole, values = searcher(sweep), {}
    journal = Journal(Store(tmp_path), "rates")
    journal.begin(SweepPlan(digest="d", trials=6, command="c"))
    points = []
    for number in range(6):
        points.append(whole.suggest(number, values))
        if number < 4:
            value = sum(points[number].values())
            journal.add(Trial(id=f"{number:04d}", params=points[number], status="done",
                             seconds=1.0, value=value))  # fmt: skip
            values = {**values, number: [value]}
    again = searcher(sweep)
    for trial in journal.trials():
        again.recall(int(trial.id), trial.params)
    assert [again.suggest(number, values) for number in (4, 5)] == points[4:]


def test_a_searcher_changes_nothing_in_its_sweep():
    """A searcher keeps its memory to itself, so two searchers of one sweep are independent."""
    sweep = Sweep(base=build_experiment("lpcam"), space=RATES, trials=2, kind="tpe")
    before = dict(vars(sweep))
    assert searcher(sweep).suggest(0, {})
    assert vars(sweep) == before
    assert set(before) == {field.name for field in dataclasses.fields(Sweep)}


def test_repeats_beyond_the_highest_random_seed_are_refused_before_the_first_trial():
    highest = 2**32 - 1
    base = build_experiment("lpcam", changes={"seed": highest - 1})
    assert [*Sweep(base=base, space=RATES, repeats=2, trials=1).seeds] == [highest - 1, highest]
    with pytest.raises(
        InputError, match=r"3 repeats from random seed 4294967294 on need seed 4294"
    ):
        Sweep(base=base, space=RATES, repeats=3, trials=1)


def test_a_package_that_the_file_of_a_space_lacks_is_named(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")

    assert "default" in spaces_of_method("lpcam")
    for name in ("a-method-without-a-file", "amn.v2", "lpcam.v2"):  # imports may have such names
        assert set(spaces_of_method(name)) == set(spaces_of_method("common"))
    monkeypatch.setattr(named.importlib, "import_module", import_module)
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        spaces_of_method("lpcam")


def test_a_rule_names_the_best_point_of_a_finished_sweep(tmp_path):
    """Another rule needs no other trial; the record keeps it, and its best point is run anew."""
    base = build_experiment("lpcam")
    sweep = Sweep(base=base, space={"lpcam.tau": [0.1, 0.2]}, objectives=("miou", "seconds"))
    journal = Journal(Store(tmp_path), "rules")
    trials = tuple(
        Trial(id=f"000{k}", params={"lpcam.tau": tau}, status="done", seconds=s, value=v)
        for k, (tau, s, v) in enumerate([(0.1, 9.0, 0.5), (0.2, 1.0, 0.4)])
    )
    record = SweepRecord(
        name="rules", method="lpcam", dataset="voc", split="train", space={}, trials=trials,
        best="0000", default={}, run="r", command="", started="2026-01-01T00:00:00+0000",
        seconds=1.0, digest="d", objectives=sweep.objectives,
    )  # fmt: skip
    write_json(journal.path, record)
    by_rule = partial(dataclasses.replace, sweep)
    assert tuner._by_rule(journal, record, sweep, "") == record
    alone = tuner._by_rule(journal, record, by_rule(objectives=("miou",)), "")
    assert (alone.objectives, alone.best, alone.run, front(alone)) == (("miou",), "0000", "r", [])
    assert read_sweep(journal.path) == alone
    changed = tuner._by_rule(journal, record, by_rule(best="seconds"), "best: seconds")
    assert (changed.best, changed.rule, changed.run) == ("0001", "seconds", None)
    assert read_sweep(journal.path) == changed
    assert (journal.folder / "experiment.yaml").read() == b"best: seconds"
    note = "with one random seed, it may lead by chance"
    assert leaders(changed) == [f"chosen on train by seconds: tau 0.2 (1.0 s); {note}"]
    assert front(changed)[1:] == [
        "  tau 0.1: mIoU % 50.0, seconds 9.0",
        "  tau 0.2: mIoU % 40.0, seconds 1.0",
    ]
    with pytest.raises(InputError, match="no trial keeps the rule 'miou where sec"):
        tuner._by_rule(journal, record, by_rule(best="miou where seconds <= 0.5"), "")
    alone = Sweep(base=base, space=RATES, objectives=("recall", "miou"))
    assert alone.best == "recall"
    with pytest.raises(InputError, match="cmaes takes one objective, but --objectives names 2"):
        Sweep(base=base, space=RATES, trials=4, kind="cmaes", objectives=("miou", "recall"))


def test_any_method_has_the_common_spaces():
    assert spaces.find_space("lpcam", "crf") == spaces.find_space("sipe", "crf")
    kinds = domains_by_field(spaces.find_space("lpcam", "refiners")[1])["refine.kind"]
    assert [kind.values for kind in kinds] == [("",), ("crf",), ("irn",), ("par",)]


def test_a_space_may_be_a_file_of_the_user(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("taus = [k / 10 for k in range(1, 4)]\nSPACES = {'some': {'lpcam.tau': taus}}")
    title, space = spaces.find_space("lpcam", str(path))
    assert (title, space_in_file_form(space)) == ("mine-some", {"lpcam.tau": [0.1, 0.2, 0.3]})
    assert spaces.find_space("lpcam", f"{path}:some")[0] == "mine-some"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "holds no SPACES"),
        ("SPACES = {}", "holds no SPACES"),
        ("SPACES = {'a': {'lpcam.tau': 0.1}}", "mine.py: space 'a': the space has 0.1 for"),
        ("SPACES = {'a': {1: [0.1]}}", "space 'a' is not a dict"),
        ("SPACES = {'a': {}}", "space 'a' is not a dict"),
        ("1 / 0", "ZeroDivisionError"),
        ("SPACES = {'a': {'x': [1]}, 'b': {'x': [1]}}", "unknown space ''.*there are a, b"),
    ],
)
def test_a_file_without_a_valid_space_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        spaces.find_space("lpcam", str(path))


def test_points_are_drawn_from_a_grid_too_large_to_list():
    fields = ("lpcam.tau", "lpcam.mu_f", "lpcam.mu_b", "training.momentum", "training.clip_norm")
    space = {field: [k / 40 for k in range(40)] for field in fields}
    base = build_experiment("lpcam")
    points = searcher(Sweep(base=base, space=space, trials=3)).points
    assert len({tuple(p.items()) for p in points}) == 3
    assert all(list(p) == list(fields) for p in points)
    assert points == searcher(Sweep(base=base, space=space, trials=3)).points


def test_a_grid_is_listed_with_its_last_field_changing_fastest():
    space = {"lpcam.tau": [0.1, 0.2], "lpcam.mu_f": [0.3, 0.4, 0.5]}
    points = searcher(Sweep(base=build_experiment("lpcam"), space=space)).points
    assert [tuple(p.values()) for p in points] == [
        (a, b) for a in (0.1, 0.2) for b in (0.3, 0.4, 0.5)
    ]


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({"lpcam.tau": [0.1]}, {"trials": -1}, "trials is -1"),
        ({"lpcam.tau": [0.1]}, {"repeats": 0}, "repeats is 0"),
        ({"lpcam.tau": [0.1]}, {"concurrent": 0}, "concurrent is 0"),
        ({"lpcam.tau": [0.1]}, {"repeats": 10**12}, "repeats is 1000000000000"),
        ({"lpcam.tau": [0.1]}, {"retries": 10**12}, "retries is 1000000000000"),
        (
            {"lpcam.tau": [k / 20 for k in range(11)]},
            {"repeats": 10_000},
            "110000 trials, more than",
        ),
        (
            {f"lpcam.{name}": {"quniform": [0.5, 0.9, 1e-7]} for name in ("tau", "mu_f", "mu_b")},
            {"trials": 2},
            "points; leave fields out",
        ),
    ],
)
def test_a_sweep_of_impossible_size_is_refused(space, options, message):
    with pytest.raises(InputError, match=message):
        Sweep(base=build_experiment("lpcam"), space=space, **options)


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"there is no gone\.py"):
        spaces.find_space("lpcam", "gone.py")
