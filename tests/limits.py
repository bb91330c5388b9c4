"""Time limits of tests, which guard against hangs only: no slow machine reaches them."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG = 1800
"""Longest wait in seconds (half an hour); no test asserts how long anything takes."""


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Wait until something that another process or thread does has happened.

    Raises:
        AssertionError: It did not happen within `HANG` seconds.
    """
    end = time.monotonic() + HANG
    while not happened():
        assert time.monotonic() < end, f"{what}: this never happened"
        time.sleep(0.02)
