"""Cluster of deploy/on-premise.yaml on hosts of this machine, each with its own SSH server."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from hosts import HOME, SHARED, Host, Network
from limits import wait_until
from written_pages import ROOT

PROGRAMS = ("rsync", "ssh", "ssh-keygen", "sshd")
WORKERS = ("one", "two")
NAMES = ("desk", "head", *WORKERS)
"""Names of the hosts; the user sits at the first."""
FILE = SHARED / "on-premise.yaml"
USER = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
"""Variables of the user's shell."""
DASHBOARD = "http://127.0.0.1:8265"


class SSHCluster:
    """The hosts of the cluster file and the machine of the user.

    The file is used as it is, but for the addresses and the user, and the head computes nothing,
    as the file advises for a login node; so a training runs on a host that may die.

    Args:
        network: hosts that are not started yet.
        variables: variables of the shell on hosts that compute.
    """

    def __init__(self, network: Network, variables: Mapping[str, str]) -> None:
        self.network, self.variables = network, variables
        network.prepare(NAMES)
        network.start(NAMES[0])
        self.desk.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ".ssh/id_ed25519")
        for name in NAMES[1:]:
            self.start_host(name)
        (network.shared / "code").mkdir(parents=True)
        (network.shared / "code" / ".venv").symlink_to(sys.prefix)
        text = (ROOT / "deploy" / "on-premise.yaml").read_text()
        (network.shared / FILE.name).write_text(yaml.safe_dump(self.filled(text)))

    @property
    def desk(self) -> Host:
        """Return the machine of the user."""
        return self.network.hosts["desk"]

    def filled(self, text: str) -> dict[str, Any]:
        """Return the content of the cluster file with addresses and user of this cluster."""
        content: dict[str, Any] = yaml.safe_load(text)
        addresses = {name: self.network.hosts[name].address for name in NAMES}
        content["provider"]["head_ip"] = addresses["head"]
        content["provider"]["worker_ips"] = [addresses[name] for name in WORKERS]
        content["auth"]["ssh_user"] = "root"
        head = content["head_start_ray_commands"]
        content["head_start_ray_commands"] = [
            line.replace("ray start --head", "ray start --head --num-cpus=0") for line in head
        ]
        assert head != content["head_start_ray_commands"]
        return content

    def start_host(self, name: str) -> None:
        """Start a host with an SSH server that lets the user in."""
        host = self.network.start(name)
        host.write(HOME / ".ssh" / "authorized_keys", self.desk.run("cat", ".ssh/id_ed25519.pub"))
        if name in WORKERS:
            # Ray's workers may read this file too, after Ray has set their PYTHONPATH.
            lines = [
                f"export {key}=${{{key}:+${key}:}}{v}"
                if key == "PYTHONPATH"
                else f"export {key}={shlex.quote(v)}"
                for key, v in self.variables.items()
            ]
            host.write(HOME / ".bashrc", "\n".join([*lines, ""]))
        host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/run/sshd/key")
        options = ("StrictModes=no", "PidFile=/run/sshd/pid", "HostKey=/run/sshd/key")
        words = [word for option in options for word in ("-o", option)]
        host.run("/usr/sbin/sshd", "-f", "/dev/null", *words)

    def ray(self, *words: str) -> str:
        """Return the output of a command of Ray that the user runs, and that must succeed."""
        return self.desk.run("ray", *words, **USER)

    def up(self) -> None:
        """Start the cluster as docs/clusters.md says, and wait until all hosts have joined."""
        for name in NAMES:
            assert not self.ray_processes(name), f"{name} sees Ray of others, which `up` would end"
        self.ray("get-auth-token", "--generate")
        self.ray("up", "--yes", "--no-config-cache", str(FILE))
        words = self.desk.command(["ray", "dashboard", str(FILE)], USER)
        self.tunnel = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        probe = ("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8265")
        wait_until(lambda: self.desk.call(*probe)[0] == 0, "the tunnel leads to the dashboard")
        wait_until(lambda: len(self.joined()) == len(NAMES) - 1, "all hosts have joined")

    def joined(self) -> list[str]:
        """Return the addresses of the hosts that belong to the cluster."""
        script = (
            "import ray; ray.init(address='auto', logging_level='ERROR', log_to_driver=False);"
            "print('joined', *(n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']))"
        )
        _, output = self.network.hosts["head"].call("python", "-c", script, **USER)
        lines = [line.split()[1:] for line in output.splitlines() if line.startswith("joined ")]
        return lines[0] if lines else []

    def submission(self, words: Sequence[str], *options: str) -> list[str]:
        """Return the command that submits a command of `wsss` as a job and waits for its end."""
        return ["ray", "job", "submit", "--address", DASHBOARD, *options, "--", "wsss", *words]

    def submit(self, words: Sequence[str], *options: str) -> str:
        """Return the output of a command of `wsss` that runs as a job, which must succeed."""
        return self.desk.run(*self.submission(words, *options), **USER)

    def ray_processes(self, name: str) -> list[str]:
        """Return the command lines of a host's raylet, which holds the node, and of its agents."""
        return [line for line in self.network.hosts[name].processes() if "raylet" in line]

    def down(self) -> None:
        """End the cluster, and wait until no process of Ray is left on any host that is up."""
        self.ray("down", "--yes", str(FILE))
        for name in (name for name in NAMES if self.network.hosts[name].is_up):
            wait_until(lambda name=name: not self.ray_processes(name), f"Ray has ended on {name}")
