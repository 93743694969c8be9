"""A real Slurm of one node here: munged, slurmctld and slurmd, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
#: Where programs inside of a job look for the cluster: Snakemake takes SLURM_CONF out of their
#: environment.
SYSTEM_CONFIG = Path("/etc/slurm/slurm.conf")
#: So long a daemon may take to answer, or to end.
PATIENCE_S = 60

#: A test that was killed leaves its file behind; only a file without this belongs to somebody.
MARK = "# Written by a test\n"
CONFIG = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=86400
KillWait=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def missing() -> str:
    """Why there is no Slurm to be had here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root to start Slurm's daemons"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)"
    if SYSTEM_CONFIG.exists() and not SYSTEM_CONFIG.read_text().startswith(MARK):
        return f"{SYSTEM_CONFIG} is there: this machine has a Slurm of its own"
    return ""


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@dataclass
class Slurm:
    """The daemons and the folder that holds their state."""

    folder: Path
    host: str = field(default_factory=socket.gethostname)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, *command: str) -> str:
        """What a client program prints. Raises CalledProcessError when it fails."""
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout

    def start(self, name: str, *command: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            self.processes[name] = subprocess.Popen(
                command, stdout=out, stderr=out, start_new_session=True
            )

    def start_controller(self) -> None:
        self.start("slurmctld", "slurmctld", "-D")

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def states(self) -> list[str]:
        """Name and state of every job that is not forgotten yet, newest last."""
        lines = self.ask("squeue", "--states=all", "--noheader", "--sort=i", "--format=%i %j %T")
        return lines.splitlines()

    def node(self) -> str:
        return self.ask("sinfo", "--noheader", "--Node", "--format=%T").strip()

    def wait_for(self, node_state: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                if self.node() == node_state:
                    return
            except subprocess.CalledProcessError:
                pass  # the controller does not answer yet
            time.sleep(0.3)
        logs = [p.read_text()[-2000:] for p in sorted(self.folder.glob("*.log"))]
        raise AssertionError(f"the node is not {node_state}:\n" + "\n".join(logs))


@contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[Slurm]:
    """A cluster of one node with so many processors, gone with all its jobs at the end."""
    here = Slurm(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    values = {"controller": free_port(), "daemon": free_port(), "cpus": cpus}
    text = CONFIG.format(host=here.host, folder=folder, **values)
    SYSTEM_CONFIG.parent.mkdir(exist_ok=True)
    SYSTEM_CONFIG.write_text(MARK + text)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    options = {
        "socket": "munge.socket",
        "key-file": "munge.key",
        "pid-file": "munge.pid",
        "log-file": "munge.log",
        "seed-file": "munge.seed",
    }
    places = [f"--{name}={folder / file}" for name, file in options.items()]
    try:
        here.start("munged", "munged", "--foreground", "--force", *places)
        here.start_controller()
        here.start("slurmd", "slurmd", "-D", "-N", here.host)
        here.wait_for("idle")
        yield here
    finally:
        if "slurmctld" in here.processes and here.processes["slurmctld"].poll() is None:
            subprocess.run(["scancel", "--user=root"])
            time.sleep(1)
        for name in ("slurmd", "slurmctld", "munged"):
            if name in here.processes:
                here.stop(name)
        SYSTEM_CONFIG.unlink()
