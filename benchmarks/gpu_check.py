"""All that only a GPU can show, in one call of less than ten minutes on an H100 or H200.

Each part runs in a process of its own with a limit of time: one that fails or takes too long is a
row "failed: reason", the others still run, and the status is 1. With a GPU the section between two
comments of docs/BENCHMARKS.md is written anew; elsewhere it is printed. Numbers go to a JSON file,
and ``--show`` writes the section from one that another machine has made.

    python -m benchmarks.gpu_check --out results/gpu_check.json
    python -m benchmarks.gpu_check --quick
    python -m benchmarks.gpu_check --toy
    python -m benchmarks.gpu_check --show results/gpu_check.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nano4m_audio.files import replacing, write_json

DOCUMENT = Path(__file__).parents[1] / "docs/BENCHMARKS.md"
BEGIN = "<!-- gpu-check: written by `make gpu-check` -->"
END = "<!-- gpu-check: end -->"
#: Module, function, most seconds, and what it shows. First what is least likely to take long.
PARTS: dict[str, tuple[str, float, str]] = {
    "machine": ("gpu_parts", 30, "Machine"),
    "varlen": ("gpu_parts", 50, "Attention without padding"),
    "precision": ("gpu_parts", 50, "bfloat16 against float32"),
    "compiling": ("gpu_parts", 90, "Compiled and replayed"),
    "generation": ("gpu_models", 40, "Generation"),
    "paper": ("gpu_parts", 140, "The paper's training"),
    "resume": ("gpu_parts", 70, "A training that is resumed"),
    "backends": ("gpu_models", 140, "Backends"),
}
#: No part begins or goes on after this many seconds.
LIMIT_S = 570.0


def run_part(name: str, scale: str, folder: str) -> None:
    """In a process of its own: one part, whose rows go to NAME.json and whose words to NAME.log."""
    os.setsid()
    log = os.open(Path(folder) / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    # Before CUDA starts: the deterministic algorithms of products of matrices ask for it.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    module = f"benchmarks.{PARTS[name][0]}"
    __import__(module)
    from benchmarks.gpu_parts import SCALES, Notes

    notes = Notes(Path(folder) / f"{name}.json")
    try:
        getattr(sys.modules[module], name)(SCALES[scale], notes)
    except BaseException as error:
        traceback.print_exc()
        reason = (str(error).splitlines() or [""])[0]
        notes.check(False, "all of it", f"{type(error).__name__}: {reason}"[:300])


def outcome(name: str, scale: str, folder: Path, limit_s: float) -> dict[str, Any]:
    """Run a part for at most ``limit_s``; what it found, with one more row if it did not end."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=run_part, args=(name, scale, str(folder)))
    began = time.monotonic()
    problem = "" if limit_s > 0 else "no time was left for it"
    if not problem:
        process.start()
        process.join(limit_s)
        if process.is_alive():
            problem = f"not done after {limit_s:.0f} s"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        elif process.exitcode:
            problem = f"its process ended with status {process.exitcode}"
    found: dict[str, Any] = {"rows": [], "numbers": {}, "problems": []}
    if (path := folder / f"{name}.json").exists():
        found = json.loads(path.read_text("utf-8"))
    if problem:
        found["rows"].append({"what": "all of it", "result": f"failed: {problem}"})
        found["problems"].append(problem)
    return {"title": PARTS[name][2], "seconds": time.monotonic() - began, **found}


def check(scale: str, names: list[str], out: Path, show: Callable[[str], None]) -> dict[str, Any]:
    """Run parts one after the other; the file ``out`` has what is known after each."""
    multiprocessing.set_forkserver_preload(["benchmarks.gpu_models", "benchmarks.gpu_parts"])
    began = time.monotonic()
    found: dict[str, Any] = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "scale": scale,
        "parts": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            left = LIMIT_S - (time.monotonic() - began)
            part = outcome(name, scale, Path(folder), min(PARTS[name][1], left))
            found["parts"][name] = part
            found["seconds"] = time.monotonic() - began
            out.parent.mkdir(parents=True, exist_ok=True)
            write_json(out, found)
            log = Path(folder) / f"{name}.log"
            if part["problems"] and log.exists():
                shutil.copy(log, out.with_name(f"{out.stem}-{name}.log"))
            show("\n".join(lines_of(part)))
    return found


def lines_of(part: dict[str, Any]) -> list[str]:
    """The rows of a part in a table of Markdown."""
    return [
        f"| {part['title']} | {row['what']} | {row['result']} |".replace("\n", " ")
        for row in part["rows"]
    ]


def section(found: dict[str, Any]) -> str:
    """What docs/BENCHMARKS.md says of a GPU."""
    lines = [
        f"`make gpu-check` on {found['made']}, {found['seconds']:.0f} s:",
        "",
        "| part | measured | result |",
        "|---|---|---|",
    ]
    parts = [found["parts"][name] for name in PARTS if name in found["parts"]]
    return "\n".join(lines + [line for part in parts for line in lines_of(part)])


def write_section(document: Path, text: str) -> None:
    """Put ``text`` between the two comments of a document, which appears whole or not at all.
    Raises ValueError for one without them."""
    before, begin, rest = document.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no lines {BEGIN} and {END}")
    with replacing(document) as temp:
        temp.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def main() -> int:
    """0 where every part holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    scale = parser.add_mutually_exclusive_group()
    for name, said in (
        ("quick", "few turns of each part, to see in 3 minutes whether all run; too low rates"),
        ("toy", "tiny sizes on the CPU, in a minute"),
    ):
        scale.add_argument(f"--{name}", dest="scale", action="store_const", const=name, help=said)
    parser.set_defaults(scale="full")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts")
    parser.add_argument("--out", type=Path, default=Path("results/gpu_check.json"))
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="whose section is written")
    parser.add_argument("--show", type=Path, metavar="JSON", help="measure nothing, write this one")
    options = parser.parse_args()
    if options.show:
        found = json.loads(options.show.read_text("utf-8"))
    else:
        found = check(options.scale, options.only or list(PARTS), options.out, print)
    whole = found["scale"] == "full" and not options.only
    if whole and found["parts"]["machine"]["numbers"].get("device"):
        write_section(options.document, section(found))
        print(f"{options.document} is written")
    problems = [
        f"{name}: {problem}"
        for name, part in found["parts"].items()
        for problem in part["problems"]
    ]
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
