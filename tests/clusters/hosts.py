"""Hosts of a network that are namespaces on this machine, for clusters that are really started.

Each host has its own processes, network address, host name, home folder, `/run`, `/tmp` and shared
memory. The folder `/mnt/wsss` is one folder for all hosts. No host sees a process outside
of it, so a command on a host, such as `ray stop`, ends nothing else on this machine. A host ends
with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limits import HANG, wait_until

SHARED = Path("/mnt/wsss")
"""Folder that all hosts share, as the cluster files call it."""
HOME = Path("/mnt/home")
"""Home folder of root on each host."""
NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
ADDRESS = "10.77.0."
"""First numbers of the hosts' addresses."""

HOST = """
set -eu
hostname $NAME
for folder in /mnt /run /dev/shm; do mount -t tmpfs tmpfs $folder; done
mkdir -p $SHARED $HOME/.ssh /run/sshd /run/outside
mount --rbind /tmp /run/outside
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
for name in $KEPT; do mkdir /tmp/$name; mount --rbind /run/outside/$name /tmp/$name; done
mount --bind $FILES/shared $SHARED
for name in hosts nsswitch.conf passwd; do mount --bind $FILES/$name /etc/$name; done
touch $HOME/.bashrc
ip link set lo up
if [ $NUMBER = 1 ]; then ip link add bridge type bridge && ip link set bridge up; fi
touch $FILES/$NAME.started
while true; do sleep infinity; done
"""
"""Script of the first process of a host. The first host has the bridge of the network."""


def missing(programs: Sequence[str]) -> str:
    """Return a sentence that says what hosts need and this machine lacks, or an empty string."""
    lacking = [name for name in ("ip", "nsenter", "setpriv", *programs) if not shutil.which(name)]
    if lacking:
        return f"{', '.join(lacking)}: not installed on this machine"
    trial = ["unshare", *NAMESPACES, "--fork", "--mount-proc", "true"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        return "only root, on Linux, can make hosts of namespaces"
    return ""


@dataclass
class Host:
    """Host that runs.

    Args:
        name: host name.
        address: IPv4 address.
        launcher: process outside of the host with which the host ends.
        init: id, outside of the host, of its first process.
    """

    name: str
    address: str
    launcher: subprocess.Popen[bytes]
    init: int

    def command(self, words: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """Return a command that runs another command on this host."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"HOME": str(HOME), "PATH": path, "LANG": "C.UTF-8", **variables}
        assignments = [f"{name}={value}" for name, value in environment.items()]
        enter = ["nsenter", "--target", str(self.init), *NAMESPACES]
        return [*enter, "env", "-i", f"--chdir={HOME}", *assignments, *words]

    def call(self, *words: str, **variables: str) -> tuple[int, str]:
        """Return the exit code and the output of a command on this host."""
        done = subprocess.run(
            self.command(words, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG,
            check=False,
        )
        return done.returncode, done.stdout

    def run(self, *words: str, **variables: str) -> str:
        """Return the output of a command on this host, which must succeed."""
        code, output = self.call(*words, **variables)
        assert code == 0, f"{shlex.join(words)} on {self.name}: {output}"
        return output

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Write a file of this host."""
        script = f"mkdir -p {path.parent} && cat > {path} && chmod {mode:o} {path}"
        command = self.command(["bash", "-c", script], {})
        subprocess.run(command, input=text, text=True, timeout=HANG, check=True)

    def processes(self) -> list[str]:
        """Return the command lines of the processes of this host."""
        return self.run("ps", "-ww", "-e", "-o", "args=").splitlines()

    @property
    def is_up(self) -> bool:
        """Whether the host has not been killed."""
        return Path(f"/proc/{self.init}").exists()

    def kill(self) -> None:
        """End this host at once with all its processes, as if its power had failed."""
        self.launcher.kill()
        self.launcher.wait(HANG)
        wait_until(lambda: not self.is_up, f"{self.name} has ended")


@dataclass
class Network:
    """Hosts, and the folder that they share.

    Args:
        files: folder for the files of the hosts.
    """

    files: Path
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """Return the folder, as this machine calls it, that all hosts see as `SHARED`."""
        return self.files / "shared"

    def prepare(self, names: Sequence[str]) -> None:
        """Write the files that all hosts have: names and addresses, where they are, and users."""
        self.shared.mkdir(parents=True)
        self.numbers = {name: number for number, name in enumerate(names, 1)}
        lines = [f"{ADDRESS}{number} {name}" for name, number in self.numbers.items()]
        (self.files / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        (self.files / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        users = Path("/etc/passwd").read_text().splitlines()
        root = f"root:x:0:0:root:{HOME}:/bin/bash"
        kept = [user for user in users if not user.startswith("root:")]
        (self.files / "passwd").write_text("\n".join([root, *kept, ""]))

    def start(self, name: str) -> Host:
        """Start a host; the first of the network must start first, and must not end before it."""
        number, started = self.numbers[name], self.files / f"{name}.started"
        started.unlink(missing_ok=True)
        variables = {
            "NAME": name,
            "NUMBER": str(number),
            "FILES": str(self.files),
            "SHARED": str(SHARED),
            "HOME": str(HOME),
            "KEPT": " ".join(self._kept()),
        }
        end_with_us = ["setpriv", "--pdeathsig", "KILL"]
        separate = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
        launcher = subprocess.Popen(
            [*end_with_us, *separate, "bash", "-c", HOST],
            env={**os.environ, **variables},
            start_new_session=True,
        )
        wait_until(lambda: started.exists() or launcher.poll() is not None, f"{name} has started")
        assert launcher.poll() is None, f"{name} did not start"
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
        host = Host(name, f"{ADDRESS}{number}", launcher, int(children))
        self.hosts[name] = host
        self._connect(host, number)
        return host

    def _kept(self) -> set[str]:
        """Return the names in `/tmp` that all hosts see, because Python or tests lie in them."""
        paths = (Path(sys.prefix), Path(__file__), self.files)
        return {path.parts[2] for path in paths if path.is_relative_to("/tmp")}

    def _connect(self, host: Host, number: int) -> None:
        """Connect a host to the bridge, and send what leaves the network nowhere.

        Ray finds out the address of a host by the route to the internet."""
        first = next(iter(self.hosts.values()))
        interface = "bridge" if host is first else "eth0"
        if host is not first:
            cable = f"cable{number}"
            outside = ["nsenter", "--target", str(first.init), "--net", "ip", "link"]
            end = ["peer", "name", interface, "netns", str(host.init)]
            add = [*outside, "add", cable, "type", "veth", *end]
            plug = [*outside, "set", cable, "master", "bridge", "up"]
            # The cable of a host that was killed may take a moment to go.
            wait_until(lambda: not subprocess.run(add, check=False).returncode, "a cable is free")
            subprocess.run(plug, check=True)
        host.run("ip", "address", "add", f"{host.address}/24", "dev", interface)
        host.run("ip", "link", "set", interface, "up")
        host.run("ip", "route", "add", "default", "via", f"{ADDRESS}254")

    def end(self) -> None:
        """End all hosts."""
        for host in self.hosts.values():
            with contextlib.suppress(ProcessLookupError):
                host.kill()
