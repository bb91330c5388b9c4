"""Slurm on hosts of this machine, with two partitions of which one preempts the other."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from hosts import SHARED, Network
from limits import wait_until

PROGRAMS = ("munged", "sbatch", "slurmctld", "slurmd", "squeue")
NODES = ("one", "two")
CONFIGURATION = """
ClusterName=test
SlurmctldHost=desk
AuthType=auth/munge
AuthInfo=cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
StateSaveLocation=/run/slurm/state
SlurmdSpoolDir=/run/slurm/spool
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=/run/slurm/slurmctld.log
SlurmdLogFile=/run/slurm/slurmd.log
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
GresTypes=gpu
NodeName=one,two CPUs=8 Gres=gpu:1 State=UNKNOWN
PartitionName=patient Nodes=one,two Default=YES PriorityTier=1
PartitionName=urgent Nodes=one,two PriorityTier=2
"""
"""Nodes as the script asks for them; `cred_expire` is how long a job waits that is queued again."""
VARIABLES = {"SLURM_CONF": str(SHARED / "slurm.conf")}


class SlurmCluster:
    """The nodes, and the host `desk` that controls them and at which the user sits.

    Args:
        network: hosts that are not started yet.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        network.prepare(("desk", *NODES))
        (network.shared / "slurm.conf").write_text(CONFIGURATION)
        # No GPU is needed: Slurm counts this file as one, and Ray finds none.
        (network.shared / "gres.conf").write_text("NodeName=one,two Name=gpu File=/dev/zero\n")
        key = network.shared / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        (network.shared / "code").mkdir(parents=True)
        (network.shared / "code" / ".venv").symlink_to(sys.prefix)
        token = secrets.token_hex(32)
        for name in network.numbers:
            host = network.start(name)
            host.write(Path("/mnt/home/.ray/auth_token"), token)  # as in a home folder for all
            host.run("mkdir", "-p", "/run/munge", "/run/slurm/state", "/run/slurm/spool")
            host.run("chmod", "755", "/run/munge")
            paths = [f"--{kind}-file=/run/munge/{kind}" for kind in ("pid", "seed", "log")]
            host.run("munged", "--force", f"--key-file={SHARED / key.name}", *paths)
            host.run("/usr/sbin/slurmd" if name in NODES else "/usr/sbin/slurmctld", **VARIABLES)
        wait_until(lambda: "idle" in self.run("sinfo", "--noheader"), "the nodes are idle")

    def run(self, *words: str) -> str:
        """Return the output of a command of Slurm that the user runs, and that must succeed."""
        return self.network.hosts["desk"].run(*words, **VARIABLES)

    def submit(self, *words: str) -> str:
        """Submit a job and return its number."""
        return self.run("sbatch", "--parsable", *words).strip()

    def state(self, job: str) -> str:
        """Return the state of a job, such as RUNNING; empty while the controller is busy."""
        words = ("scontrol", "--oneliner", "show", "job", job)
        code, facts = self.network.hosts["desk"].call(*words, **VARIABLES)
        return facts.split("JobState=")[1].split()[0] if code == 0 else ""
