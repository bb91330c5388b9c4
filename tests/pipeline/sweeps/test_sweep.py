"""Tests of sweeps that are interrupted, choose their points as they go, stop trainings, or fail."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import stages_in_process
from limits import HANG
from small_jobs import SMALL
from sweeps_in_process import sweeps_in_process
from wsss.platform.config.fields import replaced
from wsss.platform.data.formats.shards import read
from wsss.platform.errors import InputError, StorageError
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import PROGRESS, ProgressRecorder
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import Trial
from wsss.platform.serialization import as_json
from wsss.platform.stages.prototypes import direct_scoring
from wsss.platform.storage.json_files import read_record
from wsss.platform.tuning.costs.stage_counts import cost
from wsss.platform.tuning.journal import Journal, SweepPlan
from wsss.platform.tuning.spaces.points import grid
from wsss.platform.tuning.sweep import Sweep, searcher
from wsss.platform.tuning.trial import planned_base
from wsss.platform.tuning.tuner import TrialQueue, run

named = ResultId.parse

SPACE = {"lpcam.mu_f": [0.5, 0.7, 0.9], "lpcam.mu_b": [0.3, 0.5, 0.7, 0.9]}


def comparable(trials: Any) -> list[Any]:
    """Return trials without the fields that a second try may change."""
    return [as_json(dataclasses.replace(t, seconds=0.0, cached=False)) for t in trials]


def interrupt(job: Any, name: str, keep: int) -> Journal:
    """Leave a sweep as if its process had died after `keep` trials, in the middle of a line."""
    record = Journal(job.store, name)
    record.path.remove()
    lines = record.lines.read().splitlines(keepends=True)
    record.lines.write(b"".join(lines[:keep]) + lines[keep][:40])
    return record


def test_a_sweep_that_cannot_be_resumed_is_refused(job: Any) -> None:
    sweep = Sweep(base=job.experiment, space=SPACE, trials=2)
    with pytest.raises(InputError, match="there is no sweep 'none' to resume"):
        run(Catalog.of(job.store), sweep, "none", "command", ProgressDisplay(), resume=True)
    record = Journal(job.store, "busy")
    with record.lock(), pytest.raises(InputError, match="'busy' is running already"):
        run(Catalog.of(job.store), sweep, "busy", "command", ProgressDisplay())


def test_a_sweep_that_ends_early_is_broken_off_and_not_done(
    in_process: None, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(base=job.experiment, space=SPACE, trials=2)
    queue = TrialQueue(sweep, searcher(sweep), [])
    with monkeypatch.context() as patch:
        patch.setattr("wsss.platform.tuning.tuner._tune", lambda *rest: (queue, None))
        with pytest.raises(InputError, match="'early' was broken off after 0 of 2 trials"):
            run(Catalog.of(job.store), sweep, "early", "command", ProgressDisplay())
    assert not Journal(job.store, "early").path.exists()
    with pytest.raises(InputError, match="'early' was broken off after 0 of 2 trials; --resume"):
        run(Catalog.of(job.store), sweep, "early", "command", ProgressDisplay())


def test_a_resumed_sweep_keeps_the_start_and_the_seconds_of_its_first_pass(
    in_process: None, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = "2026-01-01T00:00:00+0000"
    sweep, catalog = Sweep(base=job.experiment, space=SPACE, trials=2), Catalog.of(job.store)
    key = sweep.key(planned_base(catalog, sweep))
    Journal(job.store, "passes").begin(
        SweepPlan(digest=key, trials=2, command="command", started=started, seconds=1000.0)
    )

    def tune(catalog: Any, sweep: Sweep, journal: Journal, *rest: Any) -> Any:
        queue = TrialQueue(sweep, searcher(sweep), [])
        for number in (0, 1):
            config = queue.suggest()
            assert config
            trial = Trial(
                id=f"{number:04d}", params=config["point"], status="done", seconds=1.0, value=0.5
            )
            journal.add(trial)
            queue.end(number, trial)
        return queue, None

    monkeypatch.setattr("wsss.platform.tuning.tuner._tune", tune)
    record = run(catalog, sweep, "passes", "command", ProgressDisplay(), resume=True)
    assert record.started == started
    assert record.seconds >= 1000
    assert read_record(Journal(job.store, "passes").plan, SweepPlan).seconds == record.seconds


def test_a_sweep_that_is_refused_writes_no_progress(job: Any) -> None:
    sweep = Sweep(base=job.experiment, space=SPACE, trials=2)
    record = Journal(job.store, "other")
    record.begin(SweepPlan(digest="another", trials=3, command=""))
    with pytest.raises(InputError, match="'other' is taken by another sweep"):
        run(Catalog.of(job.store), sweep, "other", "command", ProgressRecorder(ProgressDisplay()))
    assert not (record.folder / PROGRESS).exists()


def test_the_key_of_a_sweep_is_the_same_on_another_machine(job: Any, tmp_path: Path) -> None:
    """On another machine, weights have another path and inference has another number of actors."""

    def key(**changes: Any) -> str:
        renamed = {name.replace("__", "."): value for name, value in changes.items()}
        return Sweep(base=replaced(job.experiment, renamed), space=SPACE).key(job.pipeline.plan)

    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    for path in (first, second):
        path.write_bytes(b"weights")
    assert key(network__weights=str(first)) == key(network__weights=str(second)) != key()
    assert key(views__actors=3, views__kept_gib=1.0, views__batch_size=2) == key()
    assert key(refine__steps=3) != key()


@pytest.mark.parametrize("field", ["method", "seed", "data"])
def test_a_space_may_not_vary_method_seed_or_data(job: Any, field: str) -> None:
    with pytest.raises(InputError, match=f"a space cannot vary '{field}'"):
        Sweep(base=job.experiment, space={field: [1]})


def full_after(count: int) -> Any:
    """Return a `Journal.add` whose disk is full once the journal has some trials."""
    real = Journal.add

    def add(journal: Journal, ended: Trial) -> None:
        if len(journal.trials()) == count:
            raise StorageError("trials.jsonl cannot be written: the disk is full")
        real(journal, ended)

    return add


@pytest.mark.cluster
def test_trials_wait_for_memory_and_a_store_that_fails_ends_the_sweep(
    ray_started: None, job: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With memory for two trials, two run together and the third waits for the end of one.

    A mebibyte is left for the masks that each of the two keeps.

    The sentence of the store ends the sweep; no trial is repeated, and the sweep goes on."""

    def trial(store: object, sweep: object, point: dict[str, float], *rest: Any) -> dict[str, Any]:
        (tmp_path / str(point["lpcam.mu_f"])).touch()
        for count, patience in ((2, HANG), (3, 1)):  # a third trial would come, if it had room
            end = time.monotonic() + patience
            while len(list(tmp_path.iterdir())) < count and time.monotonic() < end:
                time.sleep(0.05)
        started = len(list(tmp_path.iterdir()))
        return {"value": started / 8, "score": None, "error": None, "cached": True, "seconds": 1.0}

    monkeypatch.setattr(cluster, "TRIAL_BYTES", max(cluster._trial_memory()) // 2 - (1 << 20))
    monkeypatch.setattr("wsss.platform.tuning.tuner.run_trial", trial)
    points = [0.5, 0.6, 0.7, 0.8, 0.9]
    sweep = Sweep(base=job.experiment, space={"lpcam.mu_f": points}, concurrent=3)
    catalog = Catalog.of(job.store)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", full_after(1))
        with pytest.raises(StorageError, match="the disk is full"):
            run(catalog, sweep, "full", "command", ProgressDisplay())
    (first,) = Journal(job.store, "full").trials()
    assert first.value == 2 / 8
    assert len(list(tmp_path.iterdir())) < len(points)
    with stages_in_process(), sweeps_in_process():
        record = run(catalog, sweep, "full", "command", ProgressDisplay(), resume=True)
    assert [t.params["lpcam.mu_f"] for t in record.trials] == points
    assert record.trials[int(first.id)] == first


@pytest.mark.parametrize(("most", "planes"), [(1 << 30, 2), (1, 0)])
def test_trials_request_memory_for_the_masks_that_they_keep(
    trials_without_ray: None, job: Any, monkeypatch: pytest.MonkeyPatch, most: int, planes: int
) -> None:
    """Each process of a trial keeps the masks and part maps of the split, if they are not many."""
    requested: list[int] = []

    def resources(kept: int) -> dict[str, float]:
        requested.append(kept)
        return {"cpu": 0.01}

    monkeypatch.setattr(direct_scoring, "MAX_PIXELS", most)
    monkeypatch.setattr(cluster, "trial_resources", resources)
    sweep, catalog = Sweep(base=job.experiment, space=SPACE, trials=1), Catalog.of(job.store)
    run(catalog, sweep, f"kept-{planes}", "command", ProgressDisplay())
    pieces = catalog.slices(catalog.dataset(sweep.base.data), sweep.split)
    sizes = [read(piece, ("height", "width")) for piece in pieces]
    assert requested == [planes * sum(r["height"] * r["width"] for rows in sizes for r in rows)]


def test_a_sweep_in_which_all_fail_says_why_and_can_be_tried_again(
    trials_without_ray: None, job: Any
) -> None:
    space = {"lpcam.split": ["nowhere", "no_such"]}
    sweep = Sweep(base=job.experiment, space=space, retries=1, concurrent=1)
    message = (
        "2 of 2 trials failed and none finished; --resume tries .*the first: .*names 'nowhere'"
    )
    with pytest.raises(InputError, match=message):
        run(Catalog.of(job.store), sweep, "failing", "command", ProgressDisplay())
    with pytest.raises(InputError, match=message):
        run(Catalog.of(job.store), sweep, "failing", "command", ProgressDisplay(), resume=True)
    trials = Journal(job.store, "failing").trials()
    assert [t.status for t in trials] == ["failed", "failed"]
    assert all("InputError" in (t.error or "") for t in trials)


def test_the_cost_of_a_sweep_covers_its_first_trials(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cap on points alone would let a sweep with many random seeds plan for minutes."""
    monkeypatch.setattr("wsss.platform.tuning.costs.stage_counts.MOST_COUNTED", 2)
    sweep = Sweep(base=job.experiment, space={"lpcam.K": [2, 3, 4]})
    assert cost(Catalog.of(job.store), sweep).missing["centers"] == 2
    for kind, repeats in (("", 2), ("", 3), ("tpe", 2)):
        several = dataclasses.replace(sweep, repeats=repeats, kind=kind, trials=3)
        assert cost(Catalog.of(job.store), several).missing["centers"] == 2


def test_the_cost_of_a_search_covers_its_whole_space(job: Any) -> None:
    sweep = Sweep(base=job.experiment, space={"lpcam.K": [2, 3, 4]}, trials=2, kind="tpe")
    missing, present, _ = cost(Catalog.of(job.store), sweep)
    assert missing["centers"] == missing["scores"] == 3
    assert present["network"] == 1


@pytest.mark.parametrize(("kind", "idle"), [("", []), ("crf", ["refine.steps"])])
def test_fields_that_change_nothing_are_named(job: Any, kind: str, idle: list[str]) -> None:
    """DenseCRF takes no step of a random walk; with IRN among the points the steps count."""
    space: dict[str, list[Any]] = {"refine.kind": ["crf", "irn"], "refine.steps": [4, 8]}
    if kind:
        space["refine.kind"] = [kind]
    sweep = Sweep(base=job.experiment, space={**space, "lpcam.K": [2, 3]})
    assert cost(Catalog.of(job.store), sweep).fields_without_effect == idle


def test_combinations_are_whole_experiments(job: Any) -> None:
    """Each has its own options; other fields hold in all; shared stages are computed once."""
    base = job.experiment
    cam = build_experiment("cam", preset="scenes", changes=SMALL)
    bases = {"lpcam": base, "cam": cam}
    space = {"combination": ["cam", "lpcam"], "refine.kind": ["", "crf"]}
    sweep = Sweep(base=base, space=space, bases=bases)
    assert sweep.default == {"combination": "lpcam", "refine.kind": ""}
    experiments = {
        (p["combination"], p["refine.kind"]): sweep.trial_experiment(p, 3)
        for p in grid(sweep.space)
    }
    assert len(experiments) == 4
    for (name, kind), chosen in experiments.items():
        assert (chosen.method, chosen.refine.kind, chosen.seed) == (name, kind, 3)
        assert chosen.training == base.training
    missing, present, _ = cost(Catalog.of(job.store), sweep)
    assert present["network"] == 1
    assert missing["network"] == 0
    assert missing["labels"] + present["labels"] == 2  # one for cam, one for lpcam
    with pytest.raises(
        InputError, match=r"no experiment is given for the combinations \['cam'\]; add"
    ):
        Sweep(base=base, space=space, bases={"lpcam": base})
    with pytest.raises(InputError, match=r"unknown field 'lpcam.K'"):
        Sweep(base=base, space={**space, "lpcam.K": [2]}, bases=bases)
    other = dataclasses.replace(sweep, bases={**bases, "cam": replaced(cam, {"seed": 4})})
    assert other.key(job.pipeline.plan) != sweep.key(job.pipeline.plan)


def test_a_point_has_a_value_when_all_its_seeds_have_ended(job: Any) -> None:
    sweep = Sweep(base=job.experiment, space=SPACE, trials=4, kind="tpe", repeats=2, concurrent=1)
    done = [
        Trial(id=f"{k:04d}", params={}, status="done", seconds=0.0, value=v)
        for k, v in ((0, 0.25), (1, 0.75), (2, 0.5))
    ]
    queue = TrialQueue(sweep, searcher(sweep), done)
    assert queue.values_by_point() == {0: [0.5]}
    assert queue.left == [3, 4, 5, 6, 7]
    first = queue.suggest()
    assert first
    assert (first["number"], first["seed"]) == (3, 1)
    assert queue.suggest() is None  # its generation waits for the earlier generation


@pytest.mark.cluster
def test_trainings_that_do_worse_are_stopped(
    ray_started: None, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings that begin after an interruption are stopped too: the earlier rungs count.

    Tune stops those trainings that its scheduler stops where trials run one after another."""

    def trial(store: Any, sweep: Any, point: Any, seed: int, report: Any) -> dict[str, Any]:
        row = {"score": None, "seconds": 0.1}
        for epochs in sweep.rungs:
            report({**row, "value": point["training.lr"] * epochs, "epoch": epochs})
        return {**row, "value": point["training.lr"] * 4, "error": None, "cached": False}

    monkeypatch.setattr("wsss.platform.tuning.tuner.run_trial", trial)
    base = replaced(job.experiment, {"training.epochs": 4})
    space = {"training.lr": [0.08, 0.1, 0.01]}
    sweep = Sweep(base=base, space=space, scheduler="asha", concurrent=1)
    assert sweep.rungs == [1, 2]
    with stages_in_process(), sweeps_in_process():
        whole = run(Catalog.of(job.store), sweep, "asha", "command", ProgressDisplay())
    assert [t.status for t in whole.trials] == ["done", "done", "stopped"]
    assert [t.rungs for t in whole.trials[1:]] == [((1, 0.1), (2, 0.2)), ((1, 0.01),)]
    assert whole.trials[2].value == 0.01
    assert whole.best == "0001"
    record = interrupt(job, "asha", keep=1)
    resumed = run(Catalog.of(job.store), sweep, "asha", "command", ProgressDisplay(), resume=True)
    assert comparable(resumed.trials) == comparable(whole.trials)
    assert len(record.trials()) == 3


def test_a_trial_is_read_back_from_its_line(job: Any, tmp_path: Path) -> None:
    trial = Trial(
        id="0003",
        params={"lpcam.tau": 0.1},
        status="stopped",
        seconds=1.5,
        value=0.25,
        seed=2,
        rungs=((1, 0.125), (2, 0.25)),
    )
    record = Journal(job.store, "lines")
    record.add(trial)
    record.lines.append(json.dumps(as_json(trial))[:20].encode())
    assert record.trials() == [trial]
    record.lines.append(b"\xff\n")
    with pytest.raises(InputError, match=r"trials.jsonl is damaged"):
        record.trials()
