"""Tests that the death of a process that Ray started for a command costs time and nothing else.

Workers of the stages are in `test_faults`. The death of a process that Ray itself needs ends the
command with one sentence, and the same command then continues.
"""

from __future__ import annotations

from typing import Any

import pytest
from disturbed import CHAIN, DATA, Job
from limits import HANG

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2 * HANG)]

SPARED = (
    "/monitor.py",
    "dashboard/dashboard.py",
    "/log_monitor.py",
    "ray::TrainController",
    "ray::PlacementGroupCleaner",
    "ray::SynchronizationActor",
    "ray::RayTrainWorker",
    "ray::_AutoscalingCoordinatorActor",
    "ray::_StatsActor",
    "ray::IDLE",
)
NEEDED = ("gcs/gcs_server", "raylet/raylet", "ray::RuntimeEnvAgent", "ray::DashboardAgent")
"""Processes without which Ray ends; the raylet ends with either agent."""


def test_killed_helpers_of_ray(job: Job, undisturbed: dict[str, Any]) -> None:
    job.run(DATA)
    code, output, killed = job.hunt(CHAIN, SPARED, seconds=2)
    assert code == 0, (killed, output)
    assert "Traceback" not in output
    assert sorted(killed) == sorted(SPARED)
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_training_whose_controller_is_killed_goes_on_at_its_last_epoch(
    job: Job, undisturbed: dict[str, Any]
) -> None:
    job.run(DATA)
    code, output, killed = job.hunt(CHAIN, ["ray::RayTrainWorker", "ray::TrainController"], 8)
    assert (code, len(killed)) == (0, 2), output
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_ray_that_is_lost_is_one_sentence(job: Job, undisturbed: dict[str, Any]) -> None:
    job.run(DATA)
    for title in NEEDED:
        code, output, killed = job.hunt(CHAIN, [title], seconds=2, once="ray::TrainController")
        assert (code in (1, 2), killed) == (True, [title]), (code, output)
        assert "run the same command again" in output
        assert "Traceback" not in output
        for stage, digests in job.result().items():
            assert digests.items() <= undisturbed[stage].items()
    job.run(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_killed_trial_is_tried_again(job: Job) -> None:
    job.run(DATA)
    words = ("sweep", *CHAIN[1:2], *CHAIN[CHAIN.index("--quiet") : -4], "--trials", "6")
    code, output, killed = job.hunt(words, ["ray::ImplicitFunc"], seconds=0)
    assert (code, killed) == (0, ["ray::ImplicitFunc"]), output
    assert "6 of 6 trials" in output
    assert "failed" not in output
