"""Tests of what Ray Tune calls while trials run: errors of the store, and the state in words."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.tune.search import Searcher
from wsss.platform.errors import InputError, StorageError
from wsss.platform.method import build_experiment
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.schema import StageRecord, Trial
from wsss.platform.storage.artifact import Stage
from wsss.platform.tuning.costs.needed_stages import LOST, NeededStages
from wsss.platform.tuning.runner import tune_callbacks
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.runner.tune_callbacks import tune_searcher, watch
from wsss.platform.tuning.search import Need
from wsss.platform.tuning.sweep import Sweep, searcher

SPACE = {"lpcam.tau": [0.1, 0.2, 0.3, 0.4]}
STARTED, LATER = "2026-01-01T00:00:00+0000", "2026-01-02T00:00:00+0000"
ENDED = 1_800_000_000.0
"""When a trial ended, in seconds since 1970."""


class FullJournal:
    """A journal whose storage fails from a trial on."""

    def __init__(self, room):
        self.room, self.trials = room, []

    def add(self, trial):
        if len(self.trials) == self.room:
            raise StorageError(f"trials.jsonl cannot be written after {self.room} trials")
        self.trials.append(trial)


class Display(ProgressDisplay):
    """A display that keeps what it is told."""

    def __init__(self):
        self.texts = []

    def update(self, text, done, total):
        self.texts.append(text)


def queue_of(**options):
    sweep = Sweep(base=build_experiment("lpcam"), space=SPACE, **options)
    return TrialQueue(sweep, searcher(sweep), [])


def ended(config, value=0.5, seconds=1.0, status="TERMINATED"):
    """Return a trial of Tune that has ended."""
    report = {"value": value, "score": None, "error": None, "seconds": seconds}
    return SimpleNamespace(
        trial_id=str(config["number"]), status=status, config=config, last_result=report,
        get_error=lambda: RuntimeError("its process died"),
    )  # fmt: skip


@pytest.mark.parametrize("status", ["TERMINATED", "ERROR"])
def test_an_error_of_the_store_ends_the_sweep_and_is_raised_after_it(status):
    """Tune would run the trial again after an error in `on_trial_complete`, and end with an error
    of its own after one in `on_trial_error`."""
    queue, journal = queue_of(), FullJournal(1)
    callback, points = watch(journal, queue, ProgressDisplay(), None), tune_searcher(queue)
    trials = [ended(points.suggest(str(k))) for k in range(3)]
    trials[1].status = status
    callback.on_trial_complete(0, trials, trials[0])
    queue.check_intact()
    call = callback.on_trial_error if status == "ERROR" else callback.on_trial_complete
    call(0, trials, trials[1])
    assert points.suggest("3") == Searcher.FINISHED
    journal.room = 9
    callback.on_trial_complete(0, trials, trials[2])
    assert [t.id for t in journal.trials] == ["0000", "0002"]
    assert sorted(queue.ended) == [0, 2]
    with pytest.raises(StorageError, match="cannot be written after 1 trials"):
        queue.check_intact()


def test_an_error_in_the_choice_of_a_point_ends_the_sweep(monkeypatch):
    queue = queue_of()

    def suggest(number, values):
        raise StorageError("the bucket does not answer")

    monkeypatch.setattr(queue.points, "suggest", suggest)
    assert tune_searcher(queue).suggest("0") == Searcher.FINISHED
    with pytest.raises(StorageError, match="the bucket does not answer"):
        queue.check_intact()


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ("", ["best by miou: 40.0 %", "best by miou: 60.0 %", "best by miou: 60.0 %"]),
        ("seconds", ["best by seconds: 3.0 s", "best by seconds: 3.0 s", "best by seconds: 2.0 s"]),
        ("miou where seconds <= 1", ["", "", ""]),
    ],
)
def test_the_state_names_the_best_point_by_the_rule_of_the_sweep(rule, texts):
    queue, display = queue_of(best=rule), Display()
    callback = watch(FullJournal(9), queue, display, None)
    for value, seconds in ((0.4, 3.0), (0.6, 5.0), (0.5, 2.0)):
        trial = ended(queue.suggest(), value, seconds)
        callback.on_trial_complete(0, [trial], trial)
    queue.check_intact()
    assert display.texts == texts


STAGE = Stage(name="maps", version=1, config={}, title="class maps")


def needed_from(monkeypatch, *answers):
    """Return the needs of a sweep whose store gives these answers, and the last one from then on.

    All its points need the same stage.
    """
    left = [*answers]

    def computation(name, key):
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, InputError):
            raise answer
        return answer

    catalog = SimpleNamespace(store=SimpleNamespace(computation=computation))
    needed = NeededStages(catalog, Sweep(base=build_experiment("lpcam"), space=SPACE), STARTED)
    monkeypatch.setattr(needed, "_plan", lambda point, seed: SimpleNamespace(network=None))
    monkeypatch.setattr(needed, "_needed", lambda planned: [STAGE])
    return needed


def computation(written):
    return SimpleNamespace(written=written, seconds=2.0)


@pytest.mark.parametrize("written", [STARTED, LATER])
def test_needs_are_known_once_the_store_can_be_read(monkeypatch, written):
    """A stage that the store may hold is taken neither for held nor for missing."""
    needed = needed_from(monkeypatch, StorageError("no answer"), computation(written))
    with pytest.raises(StorageError, match="no answer"):
        needed.needs({})
    assert needed.needs({}) == (
        () if written == STARTED else (Need(STAGE.key, "maps", "class maps"),)
    )


def test_an_error_of_the_store_in_the_plan_of_a_point_is_raised(monkeypatch):
    """A point that makes no experiment is another matter: its trial reports the error."""
    needed = needed_from(monkeypatch, None)
    errors = [StorageError("no answer"), InputError("no such split")]
    monkeypatch.setattr(needed, "_plan", Mock(side_effect=errors))
    with pytest.raises(StorageError, match="no answer"):
        needed.needs({})
    assert needed.needs({}) is None


def seconds_lost(monkeypatch, seconds, took, ago):
    """Return the seconds that a trial lost which failed after some seconds.

    Its stage was written some seconds before the trial ended.
    """
    written = datetime.fromtimestamp(ENDED - ago, UTC).isoformat()
    answer = SimpleNamespace(written=written, seconds=took)
    trial = Trial(id="0003", params={}, status="failed", seconds=seconds, error="no memory")
    record = needed_from(monkeypatch, answer).lost(trial, ENDED, earlier=1)
    assert (record.stage, record.key, record.cached) == (LOST, "0003-1", False)
    return record.seconds


def test_a_failed_trial_lost_the_time_in_which_none_of_its_stages_was_computed(monkeypatch):
    """A stage that an earlier trial computed took none of its time."""
    assert seconds_lost(monkeypatch, 100.0, took=600.0, ago=3600.0) == 100.0
    assert seconds_lost(monkeypatch, 100.0, took=60.0, ago=30.0) == 40.0
    assert seconds_lost(monkeypatch, 100.0, took=600.0, ago=71.0) == 70.0
    assert seconds_lost(monkeypatch, 100.0, took=600.0, ago=0.0) == 0.0


def test_a_trial_whose_process_dies_spends_the_time_since_its_start(monkeypatch):
    """Tune starts it again before it gives up; with --resume, what it lost before is kept."""
    clock = [100.0]
    times = SimpleNamespace(monotonic=lambda: clock[0], time=lambda: ENDED)
    monkeypatch.setattr(tune_callbacks, "time", times)
    earlier = StageRecord(stage=LOST, title="failed", key="0000-0", seconds=5.0, cached=False)
    queue, journal = queue_of(), FullJournal(9)
    queue.lost[0] = (earlier,)
    needed = needed_from(monkeypatch, computation(STARTED))
    callback = watch(journal, queue, ProgressDisplay(), needed)
    trial = ended(queue.suggest(), seconds=0.5, status="ERROR")
    for _ in range(2):
        callback.on_trial_start(0, [trial], trial)
        clock[0] += 60
    callback.on_trial_error(0, [trial], trial)
    queue.check_intact()
    (kept,) = journal.trials
    assert (kept.status, kept.seconds) == ("failed", 120.0)
    assert [(s.key, s.seconds) for s in kept.stages] == [("0000-0", 5.0), ("0000-1", 120.0)]


def test_a_stage_is_recorded_only_where_the_sweep_is_known_to_have_computed_it(monkeypatch):
    record = StageRecord(stage="maps", title="class maps", key=STAGE.key, seconds=2.0, cached=False)
    for answers, records in (
        ([StorageError("no answer"), computation(STARTED)], ()),  # the store held the stage
        ([computation(LATER), StorageError("no answer")], ()),
        ([computation(LATER)], (record,)),
        ([InputError("the manifest is damaged")], ()),
        ([InputError("the manifest is damaged"), computation(LATER)], (record,)),
    ):
        assert needed_from(monkeypatch, *answers).computed({}, 0) == records
