"""Wall time and peak memory of the documented calls, from nothing to a changed threshold.

Example: python benchmarks/workflow.py --cores 2
Works in a temporary copy of the checkout; nothing in ./results is touched.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
POLL_S = 0.2


def resident_mb(session: int) -> float:
    """Proportional set size of all processes of a session [MB]."""
    total = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(name)) == session:
                text = Path("/proc", name, "smaps_rollup").read_text()
                total += next(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:"))
        except (OSError, StopIteration):
            continue  # the process ended while we looked
    return total / 1024


def measure(command: list[str], folder: Path) -> tuple[float, float, int]:
    """Run a command; return its wall time [s], peak memory [MB] and exit status."""
    started = time.perf_counter()
    with open(folder / "benchmark.log", "a") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    peak = 0.0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, resident_mb(process.pid))
            time.sleep(POLL_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    watcher.join()
    return time.perf_counter() - started, peak, status


def main() -> None:
    """Print one line per call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", default="2")
    arguments = parser.parse_args()
    base = [sys.executable, "-m", "snakemake", "--cores", arguments.cores, "results/report.html"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    calls = {
        "from nothing": {},
        "nothing changed": {},
        "threshold that changes no verdict": {"verdict": {"visual_min": 0.3999}},
        "visual filter off": {"verdict": {"visual_min": None}},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rules", "profiles", "envs"):
            shutil.copytree(ROOT / part, folder / part)
        for part in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / part, folder)
        for label, changed in calls.items():
            (folder / "changed.yaml").write_text(json.dumps(changed))
            seconds, peak, status = measure([*base, "--configfile", "changed.yaml"], folder)
            print(f"{label:36s} {seconds:7.1f} s  {peak:7.0f} MB  exit {status}", flush=True)


if __name__ == "__main__":
    main()
