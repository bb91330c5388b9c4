"""Work-arounds for Ray Train: errors that no retry mends, interrupts, and dead controllers."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ...errors import InputError, StorageError
from ..worker_errors import most_telling

T = TypeVar("T")
MAX_CONTROLLERS = 3
"""Largest number of controller processes that are started in turn for one training."""
ABORT_SECONDS = 5.0
"""Seconds that the controller of an interrupted training has to end its workers by itself."""


def stop_at_input_error() -> Any:
    """Return a callback of Ray Train that ends a training at an error which would come again.

    Ray Train starts the workers anew after any error of theirs. An error of a callback ends the
    training at once, with that error as the `controller_failure` of a `ControllerError`."""
    import ray.train

    class StopAtInputError(ray.train.UserCallback):  # type: ignore[misc]
        def after_exception(
            self, run_context: object, worker_exceptions: Mapping[int, Exception]
        ) -> None:
            error = most_telling(worker_exceptions.values())
            if isinstance(error, InputError) and not isinstance(error, StorageError):
                raise error

    return StopAtInputError()


def fit_until_interrupt(trainer: Any) -> Any:
    """Return the result of a trainer of Ray Train, which Ctrl-C ends within seconds.

    Ray Train's own handler of Ctrl-C waits for its controller, which does not answer while it waits
    for the resources of its workers. Here the controller is killed then, and its workers end too.

    Args:
        trainer: the trainer.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """

    def register(controller: Any) -> None:
        signal.signal(signal.SIGINT, lambda number, frame: _end(controller))

    trainer._register_sigint_handler = register
    handler = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler or signal.default_int_handler)


def _end(controller: Any) -> None:
    """End a controller of Ray Train and its workers, and raise KeyboardInterrupt."""
    import ray

    with contextlib.suppress(ray.exceptions.RayError):  # the controller ends, or does not answer
        ray.get(controller.abort.remote(), timeout=ABORT_SECONDS)
    ray.kill(controller)
    raise KeyboardInterrupt


def with_new_controllers(attempt: Callable[[], T], ray_is_lost: Callable[[], bool]) -> T:
    """Return the result of a training; where its controller process dies, try again.

    Args:
        attempt: trains, from the last checkpoint on.
        ray_is_lost: returns whether Ray itself has died, so that trying again is of no use.

    Raises:
        RayActorError: `MAX_CONTROLLERS` controllers died, or Ray has died.
    """
    import ray

    attempts = 0
    while True:
        attempts += 1
        try:
            return attempt()
        except ray.exceptions.RayActorError:
            if attempts == MAX_CONTROLLERS or ray_is_lost():
                raise
