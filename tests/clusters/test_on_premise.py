"""Test of deploy/on-premise.yaml: machines with SSH become a cluster, and jobs run on them."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import HOME, Network, missing
from limits import HANG, wait_until
from small_chain import (
    CHAIN,
    DATA,
    SABOTEUR,
    SMALL,
    Fault,
    files_of,
    wait_for_the_first_epoch,
)
from ssh_cluster import PROGRAMS, USER, WORKERS, SSHCluster
from written_pages import files_of_method_folder

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(4 * HANG),
    pytest.mark.skipif(bool(missing(PROGRAMS)), reason=missing(PROGRAMS) or "never skipped"),
]

FAULT = Fault("methods.cam:CAM.losses", call=5, act="pause")
"""A training stops in its second epoch, until the host of its process is killed."""
AGAIN = Fault("methods.cam:CAM.losses", call=6, act="tell")
"""Happens only if a process trains all six steps, so not if it goes on after the first epoch."""


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file in which the host is named whose training has stopped."""
    return tmp_path_factory.mktemp("marks") / "paused"


@pytest.fixture(scope="module")
def again(mark: Path) -> Path:
    """Return the file that exists if a training has begun from scratch."""
    return mark.with_name("again")


@pytest.fixture(scope="module")
def cluster(network: Network, mark: Path, again: Path) -> Iterator[SSHCluster]:
    """Yield the cluster, on which the tests of this file run one after another."""
    faults = json.dumps([FAULT.description(mark), AGAIN.description(again)])
    cluster = SSHCluster(network, {"WSSS_FAULTS": faults, "PYTHONPATH": str(SABOTEUR)})
    cluster.up()
    yield cluster
    cluster.tunnel.kill()
    cluster.tunnel.wait(HANG)


def test_a_host_that_is_lost_in_a_training_changes_no_result(
    cluster: SSHCluster, mark: Path, again: Path, on_one_machine: Path
) -> None:
    cluster.submit(DATA)
    words = cluster.desk.command(cluster.submission(CHAIN), USER)
    job = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: job.poll() is not None or mark.exists(), "the training has stopped")
    wait_until(lambda: job.poll() is not None or mark.read_text(), "its host is named")
    assert job.poll() is None, job.communicate()
    lost = mark.read_text()
    assert lost in WORKERS
    wait_for_the_first_epoch(cluster.network.shared / "store")
    cluster.network.hosts[lost].kill()
    output, _ = job.communicate(timeout=HANG)
    assert job.returncode == 0, output
    assert not again.exists(), "the training has begun from scratch"
    assert files_of(cluster.network.shared / "store") == files_of(on_one_machine)


def test_a_method_in_a_folder_of_the_user_runs_without_an_image(cluster: SSHCluster) -> None:
    """The folder is that of docs/clusters.md; a changed method computes its class maps again."""
    folder = HOME / "mine"
    for name, text in {**files_of_method_folder(), ".gitignore": "store\n"}.items():
        cluster.desk.write(folder / name, text)
    for name in (".git/config", ".venv/pyvenv.cfg", "store/artifacts/large"):
        cluster.desk.write(folder / name, "not sent")
    words = ("run", "squared.yaml", "--data", "scenes", "--quiet", *SMALL)
    submission = shlex.join(cluster.submission(words, "--working-dir", "."))
    store = cluster.network.shared / "store"
    before = files_of(store)
    printed = cluster.desk.run("bash", "-c", f"cd {folder} && {submission}", **USER)
    assert "Ray sent 4 files of " in printed, printed
    assert "squared.yaml 26 B" in printed, printed
    after = files_of(store)
    assert after["network"] == before["network"]
    assert len(after["maps"]) == 2 * len(before["maps"])
    changed = files_of_method_folder()["squared.py"].replace("** 2", "** 3")
    cluster.desk.write(folder / "squared.py", changed)
    cluster.desk.run("bash", "-c", f"cd {folder} && {submission}", **USER)
    assert files_of(store)["network"] == before["network"]
    assert len(files_of(store)["maps"]) == 3 * len(before["maps"])
    packages = "/tmp/ray/session_latest/runtime_resources/working_dir_files"
    sent = cluster.network.hosts["head"].run("find", packages, "-type", "f", "-printf", "%f\\n")
    assert {*sent.split()} >= {*files_of_method_folder()}
    assert not {"config", "pyvenv.cfg", "large"} & {*sent.split()}


def test_no_node_of_ray_is_left_after_the_end(cluster: SSHCluster) -> None:
    cluster.down()
