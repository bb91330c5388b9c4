"""Tests of errors of Ray's workers: each kind arrives in the driver as it was, on each way."""

from __future__ import annotations

import copy
import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import ray.cloudpickle
import ray.exceptions
import torch
from limits import wait_until
from wsss.methods.cam import CAM
from wsss.platform.config.fields import Options
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats import shards
from wsss.platform.data.formats.shards import Slice
from wsss.platform.data.sources.source import Item
from wsss.platform.errors import InputError, StorageError
from wsss.platform.ray_runtime import cluster
from wsss.platform.ray_runtime.worker_errors import (
    SentError,
    WorkerError,
    described,
    memory_advised,
    most_telling,
    original,
    sendable,
    unwrapped,
)
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.inference import actors
from wsss.platform.stages.prototypes import clustering
from wsss.platform.stages.training import ray_train
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.tuning import trial

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
PIECES = [Slice(LocalFolder(Path("none")) / f"{k}.parquet", 0, 1) for k in range(3)]


class OddError(Exception):
    """An exception that pickle cannot rebuild."""

    def __init__(self, place: str, number: int) -> None:
        super().__init__(f"{place} has {number}")


def error_of(kind: str) -> Exception:
    """Return a new error of a kind, as a worker would raise it."""
    return {
        "input": lambda: InputError("photo.png has no label; add one"),
        "storage": lambda: StorageError("s3://b does not answer; try again"),
        "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "maps.parquet"),
        "missing": lambda: FileNotFoundError(errno.ENOENT, "no such file", "photo.png"),
        "memory": lambda: MemoryError("12 GB"),
        "odd": lambda: OddError("a shelf", 3),
        "fault": lambda: KeyError("cat"),
    }[kind]()


def expected(kind: str) -> Exception:
    """Return the error that should arrive in the driver."""
    return WorkerError("OddError", "a shelf has 3") if kind == "odd" else error_of(kind)


def fail(kind: str) -> int:
    raise error_of(kind)


def by_task(kind: str, folder: Path) -> None:
    list(cluster.map_tasks(fail, [kind]))


def by_lone_task(kind: str, folder: Path) -> None:
    cluster.survives(fail, kind)


def by_nested_task(kind: str, folder: Path) -> None:
    def outer(kind: str) -> None:
        list(cluster.map_tasks(fail, [kind]))

    list(cluster.map_tasks(outer, [kind]))


def by_data_map(kind: str, folder: Path) -> None:
    source = SimpleNamespace(classes=("cat",), load=lambda item: fail(item.id))
    plan = [(f"train-{k:05d}.parquet", [Item(id=kind, split="train")]) for k in range(3)]
    list(shards._write_shards(LocalFolder(folder), source, plan, False, None))  # type: ignore[arg-type]


class FailingAtWork(actors.Actor):
    """An actor that leaves a file for the first slice, and fails at the second."""

    def __init__(self, job: tuple[str, Path]) -> None:
        self.kind, self.folder = job

    def work(self, piece: Slice) -> int:
        if piece != PIECES[0]:
            fail(self.kind)
        (self.folder / piece.file.name).touch()
        return piece.rows


def by_actor(kind: str, folder: Path) -> None:
    """Let the second of three slices of a call fail; no later slice is processed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actors, "MOST_BLOCKS", 1)
        patch.setattr(actors, "BLOCKS_PER_ACTOR", 0)
        try:
            actors.run(FailingAtWork, (kind, folder), PIECES, 1, lambda done, total: None)
        finally:
            assert [path.name for path in folder.iterdir()] == [PIECES[0].file.name]


@dataclass(frozen=True)
class FailingFile:
    kind: str

    def with_suffix(self, suffix: str) -> Any:
        return fail(self.kind)


def by_holder(kind: str, folder: Path) -> None:
    files = [FailingFile(kind), FailingFile(kind)]
    clustering.Holders(files, 0.3, 2, 1 << 20)  # type: ignore[arg-type]


def assert_equal(error: BaseException, kind: str) -> None:
    """Check that an error is what the worker raised, and keeps Ray's report as its cause."""
    original = expected(kind)
    assert type(error) is type(original)
    assert str(error) == str(original)
    for name in ("errno", "filename", "kind", "text"):
        assert getattr(error, name, None) == getattr(original, name, None)
    assert error.__cause__ is not None


KINDS = ("input", "storage", "full", "missing", "memory", "odd", "fault")
WAYS = [
    (by_task, KINDS),
    (by_lone_task, KINDS),
    (by_nested_task, KINDS),
    (by_data_map, KINDS),
    (by_actor, ("full",)),  # the start of an actor takes seconds
    (by_holder, ("odd",)),
]
"""The ways of an error, and the kinds that take each: all kinds take the ways of tasks, and the
ways of actors send an error by the same `sendable`."""


@pytest.fixture
def without_collection() -> Iterator[None]:
    """Collect no garbage but where the code itself does, as a process that waits."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def all_cpus_are_free() -> bool:
    return bool(ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"])


@pytest.mark.cluster
@pytest.mark.parametrize(("way", "kinds"), WAYS)
def test_an_error_of_a_task_or_an_actor_arrives_as_it_was(
    ray_session: None,
    without_collection: None,
    way: Callable[[str, Path], None],
    kinds: tuple[str, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kept = []
    for kind in kinds:
        with pytest.raises(Exception) as caught:  # noqa: PT011 (the kind is checked below)
            way(kind, tmp_path)
        assert_equal(caught.value, kind)
        kept.append(caught.value)
    assert capfd.readouterr() == ("", "")
    wait_until(all_cpus_are_free, f"the CPUs are free while {len(kept)} errors are kept")


@sendable
def train(job: Any) -> None:
    """Do the work of a training's worker that notes its start and fails."""
    with open(job.starts, "a+") as stream:
        stream.write("start\n")
        stream.seek(0)
        starts = len(stream.readlines())
    fail(job.kinds[starts - 1])


@pytest.mark.cluster
@pytest.mark.faults
@pytest.mark.parametrize(
    ("kinds", "failures"),
    [(("storage", "input"), 2), (("input",), 2), (("storage", "storage"), 1)],
)
def test_an_error_of_a_training_arrives_as_it_was(
    ray_session: None,
    without_collection: None,
    kinds: tuple[str, ...],
    failures: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Workers are started anew after a failure that may pass, and not after wrong input; the last
    of the errors arrives.

    Errors of other kinds are unwrapped in the tests of the errors of groups, below."""
    monkeypatch.setattr(ray_train, "run_worker", train)
    monkeypatch.setattr(ray_train, "MAX_FAILURES", failures)
    home = LocalStorage(tmp_path).location("home")
    job = SimpleNamespace(
        training=SimpleNamespace(workers=1),
        plan=lambda rank, world: None,
        metrics=home.with_suffix(".jsonl"),
        field="training",
        start=None,
        starts=str(tmp_path / "starts"),
        kinds=kinds,
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the kind is checked below)
        ray_train.fit(
            LocalFolder(tmp_path),
            job,  # type: ignore[arg-type]
            home,
            ProgressDisplay(),
            lambda: None,
        )
    assert_equal(caught.value, kinds[-1])
    assert len(Path(job.starts).read_text().split()) == len(kinds)
    wait_until(all_cpus_are_free, "the CPUs are free while the error is kept")


@pytest.mark.cluster
def test_an_error_of_a_trial_is_recorded_with_its_kind_and_number(
    ray_session: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ray.tune

    def run(config: dict[str, str]) -> dict[str, Any]:
        cluster.connect()
        trial._attempt = lambda *arguments: by_task(config["kind"], Path())  # type: ignore
        sweep = SimpleNamespace(retries=0, is_population=False)
        return trial.run(None, sweep, {}, 0, lambda report: None)  # type: ignore[arg-type]

    results = ray.tune.Tuner(
        ray.tune.with_resources(run, cluster.trial_resources()),
        param_space={"kind": ray.tune.grid_search(list(KINDS))},
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=ray.tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert {result.config["kind"]: result.metrics["error"] for result in results} == {
        kind: described(expected(kind)) for kind in KINDS
    }


class FailingAtStart(actors.Actor):
    def __init__(self, kind: str) -> None:
        fail(kind)

    def work(self, piece: Slice) -> int:
        return piece.rows


@pytest.mark.parametrize("kind", KINDS)
def test_an_actor_is_made_at_its_first_call_which_can_send_its_error(kind: str) -> None:
    """Ray keeps only the text of an error at the start of an actor's process."""
    late = actors.LateActor(FailingAtStart, kind, PIECES)
    with pytest.raises(SentError) as caught:
        late({"number": np.array([0])})
    assert str(original(wrapped(caught.value))) == str(expected(kind))


def test_errors_are_described_in_one_line() -> None:
    assert described(error_of("full")) == f"OSError: {error_of('full')}"
    assert "[Errno 28]" in described(error_of("full"))
    assert described(expected("odd")) == "OddError: a shelf has 3"
    assert described(ValueError("first\nlast\n")) == "ValueError: last"
    assert described(WorkerError("OddError", "first\nlast")) == "OddError: last"
    assert described(ValueError()) == "ValueError:"


def wrapped(error: Exception) -> Exception:
    task_error = ray.exceptions.RayTaskError("task", "its traceback", error)
    return task_error.as_instanceof_cause()  # type: ignore[no-any-return]


def test_an_error_that_is_wrapped_several_times_is_unwrapped() -> None:
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    error = error_of("full")
    assert original(wrapped(wrapped(error))) is error
    assert original(WorkerGroupError("failed", {0: wrapped(error)})) is error
    assert original(ControllerError(wrapped(error))) is error
    assert original(error) is error
    empty = WorkerGroupError("failed", {})
    assert original(empty) is empty


def test_the_error_of_a_group_is_the_one_that_says_why() -> None:
    lost, wrong = RuntimeError("connection closed by peer"), error_of("input")
    assert most_telling([lost, wrapped(wrong)]) is wrong
    assert most_telling([lost, KeyError("cat")]) is lost


@pytest.mark.parametrize("lost", [ConnectionResetError(), BrokenPipeError(), TimeoutError()])
def test_a_lost_connection_to_a_worker_is_not_why_a_group_failed(lost: OSError) -> None:
    fault = KeyError("cat")
    assert most_telling([wrapped(lost), fault]) is fault
    assert most_telling([fault, lost]) is fault
    assert most_telling([lost]) is lost


LACKS_OF_MEMORY = [
    MemoryError("Unable to allocate 9 GiB"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


@pytest.mark.parametrize("error", [*LACKS_OF_MEMORY, MemoryError()])
def test_a_training_without_enough_memory_says_which_options_to_lower(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is wrong input in the worker already, so that the worker is not started anew."""

    def lack(job: Any) -> None:
        raise error

    monkeypatch.setattr(ray_train, "_train", lack)
    job: Any = SimpleNamespace(
        training=Training(batch_size=6, crop=64), field="segment.training", learner=CAM(Options())
    )
    with pytest.raises(SentError) as caught:
        ray_train.run_worker(job)
    advice = "lower segment.training.batch_size (6) or segment.training.crop (64)"
    sent = original(caught.value)
    assert type(sent) is InputError
    reason = str(error) or "MemoryError"
    assert str(sent) == f"training cam needs more memory than there is ({reason}); {advice}"


def test_other_errors_of_a_training_stay_as_they_are() -> None:
    for error in (InputError("out of memory cards"), RuntimeError("shapes differ"), KeyError("x")):
        with pytest.raises(type(error)) as caught, memory_advised("training", "lower it"):
            raise error
        assert caught.value is error


def test_errors_that_ray_did_not_wrap_pass_unchanged() -> None:
    error = error_of("input")
    with pytest.raises(InputError) as caught, unwrapped():
        raise error
    assert caught.value is error
    assert caught.value.__cause__ is None


def test_a_function_that_succeeds_is_not_changed() -> None:
    def add(first: int, second: int = 1) -> int:
        """Add."""
        return first + second

    assert sendable(add)(1, second=4) == 5
    assert sendable(add).__doc__ == "Add."


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_on_its_way_is_copied_whole_whatever_is_added_to_it(kind: str) -> None:
    with pytest.raises(SentError) as caught:
        sendable(fail)(kind)
    caught.value.args += ("advice on retries",)
    sent = copy.deepcopy(caught.value)
    assert str(sent) == described(expected(kind))
    assert str(original(wrapped(sent))) == str(expected(kind))
