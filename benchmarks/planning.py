"""CPU seconds of planning a run (a dry run of the demo's workflow) by its number of shards.

python benchmarks/planning.py [SHARDS ...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def plan(folder: Path, n_shards: int) -> tuple[int, float]:
    """The number of jobs of a run with nothing done yet, and what it takes to plan it [CPU s]."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "results/report.html", "--cores", "2", "-n"]
        + ["--quiet", "rules", "--config", f"n_shards={n_shards}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    after = os.times()
    totals = [line.split() for line in done.stdout.splitlines() if line.startswith("total ")]
    return int(totals[0][1]), sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    """Print a line per number of shards. The first plan, which is not shown, digests the code:
    where it cannot leave the digests in __pycache__, every plan and every job of a cluster does."""
    numbers = [int(text) for text in sys.argv[1:]] or [1, 8, 128, 512]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rules", "profiles", "envs"):
            shutil.copytree(ROOT / part, folder / part)
        for part in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / part, folder)
        plan(folder, 1)
        for number in numbers:
            jobs, cpu_s = plan(folder, number)
            print(f"{number:4d} shards {jobs:6,d} jobs {cpu_s:6.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
