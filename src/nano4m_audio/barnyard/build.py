"""Building a world: all films, the list of clips, and the truth about them."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from nano4m_audio.barnyard.film import film
from nano4m_audio.barnyard.world import ClipPlan, plan_world
from nano4m_audio.files import write_bytes
from nano4m_audio.progress import track
from nano4m_audio.versions import stage_version

_CLIPS = ("file", "class", "video_id", "start_s", "source")
_TRUTH = ("file", "video_id", "class", "kind", "expected", "duplicate_of", "hard")


def build(
    folder: Path,
    *,
    purpose: str,
    seed: int,
    clips: int,
    clip_s: float,
    fps: float,
    defect_fraction: float,
    hard_fraction: float = 0.0,
    workers: int,
) -> None:
    """Film a world into ``folder``: media/, clips.csv and truth.csv.

    Finished films of the same recipe and code are kept, others removed. Deterministic bytes.
    """
    plans = plan_world(purpose, seed, clips, clip_s, defect_fraction, hard_fraction)
    made_by, code = folder / ".code", stage_version("barnyard")
    same = made_by.is_file() and made_by.read_text() == code
    wanted = {folder / plan.file for plan in plans} if same else set()
    for stale in set((folder / "media").glob("*")) - wanted:
        stale.unlink()
    write_bytes(made_by, code.encode())
    copies = [plan for plan in plans if plan.kind == "exact_duplicate"]
    originals = [plan for plan in plans if plan.kind != "exact_duplicate"]
    _film_all(originals, folder, fps, workers)
    for plan in copies:
        film(plan, folder, fps)
    _write_csv(folder / "clips.csv", _CLIPS, plans)
    _write_csv(folder / "truth.csv", _TRUTH, plans)


def _film_all(plans: Sequence[ClipPlan], folder: Path, fps: float, workers: int) -> None:
    job = partial(film, folder=folder, fps=fps)
    # The workers import NumPy afresh: one BLAS thread each, or they get in each other's way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(max(1, workers), _keep_memory) as pool:
        for _ in track(pool.imap_unordered(job, plans, chunksize=2), len(plans), "films"):
            pass


def _keep_memory() -> None:
    """Let a worker keep what arrays of pictures free, for the next ones: the C library gives blocks
    larger than any it has freed back to the system, and clearing new pages takes a quarter of the
    time of a film."""
    np.empty(24 << 20, np.uint8)


def _write_csv(path: Path, columns: Sequence[str], plans: Sequence[ClipPlan]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for plan in plans:
        values = {**asdict(plan), "file": plan.file, "expected": plan.expected,
                  "class": plan.class_name, "kind": plan.known_as}  # fmt: skip
        writer.writerow([values[name] for name in columns])
    write_bytes(path, buffer.getvalue().encode())
