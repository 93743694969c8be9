"""Training runs and their evaluation, beside what the paper reports."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.errors import UserError
from nano4m_audio.evaluate.probes import PROBES, Probe
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.report.verdicts import Verdict, verdict_of
from nano4m_audio.tables import read_any
from nano4m_audio.taxonomy import class_names

#: The probes, and the quality of the tokenizers, which is measured without a model.
REPORTED_PROBES = (
    *PROBES.values(),
    Probe(
        "tokenizer",
        title="Tokenizer fidelity",
        words="What is lost before the model sees anything. Higher is better.",
        baseline="",
    ),
)
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


@dataclass(frozen=True)
class MetricRow:
    """One metric: ours, the simplest baseline on the same clips and the verdict on the two, and the
    paper's, if any."""

    probe: str
    name: str
    title: str
    unit: str
    ours: Mapping[str, Any] | None
    baseline: Mapping[str, Any] | None
    paper: Mapping[str, Any] | None
    verdict: Verdict | None = None


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError with one line."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the stage that writes it first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}): delete it and run again") from None


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


def paper_numbers() -> dict[str, Any]:
    """The committed facts about the paper: label, caveats, tokenizers, metrics."""
    text = resources.files("nano4m_audio.report").joinpath("paper_numbers.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def papers_probes(config: Mapping[str, Any], paper: Mapping[str, Any]) -> set[str]:
    """The probes whose numbers in the paper may stand beside those of this run.

    The demo shows them all, as an example, beside a caveat. A run on other data has them where they
    measure the same thing: losses of the same tokenizers' tokens, and the class out of the same
    classes.
    """
    probes = {metric["probe"] for metric in paper["metrics"]}
    same_tokens = all(config["tokenize"][m] == name for m, name in paper["tokenizers"].items())
    if config["source"] != "barnyard" and not same_tokens:
        return set()
    same_classes = set(config["classes"]) == set(class_names())
    return probes if same_classes else probes - {"classes"}


def metric_rows(
    evaluation: Mapping[str, Mapping[str, Any]],
    rgb_fidelity: Mapping[str, Any] | None,
    paper: Mapping[str, Any],
    probes_beside: Collection[str] | None = None,
) -> list[MetricRow]:
    """Our metrics and the paper's, joined by probe and name; first those that both have.

    Of the paper's only those of ``probes_beside`` (None: all) are given; titles are the same.
    """
    ours = {
        (probe, metric["name"]): metric
        for probe, content in evaluation.items()
        for metric in content["metrics"]
    }
    if rgb_fidelity:
        ours["tokenizer", rgb_fidelity["name"]] = rgb_fidelity
    titles = {(m["probe"], m["metric"]): m for m in paper["metrics"]}
    theirs = {k: m for k, m in titles.items() if probes_beside is None or k[0] in probes_beside}
    baselines = baselines_of(evaluation)
    known = [key for key in titles if key in theirs or key in ours]
    order = [*known, *(key for key in ours if key not in titles and key not in baselines)]
    rows = []
    for key in order:
        probe, name = key
        mine, other = ours.get(key), theirs.get(key)
        title = titles[key]["title"] if key in titles else name.replace("_", " ")
        unit = (mine or other or {}).get("unit") or ""
        compared = (mine or {}).get("baseline") or {}
        baseline = ours.get((probe, compared.get("name", "")))
        verdict = verdict_of(probe, mine)
        rows.append(MetricRow(probe, name, title, unit, mine, baseline, other, verdict))
    probes = [probe.name for probe in REPORTED_PROBES]
    return sorted(rows, key=lambda r: probes.index(r.probe))


def baselines_of(evaluation: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """(probe, name) of every metric that another one of its probe is compared with."""
    return {
        (probe, metric["baseline"]["name"])
        for probe, content in evaluation.items()
        for metric in content["metrics"]
        if metric.get("baseline")
    }


def experiments_table(results: Path, runs: Sequence[Run]) -> dict[str, Any]:
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
    rows = [{"run": run, "cells": [values[run.name].get(c) for c in columns]} for run in runs]
    return {"columns": columns, "rows": rows}
