"""Everything the page shows, as plain values: read once, counted once, no HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.config.grids import members
from nano4m_audio.filters import FILTERS
from nano4m_audio.report import funnel, numbers, provenance, runs, tokenizers, truth
from nano4m_audio.report.inputs import Clip, ReportInputs, count_tokens, read_clips
from nano4m_audio.report.listing import notes, read_listing, videos_unknown
from nano4m_audio.report.runs import MetricRow, Run
from nano4m_audio.report.studies import Study, studies

#: The model family whose scores mean nothing outside the synthetic world.
_MINI_SECTIONS = ("score", "label", "tokenize")


@dataclass(frozen=True)
class Content:
    """The values of every section of the page."""

    title: str
    classes: list[str]
    clips: list[Clip]
    headline: dict[str, Any]
    warnings: list[str]
    steps: list[funnel.Step]
    reasons: list[funnel.ReasonCount]
    class_table: dict[str, Any]
    histograms: list[numbers.Histogram]
    truth: truth.Truth | None
    split: dict[str, Any]
    notes: list[str]
    videos_unknown: str
    leak: dict[str, Any] | None
    tokenizers: list[tokenizers.Pictures]
    runs: list[Run]
    lead: Run | None
    experiments: dict[str, Any]
    studies: list[Study]
    metrics: list[MetricRow]
    evaluate: dict[str, Any]
    per_class: list[dict[str, Any]]
    paper: dict[str, Any]
    caveat: str
    card: dict[str, Any] | None
    provenance: dict[str, Any]


def collect(inputs: ReportInputs) -> Content:
    """Read all tables and compute all numbers. Raises UserError, or FunnelError when the counts do
    not add up."""
    config = inputs.config
    classes, verdict = list(config["classes"]), config["verdict"]
    clips = read_clips(inputs.results)
    steps = funnel.steps(clips, verdict)
    known = truth.read_truth(inputs.truth_csv) if inputs.truth_csv else None
    listing = read_listing(inputs.results)
    split = numbers.split_tables(clips, classes)
    leak = numbers.leak(clips, config["split"])
    synthetic = config["source"] == "barnyard"
    # Measured on the synthetic world, the card says nothing about media of one's own.
    card = runs.read_json(inputs.card) if inputs.card and synthetic else None
    quality = tokenizers.read_quality(inputs.results, config)
    found = runs.read_runs(inputs.results, list(config["experiments"]))
    lead = next((r for r in found if r.name == config["report"]["experiment"]), None)
    in_grids = {m for name, g in config["grids"].items() for m in members(name, g["vary"])}
    alone = [run for run in found if run.name not in in_grids]
    paper = runs.paper_numbers()
    beside = runs.papers_probes(config, paper)
    evaluation = runs.read_evaluation(inputs.results, config["report"]["experiment"])
    class_table = funnel.by_class(clips, classes)
    return Content(
        title=config["report"]["title"],
        classes=classes,
        clips=clips,
        headline=headline(inputs, clips),
        warnings=warnings(inputs, clips, class_table, split, leak),
        steps=steps,
        reasons=funnel.reason_counts(clips),
        class_table=class_table,
        histograms=numbers.score_histograms(clips, verdict),
        truth=truth.compare(clips, known) if known is not None else None,
        split=split,
        notes=notes(clips, listing, config["decode"]),
        videos_unknown=videos_unknown(listing),
        leak=leak,
        tokenizers=quality,
        runs=found,
        lead=lead,
        experiments=runs.experiments_table(inputs.results, alone),
        studies=studies(config["grids"], found, paper["studies"] if beside else {}),
        metrics=runs.metric_rows(evaluation, tokenizers.rgb_fidelity(quality), paper, beside),
        evaluate=config["evaluate"],
        per_class=evaluation.get("classes", {}).get("per_class", []),
        paper=paper,
        caveat=paper["caveats"]["synthetic" if synthetic else "real"] if beside else "",
        card=card,
        provenance=provenance.collect(config, found, inputs.results, inputs.repository),
    )


def headline(inputs: ReportInputs, clips: Sequence[Clip]) -> dict[str, Any]:
    """Candidates, clips, accepted, complete, tokens in all and per modality, videos."""
    complete = [clip for clip in clips if clip.complete]
    tokens = count_tokens(inputs.results, complete)
    return {
        "candidates": len(clips),
        "videos": len({clip.video_id for clip in clips}),
        "decodable": sum(clip.stop not in ("media", "clips") for clip in clips),
        "accepted": sum(clip.accepted for clip in clips),
        "complete": len(complete),
        "classes": len({clip.class_name for clip in complete}),
        "tokens": sum(tokens.values()),
        "tokens_by_modality": tokens,
    }


def warnings(
    inputs: ReportInputs,
    clips: Sequence[Clip],
    class_table: dict[str, Any],
    split: dict[str, Any],
    leak: dict[str, Any] | None,
) -> list[str]:
    """What a reader must know before believing a number, worst first."""
    config = inputs.config
    out = []
    if not any(clip.complete for clip in clips):
        out.append(
            "No clip became tokens: nothing could be trained. See the funnel for the reasons."
        )
    if split["crossing_groups"]:
        n = len(split["crossing_groups"])
        out.append(f"{n} {'group is' if n == 1 else 'groups are'} in more than one split.")
    if leak and leak["copies_n"]:
        out.append(
            f"{leak['copies_n']} of {leak['n']} test clips have a copy among the training clips."
        )
    out += _about_models(config)
    off = [row.title.lower() for row in FILTERS if config["verdict"].get(row.key) is None]
    if off:
        word = "filter is" if len(off) == 1 else "filters are"
        out.append(f"The {' and '.join(off) if len(off) < 3 else ', '.join(off)} {word} off.")
    empty = [row["name"] for row in class_table["rows"] if not row["complete"]]
    if empty and len(empty) < len(class_table["rows"]):
        out.append(f"Without a single usable clip: {', '.join(empty)}.")
    return out


def mini_members(config: Any) -> list[str]:
    """The config keys that select a model of the mini family."""
    return [
        f"{section}.{key}"
        for section in _MINI_SECTIONS
        for key, value in config[section].items()
        if (value.get("backend") if isinstance(value, dict) else value) == "mini"
    ]


def _about_models(config: Any) -> list[str]:
    if config["source"] == "barnyard":
        return [
            "All pictures and sounds are synthetic: these numbers show that the pipeline works, "
            "and say nothing about real video."
        ]
    names = mini_members(config)
    if not names:
        return []
    return [
        f"{', '.join(names)}: the mini models were trained on a synthetic world; their scores, "
        "maps and tokens of real media are placeholders."
    ]
