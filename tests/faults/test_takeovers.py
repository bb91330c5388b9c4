"""Tests of population based training as whole jobs: the winner can be trained again from its file,
and a sweep that was killed goes on as if it had not been."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from disturbed import DATA, Fault, Job
from limits import HANG
from wsss.platform.records.schema import read_run, read_sweep
from wsss.platform.serialization import as_json
from wsss.platform.storage.local_storage import LocalStorage

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2 * HANG)]

SWEEP = (
    "sweep", "cam", "--scheduler", "pbt", "--trials", "4", "--name", "population", "--quiet",
    "--set", "training.epochs=4", "--set", "training.batch_size=8", "--set", "views.scales=(1.0,)",
)  # fmt: skip
KILLS = (
    Fault("platform.tuning.runner.population:changed", 1),
    Fault("platform.tuning.runner.population:changed", 3),
    Fault("platform.tuning.journal:Journal.add", 2),
)
"""The deaths of the driver: at the first and the third takeover, and at the end of a trial."""


def folder_of(job: Job) -> Path:
    return Path(job.store) / "sweeps" / "population"


def trials_of(job: Job) -> list[Any]:
    """Return the trials of the population without what a second try may change."""
    record = read_sweep(LocalStorage(folder_of(job)).location("sweep.json"))
    assert record.best
    return [as_json(dataclasses.replace(t, seconds=0.0, cached=False)) for t in record.trials]


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return the job of a population in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("population")
    job = Job(folder / "store", folder / "marks")
    job.run(DATA)
    job.run(SWEEP)
    return job


def test_the_best_of_a_population_is_trained_again_from_its_file(population: Job, job: Job) -> None:
    trials = trials_of(population)
    assert any("training.changes" in trial["params"] for trial in trials)
    assert population.tidy()
    assert "checkpoint" not in population.result()
    job.run(DATA)
    job.run(("run", str(folder_of(population) / "best.yaml"), "--name", "again", "--quiet"))
    (network,) = job.result()["network"].items()
    assert network in population.result()["network"].items()
    runs = LocalStorage(Path(job.store)).location("runs")
    best = json.loads((folder_of(population) / "sweep.json").read_text())["run"]
    first = LocalStorage(Path(population.store)).location("runs") / best / "run.json"
    assert read_run(runs / "again" / "run.json").scores == read_run(first).scores


def test_a_population_that_was_killed_goes_on_as_if_it_had_not_been(
    population: Job, job: Job
) -> None:
    job.run(DATA)
    for number, fault in enumerate(KILLS):
        code, output = job.call((*SWEEP, *["--resume"] * bool(number)), [fault])
        assert (code, job.mark(fault).exists()) == (-signal.SIGKILL, True), output
    job.run((*SWEEP, "--resume"))
    assert trials_of(job) == trials_of(population)
    assert job.result() == population.result()
    assert job.tidy()
