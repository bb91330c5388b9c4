"""Test of deploy/slurm.sbatch: a job of Slurm that is preempted goes on where it was, and a method
in a folder of the user runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hosts import SHARED, Network, missing
from limits import HANG, wait_until
from slurm_cluster import PROGRAMS, SlurmCluster
from small_chain import CHAIN, DATA, SABOTEUR, SMALL, Fault, files_of, wait_for_the_first_epoch
from written_pages import ROOT, files_of_method_folder

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(4 * HANG),
    pytest.mark.skipif(bool(missing(PROGRAMS)), reason=missing(PROGRAMS) or "never skipped"),
]

SCRIPT = str(ROOT / "deploy" / "slurm.sbatch")
LOG = "job.log"
FAULT = Fault("methods.cam:CAM.losses", call=5, act="pause")
"""The training stops in its second epoch, until the job is preempted."""
AGAIN = Fault("methods.cam:CAM.losses", call=6, act="tell")
"""Happens only if a process trains all six steps, so not if it goes on after the first epoch."""


def ended(cluster: SlurmCluster, job: str) -> bool:
    """Return whether a job has ended; it must have succeeded."""
    state = cluster.state(job)
    assert state in ("", "PENDING", "RUNNING", "COMPLETING", "COMPLETED"), log(cluster)
    return state == "COMPLETED"


def log(cluster: SlurmCluster) -> str:
    """Return what the jobs have printed."""
    path = cluster.network.shared / LOG
    return path.read_text(errors="replace") if path.exists() else ""


def test_a_job_that_is_preempted_goes_on(
    network: Network, on_one_machine: Path, tmp_path: Path
) -> None:
    cluster = SlurmCluster(network)
    options = (f"--output={SHARED / LOG}", "--cpus-per-task=2")
    data = cluster.submit(*options, SCRIPT, *DATA)
    wait_until(lambda: ended(cluster, data), "the data set is made")
    mark, again = tmp_path / "paused", tmp_path / "again"
    faults = json.dumps([FAULT.description(mark), AGAIN.description(again)])
    variables = {"WSSS_FAULTS": faults, "PYTHONPATH": str(SABOTEUR)}
    assignments = [f"{name}={value}" for name, value in variables.items()]
    submission = ("sbatch", "--parsable", *options, SCRIPT, *CHAIN)
    job = cluster.run("env", *assignments, *submission).strip()
    wait_until(lambda: mark.exists() or ended(cluster, job), "the training has stopped")
    assert mark.exists(), log(cluster)
    wait_for_the_first_epoch(network.shared / "store")
    urgent = cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", "--wrap", "true")
    wait_until(lambda: ended(cluster, urgent), "the urgent job is done")
    wait_until(lambda: ended(cluster, job), "the job has gone on and is done")
    assert "DUE TO PREEMPTION" in log(cluster)
    assert not again.exists(), "the training has begun from scratch"
    store = network.shared / "store"
    assert files_of(store) == files_of(on_one_machine)

    folder = network.shared / "mine"
    folder.mkdir()
    for name, text in files_of_method_folder().items():
        (folder / name).write_text(text)
    words = ("run", "squared.yaml", "--data", "scenes", "--quiet", *SMALL)
    method = cluster.submit(*options, f"--chdir={SHARED / folder.name}", SCRIPT, *words)
    wait_until(lambda: ended(cluster, method), "the method of a folder has run")
    after, before = files_of(store), files_of(on_one_machine)
    assert after["network"] == before["network"]
    assert len(after["maps"]) == 2 * len(before["maps"])
