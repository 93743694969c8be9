"""The training of the leading experiment, all experiments side by side, and studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano4m_audio.config.grids import members
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.report.metrics import paper_numbers, papers_probes
from nano4m_audio.report.runs import Run, baseline_name, read_evaluation
from nano4m_audio.report.studies import Study, studies


@dataclass(frozen=True)
class Experiments:
    """Runs side by side: one metric per column of (probe, metric), one (run, values) per row."""

    columns: list[tuple[str, str]]
    rows: list[tuple[Run, list[Any]]]


@dataclass(frozen=True)
class Training:
    """The leading run, runs that belong to no grid, and grids. ``label`` names the paper."""

    lead: Run | None
    experiments: Experiments
    studies: list[Study]
    label: str


def collect(inputs: ReportInputs) -> Training:
    """What is known of every finished run."""
    grids, paper = inputs.config["grids"], paper_numbers()
    in_grids = {m for name, grid in grids.items() for m in members(name, grid["vary"])}
    alone = [run for run in inputs.runs if run.name not in in_grids]
    notes = paper["studies"] if papers_probes(inputs.config, paper) else {}
    return Training(
        inputs.lead,
        experiments_table(inputs.results, alone),
        studies(grids, inputs.runs, notes),
        paper["label"],
    )


def experiments_table(results: Path, runs: Sequence[Run]) -> Experiments:
    """Every experiment side by side: columns of (probe, metric), rows of values. Baselines have no
    columns: they are the same clips' and hardly differ from run to run."""
    evaluations = {run.name: read_evaluation(results, run.name) for run in runs}
    columns: list[tuple[str, str]] = []
    values: dict[str, dict[tuple[str, str], Any]] = {}
    for name, probes in evaluations.items():
        values[name] = {
            (p, m["name"]): m for p, content in probes.items() for m in content["metrics"]
        }
        baselines = {(probe, baseline_name(probe, metric)) for probe, metric in values[name]}
        columns += [key for key in values[name] if key not in baselines and key not in columns]
    rows = [(run, [values[run.name].get(column) for column in columns]) for run in runs]
    return Experiments(columns, rows)
