"""The one place where Ray starts, and how tasks are handed out."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from . import session
from .stderr import quiet

T = TypeVar("T")
REST_SECONDS = 0.01
CPU_STAGE, DRIVER, LIMIT = "cpu_stage", "driver", "_limit"
"""Custom resources of `cluster.yaml`: of nodes for CPU stages, one a core; of the head, where
trials are driven from; and what its head says the cluster may grow to, `GPU_limit` for one."""
TRIAL_BYTES = 400 << 20
"""Memory of the process of a Tune trial, of which torch's build for GPUs alone takes 0.3 GB."""

ENVIRONMENT = {
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # which ends a sweep at Ctrl-C as if it were done
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of calls that nobody waits for
    # Memory is not handed back to the system at each step only to be faulted in again: a sixth of
    # a training step's time on a CPU, four fifths of a score's.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def connect() -> None:
    """Joins the cluster of `RAY_ADDRESS`, or starts Ray on this machine; once a process.

    Two logical CPUs more than there are cores: data tasks then run beside training workers
    and inference actors, which is faster than waiting for them, and cannot deadlock.

    Raises:
        InputError: Ray does not come up, or nobody answers at `RAY_ADDRESS`.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with quiet() as aside:
        import ray

        if not ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS") or "local"
            if address == "local":
                _own_token()
                session.start(cores() + 2, aside)
            else:
                session.join(address, aside)
    data_context()


def _own_token() -> None:
    """Makes the token that Ray asks its clients for, where there is none. Whoever has it can run
    anything here, and one that Ray makes may be read by all users of this machine."""
    if os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        return
    path = Path("~/.ray/auth_token").expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), open(path, "x", opener=_private) as stream:
        stream.write(secrets.token_hex(32))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def data_context() -> None:
    """Sets what every process that runs Ray Data needs: old reader, fixed order, no bars."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = False
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # an InputError stays one
    if Rest not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(Rest)
    for name in ("ray.data", "ray.data._internal", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a sweep's record names its failures


class Rest:
    """Lets Ray Data's scheduling loop rest at each turn.

    While its consumer is busy (a training step) the loop of Ray 2.60 turns without waiting, and
    takes a third of a core and the interpreter's lock from the training in the same process.
    """

    def before_execution_starts(self, executor: object) -> None:
        """Nothing to do."""

    def on_execution_step(self, executor: object) -> None:
        """Waits a moment."""
        time.sleep(REST_SECONDS)

    def after_execution_succeeds(self, executor: object) -> None:
        """Nothing to do."""

    def after_execution_fails(self, executor: object, error: Exception) -> None:
        """Nothing to do."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _most(name: str) -> int:
    """How much of a resource the nodes have, or nodes that may still start will have."""
    import ray

    there = ray.cluster_resources()
    return int(max(there.get(name, 0), there.get(name + LIMIT, 0)))


def workers() -> int:
    """How many one-CPU tasks should run side by side."""
    return _most(CPU_STAGE) or max(1, _most("CPU") - 2)


def gpus() -> int:
    """GPUs of the cluster."""
    return _most("GPU")


def trains_on_gpu() -> bool:
    """Whether networks are trained on a GPU: of this machine, or of the cluster that is joined."""
    if os.environ.get("RAY_ADDRESS"):
        connect()
        return gpus() > 0
    import torch

    return torch.cuda.is_available()


def apart(share: float = 1.0) -> dict[str, float] | None:
    """The custom resources of a task of a CPU stage; none where the cluster has no nodes for such.

    Where it has, these tasks leave the cores beside the GPUs to the GPU stages.
    """
    return {CPU_STAGE: share} if _most(CPU_STAGE) else None


def _rooms() -> list[int]:
    """Bytes of memory of each node that Tune trials may run on."""
    import ray

    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    those = [has for has in there if has.get(DRIVER)] or there
    return [int(has.get("memory", 0)) for has in those]


def driving() -> dict[str, float]:
    """What a Tune trial asks for: next to nothing, of the head where that takes drivers, but
    memory, so that no more run at a time than fit; what is asked for beyond waits."""
    room = min(TRIAL_BYTES, max(_rooms(), default=0))
    kind = DRIVER if _most(DRIVER) else "cpu"
    return {kind: 0.01, **({"memory": room} if room else {})}


def drivers() -> int:
    """How many Tune trials can run at a time."""
    return max(1, sum(room // TRIAL_BYTES for room in _rooms()))


def anywhere() -> Any:
    """Scheduling outside the resources of a Tune trial, which holds next to none itself."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return PlacementGroupSchedulingStrategy(placement_group=None)


def _remote(task: Callable[..., object], retries: int) -> Any:
    import ray

    return ray.remote(
        num_cpus=1, resources=apart(), max_retries=retries, scheduling_strategy=anywhere()
    )(task)


def each(
    task: Callable[..., T],
    pieces: Sequence[Any],
    shared: Sequence[Any] = (),
    progress: Callable[[int, int], None] | None = None,
    lost: Callable[[Any], T] | None = None,
) -> Iterator[T]:
    """Runs `task(piece, *shared)` as Ray tasks and yields the results in order.

    Args:
        task: must be deterministic; it runs again where a worker dies.
        pieces: one task each, as many in flight as there are workers: each process more would
            only cost its start.
        shared: put into the object store once.
        progress: called with (tasks done, tasks in all).
        lost: gives the result of a piece whose process died at each try; without it the error
            passes.
    """
    import ray

    retries = 1 if lost else 3
    remote = _remote(task, retries)
    references = [ray.put(value) for value in shared]
    flying: dict[Any, int] = {}
    done: dict[int, T] = {}
    sent, window = 0, workers()
    for wanted in range(len(pieces)):
        while wanted not in done:
            while sent < len(pieces) and len(flying) < window:
                flying[remote.remote(pieces[sent], *references)] = sent
                sent += 1
            ended, _ = ray.wait(list(flying))
            number = flying.pop(ended[0])
            try:
                done[number] = ray.get(ended[0])
            except ray.exceptions.WorkerCrashedError:
                if lost is None or session.lost():
                    raise
                done[number] = lost(pieces[number])
            if progress:
                progress(sent - len(flying), len(pieces))
        yield done.pop(wanted)


def survives(task: Callable[..., object], *arguments: object) -> bool:
    """Whether a task, run in a process of its own, comes to an end without killing it."""
    import ray

    try:
        ray.get(_remote(task, 0).remote(*arguments))
    except ray.exceptions.WorkerCrashedError:
        if session.lost():
            raise
        return False
    return True
