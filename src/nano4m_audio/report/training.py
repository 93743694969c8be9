"""Training: the leading run, runs side by side, and grids of runs with their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano4m_audio.config.grids import members
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.report.metrics import paper_numbers, papers_probes
from nano4m_audio.report.runs import Run, baselines_of, read_evaluation

#: Keys that make a model larger: their chart has the number of parameters on its axis.
_SIZE_KEYS = ("size", "dim", "encoder_depth", "decoder_depth")


@dataclass(frozen=True)
class Member:
    """One run of a grid: the values it changes, and its last validation losses [nats/token]."""

    run: Run
    values: Mapping[str, Any]
    losses: Mapping[str, float]

    @property
    def mean_loss(self) -> float | None:
        """The mean over modalities; None for a run without validation clips."""
        return sum(self.losses.values()) / len(self.losses) if self.losses else None


@dataclass(frozen=True)
class Study:
    """The finished runs of a grid. ``series`` are the lines of its chart: name -> (x, mean loss)
    with the number of training clips or of parameters as x; without such an axis, none."""

    name: str
    keys: list[str]
    modalities: list[str]
    rows: list[Member]
    planned: int
    axis: str
    series: dict[str, list[tuple[float, float]]]
    best: str
    note: str


@dataclass(frozen=True)
class Training:
    """The leading run; runs of no grid side by side, one metric per column of (probe, metric), one
    (run, values) per row; and the grids. ``label`` names the paper."""

    lead: Run | None
    columns: list[tuple[str, str]]
    rows: list[tuple[Run, list[Any]]]
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
        *experiments_table(inputs.results, alone),
        studies(grids, inputs.runs, notes),
        paper["label"],
    )


def experiments_table(
    results: Path, runs: Sequence[Run]
) -> tuple[list[tuple[str, str]], list[tuple[Run, list[Any]]]]:
    """Every experiment side by side: columns of (probe, metric), rows of values. Baselines have no
    columns: they are the same clips' and hardly differ from run to run."""
    evaluations = {run.name: read_evaluation(results, run.name) for run in runs}
    columns: list[tuple[str, str]] = []
    values: dict[str, dict[tuple[str, str], Any]] = {}
    for name, probes in evaluations.items():
        values[name] = {
            (p, m["name"]): m for p, content in probes.items() for m in content["metrics"]
        }
        baselines = baselines_of(probes)
        columns += [key for key in values[name] if key not in baselines and key not in columns]
    rows = [(run, [values[run.name].get(column) for column in columns]) for run in runs]
    return columns, rows


def studies(
    grids: Mapping[str, Mapping[str, Any]], runs: Sequence[Run], notes: Mapping[str, str]
) -> list[Study]:
    """Every grid of which at least one run has finished; ``notes`` are what the paper says."""
    found = {run.name: run for run in runs}
    out = []
    for name, grid in grids.items():
        planned = members(name, grid["vary"])
        rows = [_member(found[m], values) for m, values in planned.items() if m in found]
        if rows:
            keys = [_short(key) for key in grid["vary"]]
            out.append(_study(name, keys, rows, len(planned), notes.get(name, "")))
    return out


def _member(run: Run, values: Mapping[str, Any]) -> Member:
    values = {_short(key): value for key, value in values.items()}
    return Member(run, values, run.facts.get("final_losses", {}).get("val") or {})


def _short(key: str) -> str:
    """dim for model.dim: no two sections share the name of a key."""
    return key.rpartition(".")[2]


def _study(name: str, keys: list[str], rows: list[Member], planned: int, note: str) -> Study:
    axis_keys = [k for k in keys if k == "train_clips"] or [k for k in keys if k in _SIZE_KEYS]
    axis = {"train_clips": "training clips"}.get(axis_keys[0], "parameters") if axis_keys else ""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows if axis else []:
        if row.mean_loss is None:
            continue
        facts = row.run.facts
        x = facts["parameters"] if axis == "parameters" else facts["clips"]["train"]
        # d6w512 says what it is; 0.2 does not.
        line = ", ".join(
            value if isinstance(value, str) else f"{key.replace('_', ' ')} {value_text(value)}"
            for key, value in row.values.items()
            if key not in axis_keys
        )
        series.setdefault(line, []).append((float(x), row.mean_loss))
    scored = [row for row in rows if row.mean_loss is not None]
    return Study(
        name=name,
        keys=keys,
        modalities=list(dict.fromkeys(m for row in rows for m in row.losses)),
        rows=rows,
        planned=planned,
        axis=axis,
        series={line: sorted(points) for line, points in series.items()},
        best=min(scored, key=lambda r: (r.mean_loss, r.run.name)).run.name if scored else "",
        note=note,
    )


def value_text(value: Any) -> str:
    """null as all, truth values as on and off, anything else as it is."""
    if value is None or isinstance(value, bool):
        return {None: "all", True: "on", False: "off"}[value]
    return str(value)
