"""Tests of the tracking of a run or sweep: what trackers get, and faults that stop nothing."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from recording_tracker import Broken, Recorder
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import RunRecord, Score, StageRecord, SweepRecord, Trial
from wsss.platform.storage.store import Store
from wsss.platform.trackers import opening
from wsss.platform.trackers.contents import fields_of, score_numbers
from wsss.platform.trackers.tracker import TrackedRun, Tracker
from wsss.platform.trackers.tracking import TrackedDisplay, Tracking

STAGES = ("network", "maps", "network")
RUN = RunRecord(
    name="a-run", method="cam", dataset="scenes", seed=0,
    experiment=build_experiment("lpcam").as_dict(), digest="d", command="wsss run lpcam",
    machine="", versions={"python": "3"}, started="2026-01-01T00:00:00+0000", seconds=0.0,
    stages=tuple(
        StageRecord(stage=name, title=name, key=str(k), seconds=0.0, cached=False)
        for k, name in enumerate(STAGES)
    ),
)  # fmt: skip
SWEEP = SweepRecord(
    name="a-sweep", method="lpcam", dataset="scenes", split="train",
    space={"lpcam.tau": [0.1, 0.2]}, default={"lpcam.tau": 0.1}, trials=(), best=None, run=None,
    command="", started="2026-01-01T00:00:00+0000", seconds=1.0, digest="s",
)  # fmt: skip


class Tracked:
    """Trackers of a store, the warnings about them, and what they got."""

    def __init__(self, store: Store, *kinds: type[Recorder], **fields: object) -> None:
        Recorder.events = []
        self.warnings: list[str] = []
        trackers = [kind(Path()) for kind in kinds]
        self.tracking = Tracking(trackers, store, self.warnings.append, fields)
        self.display = TrackedDisplay(ProgressDisplay(), self.tracking)

    def got(self, kind: str) -> list[Any]:
        return [event for name, event, *_ in Recorder.events if name == kind]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def row(step: int) -> dict[str, float]:
    return {"epoch": 0, "step": step, "steps": 9, "loss": 2.0 - step, "lr": 0.1}


def test_trainings_of_one_stage_have_names_of_their_own_and_steps_are_sent_once(
    store: Store,
) -> None:
    tracked = Tracked(store, Recorder)
    with tracked.display.track(store.location("runs", "a-run"), RUN):
        for number in range(len(STAGES)):
            tracked.display.start("")
            tracked.display.metrics([row(0), row(1)] if number != 1 else [])
            tracked.display.metrics([row(1), row(2)] if number == 0 else [])
            tracked.display.finish(False)
    rows = [entry for rows in tracked.got("scalars") for entry in rows]
    losses = [(step, name) for step, values in rows for name in values if "loss" in name]
    assert losses == [
        *((step, "network/loss") for step in (0, 1, 2)),
        *((step, "network-2/loss") for step in (0, 1)),
    ]
    assert rows[0] == (0, {"network/loss": 2.0, "network/lr": 0.1, "network/epoch": 0.0})


def test_a_run_begins_with_all_fields_of_its_experiment(store: Store) -> None:
    tracked = Tracked(store, Recorder)
    tracked.tracking.begin(RUN)
    (run,) = tracked.got("start")
    assert run.fields == fields_of(RUN.experiment)
    assert {"lpcam.tau", "training.lr", "refine.kind", "segment.training.lr"} <= set(run.fields)
    assert run.tags["command"] == "wsss run lpcam"


def test_a_tracker_that_fails_is_left_out_after_one_warning(store: Store) -> None:
    tracked = Tracked(store, Broken, Recorder)
    with tracked.tracking as tracking:
        tracking.begin(RUN)
        tracking.training("network", [row(0)])
        tracking.training("network", [row(1)])
        tracking.finish(RUN)
    assert tracked.warnings == ["broken failed and gets nothing more of a-run: the disk is full"]
    assert tracked.got("end") == ["done"]


@pytest.mark.parametrize(
    ("error", "ending"), [(ValueError, "failed"), (KeyboardInterrupt, "stopped")]
)
def test_a_run_that_does_not_finish_is_ended(
    store: Store, error: type[BaseException], ending: str
) -> None:
    tracked = Tracked(store, Recorder)
    tracked.tracking.begin(RUN)
    with pytest.raises(error), tracked.tracking:
        raise error
    assert tracked.got("end") == [ending]


def test_a_finished_run_is_sent_once_to_each_tracker(store: Store) -> None:
    for expected in (1, 0):
        tracked = Tracked(store, Recorder)
        tracked.tracking.finish(RUN)
        assert len(tracked.got("start")) == expected
    assert tracked.warnings == [
        "recorder has a-run already, at nowhere; remove "
        f"{store.location('runs', 'a-run', 'trackers.json')} to send it again"
    ]
    tracked = Tracked(store, Recorder)
    tracked.tracking.finish(dataclasses.replace(RUN, digest="another"))
    assert len(tracked.got("start")) == 1


def test_trials_are_sent_once_with_all_fields(store: Store) -> None:
    first = Trial(id="0000", params={"lpcam.tau": 0.2}, status="done", seconds=2.0, value=0.5)
    second = Trial(
        id="0001", params={"lpcam.tau": 0.1}, status="stopped", seconds=1.0, value=0.25, seed=7,
        rungs=((1, 0.125), (2, 0.25)),
    )  # fmt: skip
    third = Trial(id="0002", params={}, status="failed", seconds=1.0, error="no memory")
    tracked = Tracked(store, Recorder, **{"training.epochs": 4})
    with tracked.display.track(store.location("sweeps", "a-sweep"), SWEEP):
        tracked.display.trial(first)
        tracked.tracking.finish(dataclasses.replace(SWEEP, trials=(first, second, third)))
    sweep, *trials = tracked.got("start")
    assert sweep.fields["space.lpcam.tau"] == [0.1, 0.2]
    assert [run.name for run in trials] == [f"a-sweep-000{k}" for k in range(3)]
    assert trials[1].fields == {
        "training.epochs": 4, "lpcam.tau": 0.1, "split": "train", "seed": 7
    }  # fmt: skip
    assert {run.sweep for run in trials} == {"a-sweep"}
    assert tracked.got("end") == ["done", "stopped", "failed", "done"]
    rows = tracked.got("scalars")
    assert [(0, {"seconds": 2.0, "miou": 0.5})] in rows
    assert rows[2][:2] == [(1, {"rungs/miou": 0.125}), (2, {"rungs/miou": 0.25})]
    assert [(1, {"trials/miou": 0.25})] in rows


class Numbered(Recorder):
    """A tracker that gives each run an id, and notes with which id a run or sweep goes on."""

    def start(self, run: TrackedRun, sweep: Tracker | None = None) -> None:
        self.events.append(("goes on", self.run_id))
        super().start(run, sweep)
        self.run_id = self.run_id or f"id of {run.name}"


def send_sweep(store: Store, sweep: SweepRecord, *ended: Trial) -> tuple[list[str], list[str]]:
    """Send a sweep, with trials that end during it, to a tracker that numbers its runs.

    Returns:
        The names of the runs that the tracker got, and the ids with which they go on.
    """
    tracked = Tracked(store, Numbered)
    with tracked.tracking, tracked.display.track(store.location("sweeps", sweep.name), sweep):
        for trial in ended:
            tracked.display.trial(trial)
        if sweep.trials:
            tracked.tracking.finish(sweep)
    return [run.name for run in tracked.got("start")], tracked.got("goes on")


def test_a_resumed_sweep_sends_what_is_new_to_its_earlier_run(store: Store) -> None:
    trials = tuple(
        Trial(id=f"000{k}", params={}, status="done", seconds=1.0, value=0.5) for k in range(3)
    )
    lost = dataclasses.replace(trials[1], status="failed", error="no memory", value=None)
    whole = dataclasses.replace(SWEEP, trials=trials)
    names, known = send_sweep(store, SWEEP, trials[0], lost)
    assert (names, known) == (["a-sweep", "a-sweep-0000", "a-sweep-0001"], [""] * 3)
    names, known = send_sweep(store, SWEEP, lost)
    assert (names, known) == (["a-sweep"], ["id of a-sweep"])
    names, known = send_sweep(store, whole, trials[1])
    assert names == ["a-sweep", "a-sweep-0001", "a-sweep-0002"]
    assert known == ["id of a-sweep", "", ""]
    names, _ = send_sweep(store, whole)
    assert names == ["a-sweep"]
    tracked = Tracked(store, Numbered)
    tracked.tracking.finish(whole)
    assert (tracked.got("start"), len(tracked.warnings)) == ([], 1)
    names, known = send_sweep(store, dataclasses.replace(whole, digest="another"))
    assert (len(names), known) == (4, [""] * 4)


def test_a_resumed_sweep_whose_earlier_run_is_gone_begins_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(id="0000", params={}, status="done", seconds=1.0, value=0.5)
    whole = dataclasses.replace(SWEEP, trials=(trial,))
    send_sweep(store, SWEEP, trial)
    start = Numbered.start

    def lost(tracker: Numbered, run: TrackedRun, sweep: Tracker | None = None) -> None:
        if tracker.run_id:
            raise KeyError(tracker.run_id)
        start(tracker, run, sweep)

    monkeypatch.setattr(Numbered, "start", lost)
    names, known = send_sweep(store, whole)
    assert (names, known) == (["a-sweep", "a-sweep-0000"], ["", ""])


def test_no_number_has_the_name_of_a_folder_in_which_another_would_lie() -> None:
    score = Score(
        split="val", n=1, classes=("background",), scored=(0,), rule="", thresholds=(0.5,),
        miou=(0.25,), threshold=0.5, threshold_from="train", iou=(0.25,), false_positives=0.0,
        false_negatives=0.0, precision=1.0, recall=1.0,
    )  # fmt: skip
    results = ("lpcam", "lpcam/irn", "lpcam/irn/deeplabv2")
    scores = {ResultId.parse(text): {"val": score} for text in results}
    numbers = score_numbers(dataclasses.replace(RUN, scores=scores))
    assert {f"scores/val/{text}/miou" for text in results} <= set(numbers)
    assert [n for n in numbers for other in numbers if n.startswith(f"{other}/")] == []


def test_an_unknown_tracker_and_a_missing_package_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="'comet'; the trackers are tensorboard, mlflow, wandb"):
        opening.check_trackers(["comet"], tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("tensorboard", "mlflow", "wandb"):
        with pytest.raises(InputError, match=f"run pip install {name}"):
            opening.check_trackers([name], tmp_path)


def test_an_address_at_which_no_mlflow_answers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(InputError) as caught:
        opening.check_trackers(["mlflow"], tmp_path)
    text = str(caught.value)
    assert text.startswith("MLflow at http://127.0.0.1:9, experiment wsss cannot be used: ")
    assert text.endswith("; correct MLFLOW_TRACKING_URI, or leave out --log mlflow")
    assert "secret" not in text
