"""Work-around for Ray Data: actors of a failed execution that live as long as its error."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def actors_released() -> Iterator[None]:
    """End the actors of Ray Data executions that fail inside the block.

    An error keeps the frames that it passed through; these keep the execution, and it keeps the
    actors with their CPUs, for as long as anybody keeps the error. So the local variables of all
    frames that have ended are dropped, and what then refers only to itself is collected.
    """
    try:
        yield
    except BaseException as error:
        for linked in _linked(error):
            _drop_variables(linked)
        gc.collect()
        raise


def _linked(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors that are its causes or contexts."""
    waiting, seen = [error], set()
    while waiting:
        linked = waiting.pop()
        if id(linked) not in seen:
            seen.add(id(linked))
            yield linked
            waiting += [e for e in (linked.__cause__, linked.__context__) if e is not None]


def _drop_variables(error: BaseException) -> None:
    """Drop the local variables of the ended frames of an error and of the frames that called them.

    The traceback keeps its lines."""
    part = error.__traceback__
    while part is not None:
        frame: FrameType | None = part.tb_frame
        while frame is not None:
            with contextlib.suppress(RuntimeError):  # the frame has not ended
                frame.clear()
            frame = frame.f_back
        part = part.tb_next
