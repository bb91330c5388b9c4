"""Connection to Ray, the only place that starts it, and scheduling of its tasks."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..storage import filesystem
from . import session
from .quirks import settings
from .quirks.native_output import capture_stderr
from .worker_errors import sendable, unwrapped

T = TypeVar("T")
CPU_STAGE, DRIVER, LIMIT = "cpu_stage", "driver", "_limit"
"""Names of the custom resources of `cluster.yaml`: `cpu_stage`, one a core of each node for CPU
stages; `driver`, of the head, for the processes of Tune trials; and the suffix of a resource of the
head that says how far the cluster may grow, for example `GPU_limit`."""
WAITING = ("PENDING", "RESCHEDULING")
"""States of a placement group of Ray whose resources are not there yet."""
TRIAL_BYTES = PROCESS_BYTES = 400 << 20
"""Memory in bytes of the process of a Tune trial, without the masks that it keeps, or of a process
for images; torch's build for GPUs alone takes 0.3 GB of it."""

SMALL_BYTES = 1 << 30
"""Memory in bytes that a machine has for each of its cores. Processes that take no more need not be
counted, so that each core has one."""


def connect() -> None:
    """Join the cluster at `RAY_ADDRESS`, or start Ray on this machine; once a process.

    Ray on this machine gets two logical CPUs more than there are cores. Data tasks then run beside
    training workers and inference actors, which is faster than waiting for them and cannot
    deadlock.

    Raises:
        InputError: Ray does not start, or nobody answers at `RAY_ADDRESS`.
    """
    settings.set_environment()
    with capture_stderr() as captured:
        import ray

        if not ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS") or "local"
            if address == "local":
                _make_token()
                session.start(cores() + 2, captured)
            else:
                session.join(address, captured)
    settings.set_data_options()


def _make_token() -> None:
    """Write a random token for Ray's clients to `~/.ray/auth_token`, unless there is one.

    Whoever knows the token can run anything in this Ray. A token file that Ray itself makes may be
    readable for all users of this machine."""
    if os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        return
    path = Path("~/.ray/auth_token").expanduser()
    with filesystem.write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        filesystem.create(path, secrets.token_hex(32).encode(), mode=0o600)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _capacity(name: str) -> int:
    """Return how much of a resource the cluster has, or may have after it has grown."""
    import ray

    resources = ray.cluster_resources()
    return int(max(resources.get(name, 0), resources.get(name + LIMIT, 0)))


def workers() -> int:
    """Return how many one-CPU tasks should run side by side."""
    return _capacity(CPU_STAGE) or max(1, _capacity("CPU") - 2)


def fitting(count: int, need: int) -> int:
    """Return how many processes for images run side by side, at least one.

    Args:
        count: how many processes the cores are enough for.
        need: memory in bytes that an image of each process takes at most.
    """
    if need <= SMALL_BYTES:
        return count
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    name = CPU_STAGE if _capacity(CPU_STAGE) else "CPU"
    memory = [int(resources.get("memory", 0)) for resources in alive if resources.get(name)]
    fit = sum(of_node // (PROCESS_BYTES + need) for of_node in memory)
    return max(1, min(count, fit)) if any(memory) else count


def gpus() -> int:
    """Return the number of GPUs that the cluster has or may grow to."""
    return _capacity("GPU")


def check_workers(workers: int, field: str) -> None:
    """Check that the cluster has, or may start, what the workers of a training reserve.

    A worker reserves a CPU, and a GPU where there are GPUs. Beside the workers one CPU must be left
    for the tasks that load their rows. The CPUs of a cluster that may grow are not known, unless
    its head has the resource `CPU_limit`.

    Args:
        workers: number of workers.
        field: name of the configuration field that holds the number, for the message.

    Raises:
        InputError: the workers would wait for ever for resources, or for rows.
    """
    if 0 < (limit := gpus()) < workers:
        raise InputError(
            f"{field} is {workers}, but Ray has {limit} GPUs and each worker takes one; lower "
            f"{field}, or give the head the resource GPU{LIMIT} if more GPUs may start"
        )
    cpus = _capacity("CPU")
    if cpus <= workers and _knows_cpus():
        raise InputError(
            f"{field} is {workers}, but Ray has {cpus} CPUs; each worker takes one, and one must "
            f"be left to load images; lower {field}, or start Ray with more CPUs"
        )


def training_slots(workers: int) -> int | None:
    """Return how many trainings can run at a time: as many as leave a CPU to load their rows.

    Args:
        workers: number of workers of each training.

    Returns:
        The number, at least one; None where the cluster may grow to a number of CPUs that is not
        known.
    """
    return max(1, (_capacity("CPU") - 1) // workers) if _knows_cpus() else None


def waits_for(resources: Mapping[str, float], workers: int) -> str:
    """Return in words what such a training waits for.

    Args:
        resources: what each worker reserves, by name.
        workers: number of workers.

    Returns:
        Words such as "1 free CPU and 1 free GPU"; empty if no such training waits, or Ray does not
        answer.
    """
    import ray

    with contextlib.suppress(ray.exceptions.RayError, ConnectionError, RuntimeError):
        for group in ray.util.placement_group_table().values():
            bundles = [*group["bundles"].values()]
            if group["state"] in WAITING and bundles == [dict(resources)] * workers:
                counts = {name: each * workers for name, each in resources.items()}
                words = (f"{n:g} free {name}{'s' * (n > 1)}" for name, n in counts.items())
                return " and ".join(words)
    return ""


def _knows_cpus() -> bool:
    """Return whether it is known how many CPUs the cluster has, or has when it has grown."""
    import ray

    may_grow = any(name.endswith(LIMIT) for name in ray.cluster_resources())
    return not may_grow or _capacity(f"CPU{LIMIT}") > 0


def trains_on_gpu() -> bool:
    """Return whether networks train on a GPU: of this machine, or of the cluster that is joined."""
    if os.environ.get("RAY_ADDRESS"):
        connect()
        return gpus() > 0
    import torch

    return torch.cuda.is_available()


def cpu_stage_resources(share: float = 1.0) -> dict[str, float] | None:
    """Return the custom resources of a task of a CPU stage.

    Where the cluster has nodes for CPU stages, the tasks of these stages run there and leave the
    cores beside the GPUs to the GPU stages.

    Args:
        share: how much of the resource the task takes.

    Returns:
        The resources by name; None where the cluster has no nodes for CPU stages.
    """
    return {CPU_STAGE: share} if _capacity(CPU_STAGE) else None


def _trial_memory() -> list[int]:
    """Return the memory in bytes of each node that Tune trials may run on."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    eligible = [resources for resources in alive if resources.get(DRIVER)] or alive
    return [int(resources.get("memory", 0)) for resources in eligible]


def trial_resources(kept: int = 0) -> dict[str, float]:
    """Return the resources that a Tune trial requests, by name.

    A trial takes almost no CPU, from the head where the head has the resource `driver`. It requests
    memory, so that no more trials run at a time than fit; further trials wait.

    Args:
        kept: memory in bytes of what the process of a trial keeps beside `TRIAL_BYTES`.
    """
    memory = min(TRIAL_BYTES + kept, max(_trial_memory(), default=0))
    resource = DRIVER if _capacity(DRIVER) else "cpu"
    return {resource: 0.01, **({"memory": memory} if memory else {})}


def trial_slots(kept: int = 0) -> int:
    """Return how many Tune trials can run at a time; `kept` is as for `trial_resources`."""
    return max(1, sum(memory // (TRIAL_BYTES + kept) for memory in _trial_memory()))


def outside_trials() -> Any:
    """Return a scheduling strategy outside the resources of a Tune trial, which has almost none."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return PlacementGroupSchedulingStrategy(placement_group=None)


def _remote(task: Callable[..., object], retries: int) -> Any:
    import ray

    return ray.remote(
        num_cpus=1,
        resources=cpu_stage_resources(),
        max_retries=retries,
        scheduling_strategy=outside_trials(),
    )(sendable(task))


def _result(reference: Any) -> Any:
    import ray

    with unwrapped():
        return ray.get(reference)


def map_tasks(
    task: Callable[..., T],
    pieces: Sequence[Any],
    shared: Sequence[Any] = (),
    progress: Callable[[int, int], None] | None = None,
    lost: Callable[[Any], T] | None = None,
    need: int = 0,
) -> Iterator[T]:
    """Run `task(piece, *shared)` as Ray tasks and yield the results in the order of the pieces.

    Args:
        task: deterministic function; it runs again where a worker dies.
        pieces: first arguments; as many tasks run at a time as there are workers and memory.
        shared: other arguments, put into the object store once.
        progress: called with (tasks done, tasks in all).
        lost: gives the result of a piece whose process died at each try, or that Ray ended for want
            of memory; without `lost` the error is raised.
        need: memory in bytes that an image of a task takes at most, see `fitting`.

    Raises:
        Exception: what the task raised, as it raised it.
    """
    import ray

    remote = _remote(task, 1 if lost else 3)
    shared_references = [ray.put(value) for value in shared]
    running: dict[Any, int] = {}
    done: dict[int, T] = {}
    sent, window = 0, fitting(workers(), need)
    for number in range(len(pieces)):
        while number not in done:
            while sent < len(pieces) and len(running) < window:
                running[remote.remote(pieces[sent], *shared_references)] = sent
                sent += 1
            finished, _ = ray.wait(list(running))
            ended_number = running.pop(finished[0])
            try:
                done[ended_number] = _result(finished[0])
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                if lost is None or session.lost():
                    raise
                done[ended_number] = lost(pieces[ended_number])
            if progress:
                progress(sent - len(running), len(pieces))
        yield done.pop(number)


def survives(task: Callable[..., object], *arguments: object) -> bool:
    """Return whether a task, run in a process of its own, ends without killing it.

    A process that Ray ends for want of memory counts as killed."""
    import ray

    try:
        _result(_remote(task, 0).remote(*arguments))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        if session.lost():
            raise
        return False
    return True
