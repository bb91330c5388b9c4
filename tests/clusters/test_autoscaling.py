"""Test of the node types of cluster.yaml and deploy/rayjob.yaml: which stage starts which nodes.

Ray's autoscaler starts and ends nodes as in a cloud, but each node is a group of processes on one
host, and its GPU is pretended.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosts import HOME, Host, Network, missing
from limits import HANG, wait_until
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)
from small_chain import SMALL
from written_pages import ROOT

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(4 * HANG),
    pytest.mark.skipif(bool(missing(())), reason=missing(()) or "never skipped"),
]

CONFIG = HOME / "nodes.json"
VARIABLES = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""Variables of the head; the last one keeps a node of 16 cores from starting 16 processes."""
WATCHER = """
import time, ray
ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
while True:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    kinds = ["gpu" if "GPU" in r else "cpu" if "cpu_stage" in r else "head" for r in alive]
    no_cpu = all("CPU" not in r for r, kind in zip(alive, kinds) if kind == "head")
    print(*kinds, "" if no_cpu else "head offers CPUs", flush=True)
    time.sleep(0.5)
"""
"""Script that prints the kinds of all nodes again and again."""


def with_fake_nodes(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a cluster file whose nodes are groups of processes on one host."""
    types = {
        FAKE_HEAD_NODE_TYPE if name == content["head_node_type"] else name: {
            **{
                key: kind[key] for key in ("min_workers", "max_workers", "resources") if key in kind
            },
            "node_config": {},
        }
        for name, kind in content["available_node_types"].items()
    }
    kept = ("cluster_name", "max_workers", "upscaling_speed")
    unused: dict[str, Any] = {"auth": {}, "docker": {}, "file_mounts": {}}
    lists = ("cluster_synced_files", "initialization_commands", "rsync_exclude", "rsync_filter")
    for kind in ("", "head_", "worker_"):
        lists += (f"{kind}setup_commands", f"{kind}start_ray_commands")
    return {
        **{key: content[key] for key in kept},
        **unused,
        **{key: [] for key in lists if key != "start_ray_commands"},
        "file_mounts_sync_continuously": False,
        "idle_timeout_minutes": 0.2,
        "provider": {
            # Ray's package lacks the defaults of the type `fake_multinode`, which v2 reads.
            "type": "external",
            "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": types,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
    }


class WatchedCluster:
    """Cluster whose nodes are watched.

    Args:
        host: host on which all nodes run.
        version: 0 for the first version of Ray's autoscaler, 1 for the second.
    """

    def __init__(self, host: Host, version: str) -> None:
        content = with_fake_nodes(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
        host.write(CONFIG, json.dumps(content))
        head = dict(content["available_node_types"][FAKE_HEAD_NODE_TYPE]["resources"])
        cpus = head.pop("CPU")
        self.host = host
        host.run(
            "ray", "start", "--head", "--port=6379", f"--num-cpus={cpus}", "--num-gpus=0",
            f"--resources={json.dumps(head)}", f"--autoscaling-config={CONFIG}",
            RAY_enable_autoscaler_v2=version, **VARIABLES,
        )  # fmt: skip
        words = host.command(["python", "-c", WATCHER], {})
        self.watcher = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.watcher.stdout
        self.lines = self.watcher.stdout

    def kinds(self) -> set[str]:
        """Return the kinds of the nodes that run at this moment, except the head."""
        line = self.lines.readline()
        assert line, "the watcher has ended"
        assert "offers CPUs" not in line
        return {*line.split()} - {"head"}

    def nodes_of(self, *words: str) -> list[set[str]]:
        """Run a command of `wsss` and return the kinds of nodes that ran at a time, in order.

        The nodes of an earlier command end before, and the nodes of this command end after it."""
        wait_until(lambda: not self.kinds(), "all nodes except the head have ended")
        command = self.host.command(["wsss", *words], {"RAY_ADDRESS": f"{self.host.address}:6379"})
        job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        by_time: list[set[str]] = []
        while job.poll() is None:
            if (kinds := self.kinds()) and kinds not in by_time[-1:]:
                by_time.append(kinds)
        output, _ = job.communicate()
        assert job.returncode == 0, output
        wait_until(lambda: not self.kinds(), "the nodes have ended after the command")
        return by_time


@pytest.fixture(params=["0", "1"], ids=["first autoscaler", "second autoscaler"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WatchedCluster]:
    network = Network(tmp_path / "network")
    network.prepare(["head"])
    yield WatchedCluster(network.start("head"), request.param)
    network.end()


def test_each_stage_starts_the_nodes_that_it_needs(
    cluster: WatchedCluster, on_one_machine: Path, tmp_path: Path
) -> None:
    """The network is taken from the store, because no pretended GPU can train it.

    The last command finds all class maps in the store and computes DenseCRF on CPUs, because
    `auto` would take a GPU, and its scores.
    """
    shutil.copytree(on_one_machine, tmp_path / "store")
    store = ("--store", str(tmp_path / "store"), "--quiet")
    drawn = cluster.nodes_of("data", "scenes", "--train", "16", "--val", "8", "--name", "b", *store)
    assert drawn == [{"cpu"}]
    words = ("run", "cam", "--localizer", "sipe", *SMALL)
    by_time = cluster.nodes_of(*words, *store)
    assert by_time[0] == {"gpu"}
    assert by_time[-1] >= {"cpu"}
    crf = ("--refine", "crf", "--set", "refine.crf_backend=pydensecrf")
    assert cluster.nodes_of(*words, *crf, *store) == [{"cpu"}]
