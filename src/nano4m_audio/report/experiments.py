"""Runs side by side on a page of its own: what every arm gains over the first, clip by clip."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.config.schema import Config
from nano4m_audio.files import write_bytes
from nano4m_audio.intervals import holm, mean_interval, paired_p
from nano4m_audio.paths import Results
from nano4m_audio.probes import PROBES, Probe
from nano4m_audio.report.metrics import in_words
from nano4m_audio.report.runs import baselines_of, read_evaluation, read_json
from nano4m_audio.tables import content_key
from nano4m_audio.training.stage import RUN


@dataclass(frozen=True)
class Arm:
    """Runs that differ by their seed alone: their names and seeds."""

    name: str
    runs: list[str]
    seeds: list[int]


@dataclass(frozen=True)
class Cell:
    """One metric of one arm: the mean over its seeds, and each; ``gain`` over the first arm, above
    0 where better, with its interval, and p after Holm; None where clips cannot be paired."""

    value: float
    seeds: list[float]
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Row:
    """One metric (``name`` in its probe): a cell per arm, None for an arm without it."""

    title: str
    unit: str
    note: str
    cells: list[Cell | None]
    name: str = ""


@dataclass(frozen=True)
class Comparison:
    """The page: its arms, and the rows of every probe. ``tests``: how many were corrected for."""

    title: str
    arms: list[Arm]
    probes: list[tuple[Probe, list[Row]]]
    clips: int
    groups: int
    split: str
    tests: int
    confidence: float


#: Probe and metric -> what its probe's JSON says of it, and of its clips.
_Metrics = Mapping[tuple[str, str], Mapping[str, Any]]


def experiment_files(results: Results, config: Config) -> list[Path]:
    """What the page is made from."""
    files = [results.run(name) / RUN for name in config.experiments]
    return files + [results.probe(name, probe) for name in config.experiments for probe in PROBES]


def build_page(results: Results, config: Config) -> None:
    """Write results/experiments.html. Raises UserError for a run or probe that is not there."""
    from nano4m_audio.report.stage import render_page

    page = compare(results, config)
    html = render_page("experiments.html.j2", ("page.js",), c=page)
    write_bytes(results.experiments, html.encode())


def compare(
    results: Results, config: Config, probes: Collection[str] = tuple(PROBES)
) -> Comparison:
    """All numbers of the page, or of these probes. The first arm is the one of
    ``report.experiment``."""
    arms = find_arms(results, list(config.experiments), config.report.experiment)
    found = {run: read_evaluation(results.root, run) for arm in arms for run in arm.runs}
    first = next(iter(found[arms[0].runs[0]].values()))
    confidence = config.evaluate.confidence
    rows = {name: _rows(name, arms, found, config) for name in probes}
    tests = [cell for some in rows.values() for row in some for cell in row.cells
             if cell and cell.p is not None]  # fmt: skip
    corrected = dict(zip(map(id, tests), holm([cell.p or 0.0 for cell in tests]), strict=True))
    shown = [
        (PROBES[name], [_corrected(row, corrected) for row in some])
        for name, some in rows.items()
        if some
    ]
    return Comparison(
        config.report.title, arms, shown, first["clips"], len(set(first["groups"])),
        first["split"], len(tests), confidence,
    )  # fmt: skip


def find_arms(results: Results, names: Sequence[str], first: str) -> list[Arm]:
    """Group experiments whose settings are equal but for the seed; the one of ``first`` leads."""
    arms: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        settings = read_json(results.run(name) / RUN)["settings"]
        seed = settings["optim"]["seed"]
        same = {**settings, "optim": {**settings["optim"], "seed": None}}
        arms.setdefault(content_key(same), []).append((seed, name))
    found = []
    for members in arms.values():
        seeds, runs = zip(*sorted(members), strict=True)
        short = {re.sub(r"_?seed_\d+", "", run) for run in runs}
        name = short.pop() if len(runs) > 1 and len(short) == 1 else runs[0]
        found.append(Arm(name, list(runs), list(seeds)))
    return sorted(found, key=lambda arm: first not in arm.runs)


def _rows(
    probe: str, arms: Sequence[Arm], found: Mapping[str, Mapping[str, Any]], config: Config
) -> list[Row]:
    """The metrics of a probe in the order in which runs have them; baselines have no rows."""
    metrics: dict[str, _Metrics] = {}
    for run, evaluation in found.items():
        content = evaluation.get(probe, {"metrics": []})
        clips = {key: content.get(key) for key in ("clip_ids", "groups")}
        metrics[run] = {(probe, m["name"]): {**m, **clips} for m in content["metrics"]}
    skipped = {key for evaluation in found.values() for key in baselines_of(evaluation)}
    names = dict.fromkeys(key for run in metrics.values() for key in run if key not in skipped)
    rows = []
    for key in names:
        per_arm = [[metrics[run].get(key) for run in arm.runs] for arm in arms]
        known = next(m for some in per_arm for m in some if m)
        cells = [_cell(some, per_arm[0] if k else None, config) for k, some in enumerate(per_arm)]
        rows.append(
            Row(known.get("title") or in_words(key[1]), known["unit"], known["note"], cells, key[1])
        )
    return rows


def _cell(
    own: Sequence[Mapping[str, Any] | None],
    first: Sequence[Mapping[str, Any] | None] | None,
    config: Config,
) -> Cell | None:
    there = [metric for metric in own if metric]
    if not there:
        return None
    seeds = [float(metric["value"]) for metric in there]
    cell = Cell(sum(seeds) / len(seeds), seeds)
    base = [metric for metric in first or () if metric]
    mine, theirs = _by_clip(there), _by_clip(base)
    shared = sorted(mine.keys() & theirs.keys())
    if not shared:
        return cell
    better = 1 if there[0]["unit"] == "accuracy" else -1
    gains = better * np.array([mine[clip][0] - theirs[clip][0] for clip in shared])
    groups = np.unique([mine[clip][1] for clip in shared], return_inverse=True)[1]
    counts, options = np.ones(len(gains)), config.evaluate
    interval = mean_interval(
        gains, counts, groups, options.confidence, options.bootstrap, options.seed
    )
    low, high = interval or (None, None)
    p = paired_p(gains, counts, groups, options.seed)
    return replace(cell, gain=float(gains.mean()), low=low, high=high, p=p)


def _by_clip(metrics: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, int]]:
    """Clip -> its mean value over the seeds, and its group; only clips that every seed has."""
    if not metrics or any(not metric.get("by_clip") for metric in metrics):
        return {}
    values: dict[str, list[float]] = {}
    for metric in metrics:
        for clip, value in zip(metric["clip_ids"], metric["by_clip"], strict=True):
            if value is not None:
                values.setdefault(clip, []).append(value)
    group = dict(zip(metrics[0]["clip_ids"], metrics[0]["groups"], strict=True))
    full = {clip: seen for clip, seen in values.items() if len(seen) == len(metrics)}
    return {clip: (sum(seen) / len(seen), group[clip]) for clip, seen in full.items()}


def _corrected(row: Row, corrected: Mapping[int, float]) -> Row:
    cells = [
        cell if cell is None else replace(cell, p=corrected.get(id(cell))) for cell in row.cells
    ]
    return replace(row, cells=cells)
