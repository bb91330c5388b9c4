"""What is lost where a process dies that Ray started for a command: time, and nothing else.

Workers of the stages are in `test_faults`. What Ray itself cannot go on without ends the command
with one sentence, and the same command goes on.
"""

from __future__ import annotations

from typing import Any

import pytest
from disturbed import CHAIN, DATA, Job

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

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
"""With either agent ends the raylet."""


def test_killed_helpers_of_ray(job: Job, undisturbed: dict[str, Any]) -> None:
    job.done(DATA)
    code, said, killed = job.hunted(CHAIN, SPARED, seconds=2)
    assert code == 0, (killed, said)
    assert "Traceback" not in said
    assert sorted(killed) == sorted(SPARED)
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_training_whose_controller_is_killed_goes_on_at_its_last_epoch(
    job: Job, undisturbed: dict[str, Any]
) -> None:
    job.done(DATA)
    code, said, killed = job.hunted(CHAIN, ["ray::RayTrainWorker", "ray::TrainController"], 8)
    assert (code, len(killed)) == (0, 2), said
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_ray_that_is_lost_is_one_sentence(job: Job, undisturbed: dict[str, Any]) -> None:
    job.done(DATA)
    for title in NEEDED:
        code, said, killed = job.hunted(CHAIN, [title], seconds=12)
        assert (code in (1, 2), killed) == (True, [title]), (code, said)
        assert "run the same command again" in said
        assert "Traceback" not in said
        for stage, found in job.result().items():
            assert found.items() <= undisturbed[stage].items()
    job.done(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_killed_trial_is_tried_again(job: Job) -> None:
    job.done(DATA)
    words = ("sweep", *CHAIN[1:2], *CHAIN[CHAIN.index("--quiet") : -4], "--trials", "6")
    code, said, killed = job.hunted(words, ["ray::ImplicitFunc"], seconds=0)
    assert (code, killed) == (0, ["ray::ImplicitFunc"]), said
    assert "6 of 6 trials" in said
    assert "failed" not in said
