"""The evaluation of the leading experiment, beside what the paper reports."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

from nano4m_audio.files import data_yaml
from nano4m_audio.probes import PROBES, Probe
from nano4m_audio.report.beside import Decision, Fact, decisions
from nano4m_audio.report.beside import collect as beside_facts
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.report.runs import baselines_of, read_evaluation
from nano4m_audio.report.tokenizers import rgb_fidelity
from nano4m_audio.taxonomy import class_names

_MINUS, _NARROW = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"
#: What a difference of metrics is counted in, by their unit.
_UNIT_WORDS = {"accuracy": "points", "nats/token": "nats", "degrees": "degrees", "dB": "dB"}
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


@dataclass(frozen=True)
class Verdict:
    """``claim`` says the ``word`` of an evaluation at length, ``evidence`` gives its figures."""

    word: str
    claim: str
    evidence: str


@dataclass(frozen=True)
class MetricRow:
    """One metric: ours, a baseline on the same clips, the verdict on the two, and the paper's;
    ``first``: it is shown before others of its probe."""

    probe: str
    name: str
    title: str
    unit: str
    ours: Mapping[str, Any] | None
    baseline: Mapping[str, Any] | None
    paper: Mapping[str, Any] | None
    verdict: Verdict | None = None
    first: bool = True


@dataclass(frozen=True)
class Evaluation:
    """All metrics, and the caveat of the paper's numbers; none of these are shown without a caveat.
    ``label`` says where they come from. ``details`` are the JSON of the probes, for what they have
    beside metrics: metrics_<probe>.html.j2 shows it. ``entropies``: see ``paper_entropies``.
    ``facts``, ``decisions`` and ``per_class`` are the paper's, where its numbers are shown.
    ``of_chance``: see ``of_chance``."""

    rows: list[MetricRow]
    details: Mapping[str, Mapping[str, Any]]
    caveat: str
    label: str
    entropies: Mapping[str, Any] | None = None
    facts: Sequence[Fact] = ()
    per_class: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    decisions: Sequence[Decision] = ()
    of_chance: Sequence[MetricRow] = ()


def collect(inputs: ReportInputs) -> Evaluation:
    """What the probes of the leading experiment found."""
    config, paper = inputs.config, paper_numbers()
    beside = papers_probes(config, paper)
    evaluation = read_evaluation(inputs.results, config["report"]["experiment"])
    source = "synthetic" if config["source"] == "barnyard" else "real"
    rows = metric_rows(evaluation, rgb_fidelity(inputs.tokenizers), paper, beside)
    losses = {r.name: r.ours["value"] for r in rows if r.probe == "cross_entropy" and r.ours}
    return Evaluation(
        rows,
        evaluation,
        paper["caveats"][source] if beside else "",
        paper["label"],
        paper_entropies(paper) if "cross_entropy" in beside else None,
        beside_facts(inputs, paper) if beside else [],
        paper["per_class"] if "classes" in beside else {},
        decisions(inputs, paper, losses) if beside else [],
        of_chance(rows),
    )


def of_chance(rows: Sequence[MetricRow]) -> list[MetricRow]:
    """The cross-entropies as parts of that of a uniform guess: the first figure of the paper, in
    which tokenizers of any vocabulary stand side by side."""
    found = []
    for row in rows:
        if row.probe == "cross_entropy" and row.ours and row.ours.get("chance"):
            ours, baseline, paper = (
                _part(side, (side or {}).get("chance") or row.ours["chance"])
                for side in (row.ours, row.baseline, row.paper)
            )
            found.append(replace(row, unit="accuracy", ours=ours, baseline=baseline, paper=paper))
    return found


def _part(side: Mapping[str, Any] | None, whole: float) -> dict[str, Any] | None:
    if side is None:
        return None
    keys = ("value", "low", "high", "chance")
    return {key: side[key] / whole for key in keys if side.get(key) is not None}


def paper_entropies(paper: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the paper says of interleaved codebooks, in nats: its loss, and its marginal entropy as
    it stands (``pooled``) and without what the ids of disjoint codebooks add (``per_codebook``)."""
    for row in paper["metrics"]:
        if "marginal" in row:
            less = row["marginal"] - math.log(row["codebooks"])
            names = {"target": row["metric"], "model": row["value"], "uniform": row["chance"]}
            return {**names, "pooled": row["marginal"], "per_codebook": less}
    return None


def paper_numbers() -> dict[str, Any]:
    """The committed facts about the paper: label, caveats, tokenizers, metrics."""
    text = resources.files("nano4m_audio.report").joinpath("paper_numbers.yaml").read_text("utf-8")
    return data_yaml(text)


def papers_probes(config: Mapping[str, Any], paper: Mapping[str, Any]) -> set[str]:
    """The probes whose numbers in the paper may stand beside those of this run.

    The demo shows them all, as an example, beside a caveat. A run on other data has them where they
    measure the same thing: losses of the same tokenizers' tokens, and the class, its caption, or
    one clip among others, out of the same classes.
    """
    probes = {metric["probe"] for metric in paper["metrics"]}
    same_tokens = all(config["tokenize"][m] == name for m, name in paper["tokenizers"].items())
    if config["source"] != "barnyard" and not same_tokens:
        return set()
    same_classes = set(config["classes"]) == set(class_names())
    return probes if same_classes else probes - {"classes", "retrieval", "external", "gain"}


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
        named = (mine or {}).get("title") or in_words(name)
        title = titles[key]["title"] if key in titles else named
        unit = (mine or other or {}).get("unit") or ""
        compared = (mine or {}).get("baseline") or {}
        baseline = ours.get((probe, compared.get("name", "")), compared) or None
        verdict = verdict_of(probe, mine)
        first = probe not in PROBES or bool(re.match(PROBES[probe].first, name))
        rows.append(MetricRow(probe, name, title, unit, mine, baseline, other, verdict, first))
    probes = [probe.name for probe in REPORTED_PROBES]
    return sorted(rows, key=lambda r: probes.index(r.probe))


def in_words(name: str) -> str:
    """The name of a metric as a title: audio_rgb_top1 -> Audio RGB, top 1."""
    words = re.sub(r"_(of_\d+_)?r(\d+)$", lambda m: f", R@{m[2]} {m[1] or ''}", name)
    words = re.sub(r"_top(\d+)$", r", top \1", words).replace("_", " ").strip()
    words = re.sub(r"\b(rgb|kad|fad)\b", lambda m: m[0].upper(), words)
    return words[:1].upper() + words[1:]


def verdict_of(probe: str, metric: Mapping[str, Any] | None) -> Verdict | None:
    """The verdict on one metric of an evaluation; None for one without a baseline."""
    comparison = (metric or {}).get("baseline")
    if metric is None or not comparison:
        return None
    word, gain = comparison["verdict"], comparison["gain"]
    than = PROBES[probe].baseline if probe in PROBES else "its baseline"
    than = comparison.get("than", than)
    by = _difference(comparison, metric["unit"])
    here = f"better {by}" if gain > 0 else f"worse {by}" if gain < 0 else "no difference"
    if word == "too few":
        groups = f"{metric['groups']} independent group{'s' * (metric['groups'] != 1)} of clips"
        claim, evidence = f"Too few clips to compare with {than}", f"{here} in {groups}"
    elif word == "unclear":
        claim, evidence = f"Not distinguishable from {than}", here
    elif word == "chance":
        claim, evidence = f"Better than {than}, but not distinguishable from chance", by
    else:
        claim, evidence = f"{word.capitalize()} than {than}", by
    return Verdict(word, claim, evidence)


def short_verdict(metric: Mapping[str, Any] | None) -> str:
    """A few words for a table's cell; none for what is better than its baseline."""
    comparison = (metric or {}).get("baseline") or {}
    words = {
        "worse": "worse than its baseline",
        "unclear": "not better than its baseline",
        "chance": "not better than chance",
        "too few": "too few clips",
    }
    return words.get(comparison.get("verdict", ""), "")


def _difference(comparison: Mapping[str, Any], unit: str) -> str:
    """by 0.42 nats (0.30 to 0.55), p < 0.001; the interval turns with the sign."""
    gain, low, high = comparison["gain"], comparison["low"], comparison["high"]
    if gain < 0:
        gain, low, high = -gain, *(None if x is None else -x for x in (high, low))
    text = f"by {_amount(gain, unit)}"
    if unit in _UNIT_WORDS:
        text += f"{_NARROW}{_UNIT_WORDS[unit]}"
    if low is not None and high is not None:
        text += f" ({_amount(low, unit)} to {_amount(high, unit)})"
    p = comparison["p"]
    if p is None:
        return text
    return f"{text}, p{' < 0.001' if p < 0.001 else f' = {p:.3f}'}"


def _amount(value: float, unit: str) -> str:
    """A share in percentage points, nats as they are."""
    text = f"{100 * value:.1f}" if unit == "accuracy" else f"{value:.3f}"
    return text.replace("-", _MINUS)
