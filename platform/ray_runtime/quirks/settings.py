"""Environment variables and options of Ray Data that make Ray 2.60 fast and quiet enough.

`upstream` says for each one why it is set, and when it may go.
"""

from __future__ import annotations

import logging
import os
import time

PAUSE_SECONDS = 0.01
"""Seconds of each pause of Ray Data's scheduling loop."""
WAIT_SECONDS = 7 * 24 * 3600
"""Seconds for which a training waits for the CPUs and GPUs of its workers."""
RAY_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(WAIT_SECONDS),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Variables that Ray reads."""
ENVIRONMENT = {
    **RAY_ENVIRONMENT,
    "OMP_WAIT_POLICY": "PASSIVE",
    # Freed memory stays with the process. Returning it to the system and faulting it in again took
    # a sixth of a training step's time on a CPU and four fifths of a scoring pass.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
"""Variables of all processes, the driver's and the workers'."""


def set_environment() -> None:
    """Set the variables of `ENVIRONMENT`, which must be set before Ray is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def set_data_options() -> None:
    """Set the options of Ray Data that each process using it needs.

    The options choose a fixed order, no progress bars and the exceptions of workers as they are.
    The loggers of Ray's libraries stay quiet, because what they would say is in the exception that
    the driver gets, or in the record of the sweep."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    if SchedulingPause not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(SchedulingPause)
    for name in ("ray.data", "ray.data._internal", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("ray.train").setLevel(logging.ERROR)


class SchedulingPause:
    """A Ray Data execution callback that pauses the scheduling loop at each turn."""

    def before_execution_starts(self, executor: object) -> None:
        """Do nothing."""

    def on_execution_step(self, executor: object) -> None:
        """Sleep for `PAUSE_SECONDS`."""
        time.sleep(PAUSE_SECONDS)

    def after_execution_succeeds(self, executor: object) -> None:
        """Do nothing."""

    def after_execution_fails(self, executor: object, error: Exception) -> None:
        """Do nothing."""
