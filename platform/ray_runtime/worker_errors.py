"""Errors of Ray's workers, which reach the driver with the kind, number and text that they had.

Ray wraps the exception of a worker: in a `RayTaskError`, which has the exception's type but lacks
its error number and file name; or, for a training, in a `WorkerGroupError` or a `ControllerError`.
Ray Data adds advice to its text, and an exception that cannot be rebuilt in another process arrives
without its kind. So each function that runs in a worker is `sendable`, and each place in the driver
that waits for workers does so inside `unwrapped`. No other place needs to know of the wrappers.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from ..errors import InputError

P = ParamSpec("P")
T = TypeVar("T")
TELLING = (InputError, MemoryError, OSError)
"""Kinds of errors that say why workers failed; if one worker of a group fails so, other workers of
the group fail too, because they lose the connection to it."""
MEMORY_TEXTS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Parts of the texts of torch's errors on a GPU or a host without enough memory."""
LONGEST_REASON = 200
"""Most characters of the text of such an error that a message quotes."""
DISCONNECTED = (ConnectionError, TimeoutError)
"""Kinds of `OSError` that workers may raise only because another worker of the group failed."""


class WorkerError(Exception):
    """The stand-in for an exception that cannot be rebuilt in another process.

    Args:
        kind: name of the exception's type.
        text: text of the exception.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class SentError(Exception):
    """The envelope of an exception on its way from a worker to the driver.

    Args:
        error: the exception; what Ray adds to the arguments of the envelope does not reach it.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __str__(self) -> str:
        return described(self.error)

    def __reduce__(self) -> tuple[type[SentError], tuple[BaseException]]:
        return type(self), (self.error,)


def sendable(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function for a worker whose exceptions reach the driver unchanged.

    The function raises a `SentError` with the exception in it.

    Args:
        function: what the worker does.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return function(*arguments, **options)
        except Exception as error:
            cause = original(error)
            if not _is_sendable(cause):
                cause = WorkerError(type(cause).__name__, str(cause))
            raise SentError(cause) from error

    return call


def _is_sendable(error: BaseException) -> bool:
    import ray.cloudpickle

    try:
        ray.cloudpickle.dumps(error)
        copied = copy.deepcopy(error)
    except Exception:  # whatever the type's own code raises
        return False
    return type(copied) is type(error) and str(copied) == str(error)


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the exceptions of workers inside the block as they were raised in the worker."""
    try:
        yield
    except Exception as error:
        cause = original(error)
        if cause is error:
            raise
        raise cause from error


def original(error: BaseException) -> BaseException:
    """Return the exception that a worker raised, without Ray's wrappers around it.

    An exception that Ray did not wrap, or that is Ray's own, is returned itself."""
    import ray

    while True:
        train = sys.modules.get("ray.train.v2.api.exceptions")  # else nothing was trained
        if isinstance(error, ray.exceptions.RayTaskError):
            error = error.cause
        elif isinstance(error, SentError):
            error = error.error
        elif train and isinstance(error, train.ControllerError):
            error = error.controller_failure
        elif train and isinstance(error, train.WorkerGroupError) and error.worker_failures:
            error = most_telling(error.worker_failures.values())
        else:
            return error


def most_telling(errors: Iterable[BaseException]) -> BaseException:
    """Return the error of a group of workers that says why the group failed.

    Args:
        errors: errors of the workers, at least one.
    """
    originals = [original(error) for error in errors]
    causes = [error for error in originals if not isinstance(error, DISCONNECTED)] or originals
    return next((error for error in causes if isinstance(error, TELLING)), causes[0])


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a GPU or a host does not suffice."""
    torchs = isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY_TEXTS)
    return torchs or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


@contextlib.contextmanager
def memory_advised(work: str, advice: str) -> Iterator[None]:
    """Turn a lack of memory inside the block, which would come again, into an error in the input.

    Args:
        work: what needs the memory, for the beginning of the message.
        advice: which options to change, for the end of the message.

    Raises:
        InputError: the memory of a GPU or a host does not suffice.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not is_lack_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        raise InputError(f"{work} needs more memory than there is ({reason}); {advice}") from error


def described(error: BaseException) -> str:
    """Return the kind of an error and the last line of its text, in one line."""
    worker_error = error if isinstance(error, WorkerError) else None
    kind = worker_error.kind if worker_error else type(error).__name__
    lines = (worker_error.text if worker_error else str(error)).strip().splitlines()
    return f"{kind}: {lines[-1] if lines else ''}".strip()
