"""Tests of the page of a sweep: its trials, fields, chosen trial, and runs."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from pathlib import Path

import pytest
from drawn_records import make_sweep, make_trials
from drawn_store import add_sweep
from html_pages import Document
from wsss.dashboards.content.records import Records
from wsss.dashboards.figures.parallel_coordinates import parallel_coordinates
from wsss.dashboards.figures.sensitivity import sensitivity
from wsss.dashboards.labels import objectives_text
from wsss.dashboards.site import Site
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import ProgressRecorder
from wsss.platform.records.schema import FROM_OWN_BACKGROUND
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store
from wsss.platform.tuning import spaces
from wsss.platform.tuning.journal import Journal
from wsss.platform.tuning.objectives import pareto_front
from wsss.platform.tuning.search.known_points import draw_points
from wsss.platform.tuning.spaces.points import grid

TUNE_SPACES = Path(__file__).parents[3] / "tune_spaces"


@pytest.mark.parametrize("path", sorted(TUNE_SPACES.glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_the_page_of_every_search_space_lists_its_trials(store: Store, path: Path) -> None:
    """The kind of the values does not matter, nor do trials that failed. With more than twelve
    values an option is drawn as continuous."""
    lengths = {}
    for title, space in importlib.import_module(f"wsss.tune_spaces.{path.stem}").SPACES.items():
        domains = spaces.space_from(space)
        points = draw_points(domains, 16, seed=0)
        trials = [
            dataclasses.replace(t, params=p)
            for t, p in zip(make_trials(len(points)), points, strict=True)
        ]
        record = dataclasses.replace(
            make_sweep(0),
            name=title,
            space=spaces.recorded(domains),
            default=points[0],
            trials=tuple(trials),
        )
        write_json(store.location("sweeps", title, "sweep.json"), record)
        lengths[title] = len(points)
    site = Site(store)
    for title, length in lengths.items():
        text = (site.file(f"sweep.{title}.html") or b"").decode()
        assert text.count('class="pill') >= length


def test_a_sweep_of_several_objectives_shows_its_front(store: Store) -> None:
    record = dataclasses.replace(
        make_sweep(6), name="front", objectives=("miou", "seconds"), rule="miou where seconds <= 9",
        budget="2h",
    )  # fmt: skip
    write_json(store.location("sweeps", "front", "sweep.json"), record)
    text = (Site(store).file("sweep.front.html") or b"").decode()
    points = len(pareto_front(record.trials, record.objectives))
    assert 0 < points < 6
    assert f"{points} point" in text
    assert "that no other point beats, on" in text
    assert "miou where seconds &lt;= 9" in text
    assert "0 stages in 0 s of a budget of 2h" in text


@pytest.mark.parametrize(
    ("fields", "objectives", "text"),
    [
        ({}, ("miou",), "mIoU of the seed at the best threshold on train"),
        ({}, ("recall",), "recall of the seed at the best threshold on train"),
        (
            {"refine.beta": 8},
            ("miou", "parts", "seconds"),
            "mIoU of the pseudo labels at the best threshold, share of non-discriminative parts "
            "covered by the pseudo labels at the best threshold, seconds of a trial on train",
        ),
        (
            {"refine.beta": 8, "segment.training.lr": 0.1},
            ("precision",),
            "precision of the predictions of the segmenter at the best threshold on train",
        ),
    ],
)
def test_the_page_names_the_objectives_and_the_result_that_is_scored(
    store: Store, fields: dict[str, object], objectives: tuple[str, ...], text: str
) -> None:
    sweep = make_sweep(4)
    trials = tuple(dataclasses.replace(t, params={**t.params, **fields}) for t in sweep.trials)
    record = dataclasses.replace(
        sweep, name="named", trials=trials, objectives=objectives,
        space={**sweep.space, **{field: [value] for field, value in fields.items()}},
    )  # fmt: skip
    write_json(store.location("sweeps", "named", "sweep.json"), record)
    page = (Site(store).file("sweep.named.html") or b"").decode()
    title = "objectives" if len(objectives) > 1 else "objective"
    assert f"<dt>{title}</dt><dd>{text}</dd>" in page
    assert f"trials of LPCAM on scenes; objective: {text}" in page


def test_predictions_without_a_threshold_have_no_best_one(store: Store) -> None:
    sweep = make_sweep(1)
    score = sweep.trials[0].score
    assert score
    own = dataclasses.replace(score, threshold_from=FROM_OWN_BACKGROUND)
    trials = (dataclasses.replace(sweep.trials[0], score=own),)
    assert objectives_text(dataclasses.replace(sweep, trials=trials)) == "mIoU of the seed on train"


@pytest.mark.parametrize(("rule", "leader"), [("miou", 0), ("recall", 1), ("precision", None)])
def test_an_unfinished_sweep_names_a_leader_by_its_rule_and_no_chosen_point(
    store: Store, rule: str, leader: int | None
) -> None:
    """Trial 0 has the higher mIoU, trial 1 the higher recall, and none has a precision."""
    trials = []
    for k, trial in enumerate(make_trials(2, fail=lambda k: False)):
        assert trial.score
        score = dataclasses.replace(trial.score, recall=0.1 + 0.5 * k, precision=math.nan)
        trials.append(dataclasses.replace(trial, value=0.5 - 0.1 * k, score=score))
    folder = store.location("sweeps", "going")
    record = dataclasses.replace(make_sweep(0), name="going", rule=rule)
    with ProgressRecorder(ProgressDisplay()).track(folder, record):
        for trial in trials:
            Journal(store, "going").add(trial)
        entry = Records(store).sweep("going")
        assert entry
        assert entry.record.best is None
        text = (Site(store).file("sweep.going.html") or b"").decode()
    assert ("<dt>leader so far</dt>" in text) is (leader is not None)
    if leader is not None:
        tau = trials[leader].params["lpcam.tau"]
        assert f"<dt>leader so far</dt><dd>tau {tau}, " in text
    assert not re.search(r">(best|tied|chosen), done<", text)


def test_fields_with_one_last_name_stay_apart_on_the_page_of_a_sweep(store: Store) -> None:
    """Each field keeps its own column, panel and axis, under a label that identifies it."""
    space = {"training.lr": [0.1, 0.2], "segment.training.lr": [0.01, 0.02], "lpcam.tau": [0.1]}
    points = list(grid(spaces.space_from(space)))
    trials = tuple(
        dataclasses.replace(trial, params=point)
        for trial, point in zip(make_trials(4), points, strict=True)
    )
    record = dataclasses.replace(
        make_sweep(4), name="rates", space=space, default=points[0], trials=trials
    )
    write_json(store.location("sweeps", "rates", "sweep.json"), record)
    text = (Site(store).file("sweep.rates.html") or b"").decode()
    for label in ("training.lr", "segment.training.lr", "tau"):
        assert f'<button type="button">{label}</button>' in text
    assert "<dd>tau 0.1, segment.training.lr 0.01, training.lr 0.1</dd>" in text
    layout = parallel_coordinates(record)["layout"]
    axes = layout["xaxis"]["ticktext"]
    field_titles = ["training.<br>lr", "segment.<br>training.<br>lr", "tau"]
    assert layout["margin"]["l"] == 8 * len("training.") / 2, "the first title is not cut"
    assert axes == [f"<b>{title}</b>" for title in (*field_titles, "mIoU %")]
    panels = sensitivity(record)["layout"]
    titles = [panels[axis]["title"]["text"] for axis in ("xaxis", "xaxis2", "xaxis3")]
    assert titles == field_titles


def test_a_sweep_shows_its_chosen_and_untuned_run_on_all_splits(store: Store) -> None:
    sweep = dataclasses.replace(make_sweep(8), run="run-0", untuned="run-1")
    write_json(store.location("sweeps", sweep.name, "sweep.json"), sweep)
    path = f"sweep.{sweep.name}.html"
    text = (Site(store).file(path) or b"").decode()
    rows = re.findall(r"<tr>.*?</tr>", text.partition('id="trials"')[0], re.DOTALL)
    for label in ("untuned", "tuned"):
        listed = [row for row in rows if f"LPCAM, {label}" in row]
        assert [any(f">{s}<" in row for row in listed) for s in ("train", "val")] == [True, True]
        assert any(f"LPCAM, DenseCRF, {label}" in row for row in rows)
    assert {"run.run-0.html", "run.run-1.html"} <= set(Document(text).files())
    (store.storage.local_folder / "runs" / "run-1" / "run.json").write_text('{"half')
    broken = (Site(store).file(path) or b"").decode()
    assert "LPCAM, chosen trial" in broken
    assert "run.run-1.html" not in Document(broken).files()
    alone = (Site(store, runs=[]).file(path) or b"").decode()
    assert "LPCAM, chosen trial" in alone
    assert not {"run.run-0.html", "run.run-1.html"} & set(Document(alone).files())


@pytest.mark.parametrize("count", [0, 1, 500])
def test_the_page_of_a_sweep_counts_any_number_of_trials(store: Store, count: int) -> None:
    add_sweep(store, count)
    text = (Site(store).file("sweep.sweep-0.html") or b"").decode()
    assert f"{count} trial{'s' * (count != 1)} of LPCAM on scenes" in text


def test_a_sweep_of_failed_trials_names_the_errors(store: Store) -> None:
    add_sweep(store, 24, fail=lambda k: True)
    text = (Site(store).file("sweep.sweep-0.html") or b"").decode()
    assert text.count('<span class="pill bad">failed</span>') == 24
    assert text.count("<td>K must be at least 1 &lt;script&gt;") == 24


def test_two_trials_of_one_random_seed_do_not_tell_a_point_apart(store: Store) -> None:
    trials = make_trials(2, fail=lambda k: False)
    twice = [dataclasses.replace(trials[0], id=f"000{k}", value=0.6) for k in range(2)]
    other = dataclasses.replace(trials[1], id="0002", value=0.5)
    record = dataclasses.replace(make_sweep(0), name="twice", trials=(*twice, other), best="0000")
    write_json(store.location("sweeps", "twice", "sweep.json"), record)
    text = (Site(store).file("sweep.twice.html") or b"").decode()
    assert "it may lead by chance" in text


@pytest.mark.parametrize(
    ("values", "words", "fact"),
    [
        ([[0.50], [0.60]], ["", "chosen"], "it may lead by chance"),
        ([[0.58, 0.61], [0.60]], ["tied", "tied"], "2 points, whose difference lies"),
        ([[0.50, 0.51], [0.60, 0.61]], ["", "best"], "<dt>best</dt>"),
        ([[0.58, 0.62], [0.595, 0.615]], ["tied", "tied"], "2 points, whose difference lies"),
        ([[0.50, 0.51], [0.595, 0.61], [0.60, 0.61]], ["", "tied", "tied"], "over 2 random seeds"),
    ],
)
def test_a_point_is_best_only_if_random_seeds_tell_it_apart(
    store: Store, values: list[list[float]], words: list[str], fact: str
) -> None:
    """The values are those of each point, by random seed; the last point has the highest mean."""
    trials = make_trials(len(values), fail=lambda k: False)
    repeated = [
        dataclasses.replace(trial, id=f"{trial.id}-{seed}", seed=seed, value=value, cached=False)
        for trial, row in zip(trials, values, strict=True)
        for seed, value in enumerate(row)
    ]
    record = dataclasses.replace(
        make_sweep(0), name="seeds", trials=tuple(repeated), best=f"{trials[-1].id}-0"
    )
    write_json(store.location("sweeps", "seeds", "sweep.json"), record)
    text = (Site(store).file("sweep.seeds.html") or b"").decode()
    assert fact in text
    pills = re.findall(r'class="pill \w+">(?:(\w+), )?done<', text)
    assert pills == [word for word, row in zip(words, values, strict=True) for _ in row]
    assert ("best" in pills) is ("best" in words)
