"""Tests that Ray still does what the work-arounds are for, and that the list of them is true.

Where such a test fails after an upgrade, Ray has changed: delete the work-around and its entry.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import re
import signal
import threading
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import ray.data
import ray.exceptions
from wsss.platform.config.groups.training import Training
from wsss.platform.errors import InputError, StorageError
from wsss.platform.ray_runtime.quirks import settings, training, trials
from wsss.platform.ray_runtime.quirks.upstream import QUIRKS, RAY_VERSION, UNREPORTED, Quirk
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.training import ray_train
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage

ROOT = Path(__file__).parents[2]
RAY = Path(ray.__file__).parent


def test_the_list_was_read_for_the_installed_ray() -> None:
    """An upgrade must begin with `quirks/upstream.py`: check each entry, then raise the number."""
    lock = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^ray==(\S+)", lock, flags=re.MULTILINE) == [RAY_VERSION]
    assert ray.__version__ == RAY_VERSION


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.behaviour)
def test_each_entry_names_a_source_and_existing_code(quirk: Quirk) -> None:
    reference = r"ray-project/ray#\d{4,6}"
    assert quirk.upstream == UNREPORTED or re.fullmatch(
        f"{reference}(, {reference})*", quirk.upstream
    )
    for text in (quirk.behaviour, quirk.harm, quirk.until):
        assert text.endswith(".")
    assert quirk.workaround
    for place in quirk.workaround:
        module_name, _, names = place.partition(":")
        module = importlib.import_module(f"wsss.platform.{module_name}")
        reduce(getattr, names.split("."), module)


def test_the_list_covers_each_variable_and_option_that_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = {name for quirk in QUIRKS for name in quirk.variables}
    set_options: set[str] = set()

    class Recorder(SimpleNamespace):
        def __setattr__(self, name: str, value: object) -> None:
            set_options.add(name)

    context = Recorder()
    context.__dict__["execution_options"] = Recorder()
    context.__dict__["custom_execution_callback_classes"] = []
    monkeypatch.setattr(ray.data.DataContext, "get_current", lambda: context)
    settings.set_data_options()
    assert context.custom_execution_callback_classes == [settings.SchedulingPause]
    set_options.add("custom_execution_callback_classes")
    assert listed == set_options | set(settings.RAY_ENVIRONMENT)


@pytest.fixture(scope="module")
def ray_sources() -> bytes:
    """Return the text of the libraries of Ray that read environment variables."""
    folders = ("_private", "_common", "data", "train", "tune", "air")
    sources = [path.read_bytes() for f in folders for path in (RAY / f).rglob("*.py")]
    return b"".join([*sources, (RAY / "_raylet.so").read_bytes()])


@pytest.mark.parametrize("name", settings.RAY_ENVIRONMENT)
def test_ray_reads_each_variable(name: str, ray_sources: bytes) -> None:
    assert name.encode() in ray_sources


def test_options_of_ray_data_differ_by_default() -> None:
    context = ray.data.DataContext()
    assert context.raise_original_map_exception is False
    assert context.print_on_execution_start is True
    assert context.enable_progress_bars is True
    assert context.execution_options.preserve_order is False


def test_rays_error_of_a_task_has_no_error_number() -> None:
    error = FileNotFoundError(errno.ENOENT, "no such file", "photo.png")
    wrapped = ray.exceptions.RayTaskError("task", "traceback", error).as_instanceof_cause()
    assert isinstance(wrapped, FileNotFoundError)
    assert (wrapped.errno, wrapped.filename) == (None, None)


def test_ray_data_changes_the_arguments_of_an_exception() -> None:
    from ray.data._internal.util import iterate_with_retry

    def iterable() -> Iterator[int]:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError) as caught:  # noqa: PT011 (its text is what changes)
        list(iterate_with_retry(iterable, "map", match=[], max_attempts=1))
    assert len(caught.value.args) == 3


def test_an_error_at_the_start_of_an_actor_is_kept_as_text_alone() -> None:
    error = ray.exceptions.RayTaskError("task", "traceback", InputError("photo.png is empty"))
    died = ray.exceptions.ActorDiedError(error)
    assert died.actor_init_failed
    assert not any(isinstance(value, Exception) for value in vars(died).values())


def test_ray_train_starts_workers_anew_after_any_error_of_theirs() -> None:
    from ray.train import FailureConfig
    from ray.train.v2._internal.execution.failure_handling import (
        DefaultFailurePolicy,
        FailureDecision,
    )
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    policy, error = DefaultFailurePolicy(FailureConfig(max_failures=1)), InputError("wrong")
    assert policy.make_decision(WorkerGroupError("failed", {0: error})) is FailureDecision.RETRY
    assert policy.make_decision(ControllerError(error)) is FailureDecision.RAISE


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (InputError("wrong"), True),
        (StorageError("the bucket does not answer"), False),
        (OSError(errno.ENOSPC, "full"), False),
        (RuntimeError("connection closed by peer"), False),
    ],
)
def test_a_training_stops_at_wrong_input_and_not_at_what_may_pass(
    error: Exception, stops: bool
) -> None:
    lost = RuntimeError("connection closed by peer")
    errors = {0: lost, 1: error}
    if not stops:
        training.stop_at_input_error().after_exception(None, errors)
        return
    with pytest.raises(InputError) as caught:
        training.stop_at_input_error().after_exception(None, errors)
    assert caught.value is error


def test_nothing_restarts_the_controller_of_ray_train() -> None:
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    source = inspect.getsource(DataParallelTrainer._initialize_and_run_controller)
    assert "ray.remote(" in source
    assert "max_restarts" not in source


@pytest.mark.parametrize(
    ("deaths", "is_lost", "attempts", "succeeds"),
    [(0, False, 1, True), (2, False, 3, True), (3, False, 3, False), (1, True, 1, False)],
)
def test_a_training_is_tried_again_where_its_controller_dies(
    deaths: int, is_lost: bool, attempts: int, succeeds: bool
) -> None:
    left, made = [ray.exceptions.RayActorError() for _ in range(deaths)], []

    def attempt() -> str:
        made.append("attempt")
        if left:
            raise left.pop()
        return "result"

    if succeeds:
        assert training.with_new_controllers(attempt, lambda: is_lost) == "result"
    else:
        with pytest.raises(ray.exceptions.RayActorError):
            training.with_new_controllers(attempt, lambda: is_lost)
    assert len(made) == attempts


def test_damaged_checkpoints_are_discarded_before_each_try_of_a_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A controller that dies while a checkpoint is written may leave a damaged one behind."""
    events: list[str] = []

    class Trainer:
        def fit(self) -> object:
            events.append("fit")
            if events.count("fit") == 1:
                raise ray.exceptions.RayActorError
            raise InputError("the end of this test")

    monkeypatch.setattr(ray_train, "_trainer", lambda job, home, gpu: Trainer())
    monkeypatch.setattr(ray_train.cluster, "gpus", lambda: 0)
    monkeypatch.setattr(ray_train.cluster, "check_workers", lambda workers, field: None)
    home = LocalStorage(tmp_path).location("home")
    job: Any = SimpleNamespace(
        training=Training(),
        plan=lambda rank, world: None,
        metrics=home.with_suffix(".jsonl"),
        field="training",
        start=None,
    )
    with pytest.raises(InputError, match="the end of this test"):
        ray_train.fit(
            LocalFolder(tmp_path),
            job,
            home,
            ProgressDisplay(),
            lambda: events.append("discard"),
        )
    assert events == ["discard", "fit", "discard", "fit"]


def test_a_training_waits_for_resources_as_long_as_its_controller_is_told() -> None:
    """Ray Train sends the variable from the driver to its controller, which is an actor."""
    from ray.train.v2._internal import constants
    from ray.train.v2._internal.execution.failure_handling import default
    from ray.train.v2._internal.execution.worker_group import worker_group

    name = constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR
    assert (
        float(settings.ENVIRONMENT[name])
        > 24 * 3600
        > constants.DEFAULT_WORKER_GROUP_START_TIMEOUT_S
    )
    assert name in constants.ENV_VARS_TO_PROPAGATE
    assert "pg_handle.wait(self._worker_group_start_timeout_s)" in inspect.getsource(worker_group)
    assert worker_group.WorkerGroupStartupTimeoutError in default.RETRYABLE_CONTROLLER_ERRORS


@pytest.mark.parametrize("answers", [True, False], ids=["answers", "waits for resources"])
def test_an_interrupt_ends_a_training_whose_controller_does_not_answer(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    source = inspect.getsource(DataParallelTrainer._initialize_and_run_controller)
    assert "self._register_sigint_handler(controller)" in source
    killed: list[object] = []
    controller = SimpleNamespace(abort=SimpleNamespace(remote=lambda: "the answer"))

    def get(reference: object, timeout: float) -> None:
        assert (reference, timeout) == ("the answer", training.ABORT_SECONDS)
        raise ray.exceptions.RayActorError if answers else ray.exceptions.GetTimeoutError

    class Trainer:
        def fit(self) -> None:
            self._register_sigint_handler(controller)  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "kill", killed.append)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        training.fit_until_interrupt(Trainer())
    assert killed == [controller]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_trial_must_request_some_resource() -> None:
    import ray.tune

    def trial(config: object) -> None:
        """Do nothing."""

    ray.tune.with_resources(trial, {"cpu": 0.01})
    with pytest.raises(ValueError, match="empty head and zero worker bundles"):
        ray.tune.with_resources(trial, {"cpu": 0})


def test_tune_does_not_save_the_state_of_a_scheduler() -> None:
    from ray.tune.execution.tune_controller import TuneController

    source = inspect.getsource(TuneController)
    assert "_search_alg.save_to_dir" in source
    assert "scheduler_alg.save" not in source


def test_asha_stops_a_trial_that_is_worse_than_replayed_ones() -> None:
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    def decision(rungs: dict[str, list[tuple[int, float]]]) -> str:
        scheduler = ASHAScheduler(
            time_attr="epoch",
            metric="value",
            mode="max",
            max_t=8,
            grace_period=1,
            reduction_factor=2,
        )
        trials.replay_rungs(scheduler, rungs)
        trial = trials.EndedTrial("new", {})
        scheduler.on_trial_add(None, trial)
        result = {"epoch": 1, "value": 0.2}
        return str(scheduler.on_trial_result(None, trial, result))

    assert decision({}) == TrialScheduler.CONTINUE
    assert decision({"0000": [(1, 0.4)], "0001": [(1, 0.5), (2, 0.6)]}) == TrialScheduler.STOP
    assert decision({"0000": [(1, 0.1)], "0001": [(1, 0.1)]}) == TrialScheduler.CONTINUE


def test_a_median_stopping_rule_fails_after_a_result_that_is_no_rung() -> None:
    from ray.tune.schedulers import MedianStoppingRule

    def compare(rule: Any) -> None:
        for name in "ab":
            trial = trials.EndedTrial(name, {})
            rule.on_trial_result(None, trial, {"epoch": 2, "value": 0.2})
            rule.on_trial_complete(None, trial, {"value": 0.2})

    options = {
        "time_attr": "epoch",
        "metric": "value",
        "mode": "max",
        "min_time_slice": float("inf"),
    }
    with pytest.raises(KeyError, match="epoch"):
        compare(MedianStoppingRule(**options, grace_period=1))
    compare(trials.by_rungs_alone(MedianStoppingRule(**options, grace_period=1)))


def test_brackets_are_drawn_by_the_number_of_a_trial() -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    def brackets() -> list[int]:
        scheduler = trials.seeded(
            AsyncHyperBandScheduler(metric="value", mode="max", brackets=3), 5
        )
        for number in range(20):
            np.random.random()  # other draws change nothing
            scheduler.on_trial_add(None, trials.EndedTrial(str(number), {"number": number}))
        return [scheduler._brackets.index(b) for b in scheduler._trial_info.values()]

    assert "seed" not in inspect.signature(AsyncHyperBandScheduler).parameters
    first = brackets()
    assert first == brackets()
    assert len({*first}) > 1


def test_processes_of_trials_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, went_on = tmp_path / "lanes", threading.Event()

    def first() -> None:
        trials.wait_for_processes(folder, 2, patience=1e6)
        went_on.set()

    threading.Thread(target=first, daemon=True).start()
    while not folder.is_dir() or not list(folder.iterdir()):
        threading.Event().wait(0.01)
    assert not went_on.is_set()
    (folder / "other-machine-1").touch()
    assert went_on.wait(600)
    trials.wait_for_processes(folder, 9, patience=1e6)  # this process has waited before
    trials.wait_for_processes(tmp_path / "none", 9, patience=0.0)
