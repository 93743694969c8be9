"""Reading training runs and their evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nano4m_audio import files
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.probes import PROBES
from nano4m_audio.tables import read_any

_POINTS = 240


@dataclass(frozen=True)
class Curves:
    """Loss of one modality: (step, nats per token) of train and val."""

    modality: str
    train: list[tuple[float, float]]
    val: list[tuple[float, float]]


@dataclass(frozen=True)
class Run:
    """One finished training run."""

    name: str
    facts: Mapping[str, Any]
    timing: Mapping[str, Any]
    curves: list[Curves]
    lr: list[tuple[float, float]]


#: Reads the JSON that a stage wrote. Raises UserError with one line.
read_json = partial(
    files.read_json,
    advice="delete what is there and run the stage that writes it",
    missing="run the stage that writes it first",
)


def read_run(folder: Path) -> Run:
    """Read run.json and metrics.parquet of one experiment."""
    facts = read_json(folder / "run.json")
    series: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    rates: dict[float, float] = {}
    metrics = folder / "metrics.parquet"
    columns = ["step", "split", "modality", "loss", "lr"]
    for row in read_any(metrics, columns).to_pylist():
        series[row["modality"], row["split"]].append((float(row["step"]), float(row["loss"])))
        rates[float(row["step"])] = float(row["lr"])
    names = [m for m in MODALITIES if (m, "train") in series or (m, "val") in series]
    return Run(
        name=folder.name,
        facts=facts,
        timing=read_json(timing) if (timing := folder / "timing.json").is_file() else {},
        curves=[Curves(m, thin(series[m, "train"]), thin(series[m, "val"])) for m in names],
        lr=thin(sorted(rates.items())),
    )


def read_runs(results: Path, names: Sequence[str]) -> list[Run]:
    """The runs of these experiments that are there, in this order."""
    folders = [results / "runs" / name for name in names]
    return [read_run(folder) for folder in folders if (folder / "run.json").is_file()]


def thin(points: Sequence[tuple[float, float]], most: int = _POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points: means of equally long stretches; the last point stays as it is."""
    if len(points) <= most:
        return list(points)
    inner, last = points[:-1], points[-1]
    bounds = [round(i * len(inner) / (most - 1)) for i in range(most)]
    means = []
    for first, end in zip(bounds[:-1], bounds[1:], strict=True):
        part = inner[first:end]
        means.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return [*means, last]


def read_evaluation(results: Path, experiment: str) -> dict[str, dict[str, Any]]:
    """Probe name -> the JSON of the probe, for those that are there."""
    folder = results / "evaluation" / experiment
    found = {p: folder / f"{p}.json" for p in PROBES if (folder / f"{p}.json").is_file()}
    return {probe: read_json(path) for probe, path in found.items()}


def baselines_of(evaluation: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """(probe, name) of every metric that another one of its probe is compared with."""
    return {
        (probe, metric["baseline"]["name"])
        for probe, content in evaluation.items()
        for metric in content["metrics"]
        if metric.get("baseline")
    }
