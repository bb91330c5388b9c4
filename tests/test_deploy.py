"""Tests of cluster.yaml and deploy/: Ray accepts them, and they agree with the code.

tests/clusters starts them."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start
from wsss.platform.ray_runtime import cluster

ROOT = Path(__file__).parents[1]
RAW = yaml.safe_load((ROOT / "cluster.yaml").read_text())
ON_PREMISE = yaml.safe_load((ROOT / "deploy/on-premise.yaml").read_text())
SLURM = (ROOT / "deploy/slurm.sbatch").read_text()
JOB = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())["spec"]
LOCK = (ROOT / "requirements.lock").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TYPES = RAW["available_node_types"]
HEAD = TYPES[RAW["head_node_type"]]


@pytest.fixture(scope="module")
def filled() -> dict[str, Any]:
    """Return the content of cluster.yaml with Ray's defaults filled in."""
    out: dict[str, Any] = prepare_config(copy.deepcopy(RAW))
    return out


def test_ray_accepts_the_cluster_file(filled: dict[str, Any]) -> None:
    validate_config(filled)


def test_ray_adds_no_command_of_its_own(filled: dict[str, Any]) -> None:
    """Ray's default commands would install another Ray on every node."""
    for name, value in filled.items():
        if name.endswith("_commands"):
            assert value == RAW[name], name


def test_ray_accepts_the_file_for_machines_with_ssh() -> None:
    filled = prepare_config(copy.deepcopy(ON_PREMISE))
    validate_config(filled)
    for name in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert filled[name] == ON_PREMISE["setup_commands"], "Ray adds no command of its own"
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [c for c in ON_PREMISE[name] if "ray start" in c]
        assert start.startswith("WSSS_STORE=/mnt/wsss/store RAY_AUTH_MODE=token ")
    assert "--dashboard-host=127.0.0.1" in " ".join(ON_PREMISE["head_start_ray_commands"])
    assert ON_PREMISE["file_mounts"] == RAW["file_mounts"]


def test_the_script_for_slurm_is_valid() -> None:
    checked = subprocess.run(["bash", "-n"], input=SLURM, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "RAY_AUTH_MODE=token" in SLURM
    assert "RAY_AUTH_TOKEN=$(python -c" in SLURM, "each job has its own, which no log shows"
    assert "#SBATCH --requeue\n" in SLURM
    one_line_each = SLURM.replace("\\\n", "")
    starts = re.findall(r"^ *ray start (.*)$", one_line_each, flags=re.MULTILINE)
    assert len(starts) == 2
    (common,) = re.findall(r"common=\((.*?)\)", SLURM, flags=re.DOTALL)
    for options in starts:
        numbers = re.sub(r"\$(\w+|\(\(.*?\)\))", "1", options.replace('"${common[@]}"', common))
        context = start.make_context("start", shlex.split(numbers))
        assert context.params["block"]
        assert bool(context.params["head"]) != bool(context.params["address"])


def ray_version() -> str:
    version = re.search(r"^ray==(\S+)", LOCK, flags=re.MULTILINE)
    assert version
    return version[1]


def test_docker_image_and_job_have_the_locked_versions() -> None:
    docker = (ROOT / "deploy/Dockerfile").read_text()
    assert f"FROM rayproject/ray:{ray_version()}-py311-gpu\n" in docker
    assert "pip install --no-cache-dir --require-hashes --requirement" in docker
    assert RAW["docker"]["image"].endswith(f"/wsss:{VERSION}")
    assert JOB["rayClusterSpec"]["rayVersion"] == ray_version()
    assert set(re.findall(r"wsss:([\d.]+)", docker)) == {VERSION}


def test_the_image_takes_in_what_the_package_needs_and_nothing_else() -> None:
    lines = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    files = {"requirements.lock", "pyproject.toml", "README.md", "LICENSE"}
    expected = {*setuptools["package-dir"].values(), *files}
    assert {line[1:] for line in lines if line[:1] == "!"} == expected
    assert all((ROOT / name).exists() for name in expected)


def test_pods_fit_their_machines() -> None:
    """Kubernetes and the autoscaler's container take some of a machine's cores."""
    cores = {"m6i.2xlarge": 8, "g5.2xlarge": 8, "m6i.4xlarge": 16}
    spec = JOB["rayClusterSpec"]
    groups = {"head": spec["headGroupSpec"]}
    groups |= {f"{group['groupName']}_worker": group for group in spec["workerGroupSpecs"]}
    for name, group in groups.items():
        (container,) = group["template"]["spec"]["containers"]
        kind = TYPES[name]["node_config"]["InstanceType"]
        assert float(container["resources"]["requests"]["cpu"]) <= cores[kind] - 1, name


@pytest.mark.parametrize(
    ("limits", "options"),
    [
        ({"SLURM_MEM_PER_NODE": "1000"}, "--memory=629145600 --object-store-memory=209715200"),
        ({"SLURM_MEM_PER_CPU": "500"}, "--memory=1258291200 --object-store-memory=419430400"),
        ({}, ""),
    ],
)
def test_ray_takes_the_memory_of_the_job(limits: dict[str, str], options: str) -> None:
    """Ray itself would take all memory of the node."""
    (lines,) = re.findall(r"^  memory=.*?^  fi\n", SLURM, re.MULTILINE | re.DOTALL)
    script = f'set -euo pipefail\ncommon=()\n{lines}echo "${{common[@]}}"'
    environment = {"SLURM_CPUS_PER_TASK": "4", **limits}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == options


def test_every_node_requires_the_token() -> None:
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [c for c in RAW[name] if "ray start" in c]
        assert start.startswith("RAY_AUTH_MODE=token ray start"), name
    assert "--env RAY_AUTH_MODE=token" in RAW["docker"]["run_options"]
    assert RAW["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert JOB["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_no_port_is_open_to_the_internet() -> None:
    """Ray's own security group takes SSH from anywhere, so every node names another."""
    assert "--dashboard-host=127.0.0.1" in " ".join(RAW["head_start_ray_commands"])
    assert all(kind["node_config"]["SecurityGroupIds"] for kind in TYPES.values())
    assert "security_group" not in RAW["provider"]


def test_gpu_nodes_are_on_demand_and_cpu_nodes_are_spot() -> None:
    spot = {n for n, kind in TYPES.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == {n for n, kind in TYPES.items() if cluster.CPU_STAGE in kind["resources"]}
    assert spot.isdisjoint(n for n, kind in TYPES.items() if "GPU" in kind["resources"])
    assert RAW["idle_timeout_minutes"] > 0
    assert all(kind.get("min_workers", 0) == 0 for kind in TYPES.values())


def test_the_head_runs_drivers_only_and_states_what_may_start() -> None:
    assert HEAD["resources"]["CPU"] == 0
    assert HEAD["resources"][cluster.DRIVER] > 0
    assert RAW["max_workers"] == sum(kind["max_workers"] for kind in TYPES.values())
    for name in ("GPU", cluster.CPU_STAGE):
        most = sum(k["max_workers"] * k["resources"].get(name, 0) for k in TYPES.values())
        assert HEAD["resources"][name + cluster.LIMIT] == most > 0, name


def test_the_store_lies_on_a_volume_that_all_nodes_mount() -> None:
    options = RAW["docker"]["run_options"]
    assert "--volume /mnt/wsss:/mnt/wsss" in options
    assert "--env WSSS_STORE=/mnt/wsss/store" in options
    assert any(c.endswith("/mnt/wsss") and "nfs4" in c for c in RAW["initialization_commands"])


def resources(group: dict[str, Any]) -> dict[str, float]:
    """Return the resources that a group's nodes declare to Ray; KubeRay itself adds the GPUs."""
    parameters = group["rayStartParams"]
    (container,) = group["template"]["spec"]["containers"]
    custom: dict[str, float] = json.loads(json.loads(parameters.get("resources", '"{}"')))
    gpu = container["resources"]["limits"].get("nvidia.com/gpu")
    return {"CPU": int(parameters["num-cpus"]), **({"GPU": gpu} if gpu else {}), **custom}


def test_the_kubernetes_job_has_the_nodes_of_the_cluster_file() -> None:
    spec = JOB["rayClusterSpec"]
    assert resources(spec["headGroupSpec"]) == HEAD["resources"]
    groups = {g["groupName"]: g for g in spec["workerGroupSpecs"]}
    assert set(groups) == {"gpu", "cpu"}
    for name, group in groups.items():
        assert resources(group) == TYPES[f"{name}_worker"]["resources"]
        assert group["maxReplicas"] == TYPES[f"{name}_worker"]["max_workers"]
    for group in (spec["headGroupSpec"], *groups.values()):
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == RAW["docker"]["image"]
        assert {"name": "wsss", "mountPath": "/mnt/wsss"} in container["volumeMounts"]


@pytest.mark.parametrize(
    ("words", "restarts", "resumed", "calls"),
    [
        ("run cam", "2", 0, ["run cam"]),
        ("sweep cam", "", 0, ["sweep cam"]),
        ("sweep cam", "1", 0, ["sweep cam --resume"]),
        ("sweep cam", "1", 2, ["sweep cam --resume", "sweep cam"]),
        ("sweep cam", "1", 1, ["sweep cam --resume"]),
    ],
)
def test_a_sweep_that_slurm_queues_again_is_resumed(
    words: str, restarts: str, resumed: int, calls: list[str]
) -> None:
    """A code of 2 says that the sweep had not begun; `wsss` is a stand-in that prints its words."""
    (function,) = re.findall(r"^run_command\(\) \{.*?^\}\n", SLURM, re.MULTILINE | re.DOTALL)
    wsss = f'wsss() {{ echo "$@"; [[ "$*" != *--resume ]] || return {resumed}; }}\n'
    script = f"set -euo pipefail\n{wsss}{function}run_command {words}\n"
    environment = {"SLURM_RESTART_COUNT": restarts} if restarts else {}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == calls
    assert done.returncode == (1 if resumed == 1 else 0)
