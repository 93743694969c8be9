"""Every job of a run works on the same store: a shared file system is required, and checked.

Rows that are finished lie in ``results/store``, which is no declared input or output of any rule. A
job on a node with a folder of its own in that place would compute everything again, and keep it
where nobody looks. So each run adds a random id to a file in its store and gives it to its jobs by
an environment variable, which is no part of what identifies a job; a job that does not find the id
stops. A command that is given by hand has no such variable and is not asked.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nano4m_audio.errors import UserError
from nano4m_audio.files import user_errors
from nano4m_audio.paths import Results
from nano4m_audio.running import STARTED

#: The id of the run that a job belongs to.
RUN = "NANO4M_AUDIO_RUN"
#: In the store: the ids of its runs, one a line. It only grows (17 bytes a run): a file that is
#: replaced could be seen as it was for a minute by another machine (NFS).
MARKER = ".runs"
#: How long a job waits for a marker that another machine has just written.
PATIENCE_S = 10.0
_LINE = re.compile(rf"{STARTED}(\S+), pid (\d+), (\S+), run (\w+)$")


def name_run() -> str:
    """A new id for the run that this process starts, which its jobs inherit."""
    os.environ[RUN] = secrets.token_hex(8)
    return os.environ[RUN]


def mark(store: Path) -> str:
    """Write the id of this process's run into its store, and return it."""
    with user_errors(store):
        store.mkdir(parents=True, exist_ok=True)
        with open(store / MARKER, "a", encoding="ascii") as handle:
            handle.write(f"{os.environ[RUN]}\n")
            handle.flush()
            os.fsync(handle.fileno())
    return os.environ[RUN]


def check(store: Path, run: str, patience_s: float = PATIENCE_S) -> None:
    """Raise UserError where ``store`` is not the one that a run has marked."""
    until = time.monotonic() + patience_s
    while run not in _runs(store):
        if time.monotonic() > until:
            raise UserError(
                f"{socket.gethostname()} sees another {store.absolute()} than the machine where "
                "snakemake runs, or none: the results folder must lie on a file system that all "
                "nodes share (docs/CLUSTER.md)"
            )
        time.sleep(0.5)


def _runs(store: Path) -> list[str]:
    try:
        return (store / MARKER).read_text("ascii", "replace").split()
    except OSError:  # not there, or not yet
        return []


def begin_job(arguments: Iterable[str]) -> None:
    """What a job of a run does first: say where it is, for ``status``, and look for the store."""
    if not (run := os.environ.get(RUN)):
        return
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"{STARTED}{socket.gethostname()}, pid {os.getpid()}, {now}, run {run}", file=sys.stderr)
    if not {"-h", "--help", "--version"} & set(arguments):
        check(Results().store, run)


@dataclass(frozen=True)
class Start:
    """Where and when (seconds since 1970) a job began, and of which run it was."""

    host: str
    pid: int
    at: float
    run: str


def read_start(log: Path) -> Start | None:
    """What the first line of a job's log says of its start; None where it says nothing."""
    try:
        with open(log, encoding="utf-8", errors="replace") as handle:
            found = _LINE.match(handle.readline(1000).rstrip("\n"))
        if not found:
            return None
        at = datetime.strptime(found[3], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (OSError, ValueError):
        return None
    return Start(found[1], int(found[2]), at.timestamp(), found[4])
