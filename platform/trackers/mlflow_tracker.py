"""Runs in MLflow, at the address of `MLFLOW_TRACKING_URI`."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from PIL import Image

from ..errors import InputError
from .tracker import Ending, Row, TrackedRun, Tracker

T = TypeVar("T")
MOST_METRICS, MOST_PARAMETERS, LONGEST = 1000, 100, 6000
"""Most metrics and parameters of one request to MLflow, and most characters of a parameter."""
ACTIVE = "active"
"""What MLflow calls the stage of an experiment that was not deleted."""
STATUS: Mapping[Ending, str] = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Environment variables of MLflow that are set unless the user has set them: no telemetry, nothing
on standard output, and a server that is gone does not hold up a run for minutes."""


class MLflowTracker(Tracker):
    """A run of the experiment `MLFLOW_EXPERIMENT_NAME`, or `wsss`; trials are nested in a sweep."""

    kind = "mlflow"
    package = "mlflow"

    def _client(self) -> Any:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        return MlflowClient()

    @property
    def experiment(self) -> str:
        """The name of the MLflow experiment that takes the runs."""
        return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "wsss"

    @property
    def address(self) -> str:
        import mlflow

        return f"{_without_password(mlflow.get_tracking_uri())}, experiment {self.experiment}"

    def check(self) -> None:
        try:
            with _without_retries():
                known = self._client().get_experiment_by_name(self.experiment)
        except Exception as error:  # MLflow raises errors of its stores, too
            reason = _without_password(str(error).strip().partition("\n")[0].partition(". ")[0])
            raise InputError(
                f"MLflow at {self.address} cannot be used: {reason}; correct MLFLOW_TRACKING_URI, "
                "or leave out --log mlflow"
            ) from error
        if known and known.lifecycle_stage != ACTIVE:
            raise InputError(
                f"MLflow at {self.address} cannot be used: the experiment was deleted; run mlflow "
                f"experiments restore -x {known.experiment_id}, or name another experiment with "
                "MLFLOW_EXPERIMENT_NAME"
            )

    def start(self, run: TrackedRun, sweep: Tracker | None = None) -> None:
        from mlflow.entities import Param

        self.client = self._client()
        if self.run_id:
            self.client.update_run(self.run_id, status="RUNNING")
            return
        parent = {"mlflow.parentRunId": sweep.run_id} if isinstance(sweep, MLflowTracker) else {}
        created = self.client.create_run(
            self._experiment_id(), run_name=run.name, tags={**run.tags, **parent}
        )
        self.run_id = created.info.run_id
        parameters = [Param(_name(k), _text(v)[:LONGEST]) for k, v in run.fields.items()]
        for some in _chunks(parameters, MOST_PARAMETERS):
            self.client.log_batch(self.run_id, params=some)

    def _experiment_id(self) -> str:
        """Return the id of the experiment, which is created if there is none."""
        from mlflow.exceptions import MlflowException

        known = self.client.get_experiment_by_name(self.experiment)
        if known is None:
            try:
                return str(self.client.create_experiment(self.experiment))
            except MlflowException:  # another command may have created it just now
                known = self.client.get_experiment_by_name(self.experiment)
                if known is None:
                    raise
        return str(known.experiment_id)

    def scalars(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [
            Metric(_name(name), float(value), now, step)
            for step, values in rows
            for name, value in values.items()
        ]
        for some in _chunks(metrics, MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=some)

    def table(self, name: str, rows: Sequence[Row]) -> None:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
        self.client.log_text(self.run_id, stream.getvalue(), f"{_name(name)}.csv")

    def image(self, name: str, picture: Image.Image) -> None:
        self.client.log_image(self.run_id, picture, artifact_file=f"{_name(name)}.png")

    def end(self, ending: Ending) -> None:
        self.client.set_terminated(self.run_id, STATUS[ending])


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield values in chunks of a size; the last chunk may be smaller."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _without_password(text: str) -> str:
    """Return a text with addresses whose user names and passwords are left out."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _name(name: str) -> str:
    """Return a name with a low line for each character that MLflow refuses in names."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _without_retries() -> Iterator[None]:
    """Ask MLflow's server only once, and wait for five seconds at most, during a block."""
    brief = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    before = {name: os.environ.get(name) for name in brief}
    os.environ.update(brief)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
