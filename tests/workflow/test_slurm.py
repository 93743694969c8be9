"""profiles/slurm on a real Slurm of one node: the same bytes as without, also after faults.

Here the cluster has no accounting and no GPU; what docs/CLUSTER.md names for such sites is set.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.workflow.conftest import TINY, Project
from tests.workflow.slurm import Slurm, missing, slurm

pytestmark = pytest.mark.slow

#: Up to tokens: the other jobs are of the same kind, and take minutes.
TARGETS = [f"results/tokens/rgb/{shard}.parquet" for shard in ("0000", "0001")]
SITE = [
    "--slurm-status-command=squeue", "--slurm-no-account", "--max-threads=2",
    "--slurm-init-seconds-before-status-checks=1",
]  # fmt: skip
PATIENCE_S = 1200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if why := missing():
        pytest.skip(why)
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("Snakemake's plugin for Slurm is not installed: make slurm")
    with slurm(tmp_path_factory.mktemp("cluster")) as here:
        yield here


def start(project: Project, log: Path) -> subprocess.Popen[bytes]:
    """The documented command, in the background."""
    command = [
        "snakemake", "--profile", "profiles/slurm", "--workflow-profile", "none", *TARGETS,
        "--configfile", "overlay.yaml", *SITE,
    ]  # fmt: skip
    with open(log, "wb") as out:
        return subprocess.Popen(
            command, cwd=project.folder, env=project.environment(), stdout=out, stderr=out
        )


def wait_for(cluster: Slurm, process: subprocess.Popen[bytes], *, job: int) -> str:
    """The number of a job that runs: this one or, as a short one may be missed, a later one."""
    until = time.monotonic() + PATIENCE_S
    while True:
        for number, _, state in map(str.split, cluster.states()):
            if int(number) >= job and state == "RUNNING":
                return number
        assert process.poll() is None and time.monotonic() < until, cluster.states()
        time.sleep(0.2)


def cancel_one(cluster: Slurm, process: subprocess.Popen[bytes], *, job: int) -> None:
    """Cancel this job or a later one: the one that runs may end before it hears of it."""
    while True:
        number = wait_for(cluster, process, job=job)
        cluster.ask("scancel", number)
        state = "RUNNING"
        while state in ("RUNNING", "COMPLETING"):
            time.sleep(0.2)
            state = {n: state for n, _, state in map(str.split, cluster.states())}[number]
        if state == "CANCELLED":
            return
        job = int(number) + 1


def test_the_same_bytes_after_a_cancelled_job_a_drained_node_and_a_new_controller(
    cluster: Slurm, finished: Project, tmp_path: Path
) -> None:
    project = Project.make(tmp_path / "project", {**TINY, "compute": {"device": "cpu"}})
    log = tmp_path / "log"
    process = start(project, log)
    try:
        cancel_one(cluster, process, job=2)
        wait_for(cluster, process, job=3)
        drain = ["update", f"NodeName={cluster.host}", "State=DRAIN", "Reason=test"]
        cluster.ask("scontrol", *drain)
        time.sleep(2)
        cluster.ask("scontrol", "update", f"NodeName={cluster.host}", "State=RESUME")
        wait_for(cluster, process, job=5)
        # A check of the plugin that falls into these seconds would turn to sacct, which waits for
        # minutes where there is no accounting (docs/CLUSTER.md).
        process.send_signal(signal.SIGSTOP)
        cluster.stop("slurmctld")
        time.sleep(5)  # jobs go on
        cluster.start_controller()
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE_S) == 0, log.read_text()[-6000:]
    finally:
        process.kill()
        process.wait()
    states = [line.split()[-1] for line in cluster.states()]
    assert states.count("CANCELLED") == 1 and set(states) == {"CANCELLED", "COMPLETED"}
    # File check and decode are one job; what makes tables alone runs where Snakemake does.
    submitted = set(re.findall(r"logs/slurm/(\w+)", log.read_text()))
    assert {"rule_barnyard", "group_acquire_decode_media", "rule_tokenize_clips"} <= submitted
    assert not {"rule_verdict", "rule_split", "rule_media"} & submitted
    # Without GPUs to ask for, device is another word for the same settings.
    got, wanted = project.artifacts(), finished.artifacts()
    assert {target.removeprefix("results/") for target in TARGETS} <= set(got)
    assert [name for name, content in got.items() if content != wanted[name]] == []


def test_every_attempt_asks_for_more(finished: Project) -> None:
    """A job that was killed for memory or time gets more of both."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    assert profile["retries"] == 2 and "runtime=60 * attempt" in profile["default-resources"]
    found = {}
    for attempt in (1, 3):
        command = ["--attempt", str(attempt), "--forcerun", "split", "-n", "--verbose"]
        found[attempt] = finished.run("results/split.parquet", *command)
    assert "mem_mb=4000" in found[1] and "mem_mb=12000" in found[3]
