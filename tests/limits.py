"""What tests wait for at most, which guards against hangs only: no slow machine gets there."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG = 1800
"""Seconds: half an hour. No test asserts how long anything takes."""


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Waits for something that another process or thread does.

    Raises:
        AssertionError: it did not happen.
    """
    end = time.monotonic() + HANG
    while not happened():
        assert time.monotonic() < end, f"{what}: this never happened"
        time.sleep(0.02)
