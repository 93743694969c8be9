"""Everything the page shows, as plain values: read once, counted once, no HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio import files
from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import FILTERS, LABEL_OF
from nano4m_audio.paths import Results
from nano4m_audio.report import (
    answers,
    changes,
    costs,
    fetch,
    funnel,
    listing,
    metrics,
    people,
    previews,
    provenance,
    scores,
    split,
    training,
    truth,
)
from nano4m_audio.report.inputs import FETCH_STOPS, Clip, ReportInputs, count_tokens
from nano4m_audio.report.runs import Run

#: The sections of the config that select models. Those of the mini family mean nothing outside the
#: synthetic world.
_MODELS = ("score", "label", "tokenize")
#: At most this many classes are named in a warning.
_SHOWN = 10


@dataclass(frozen=True)
class Section:
    """A section of the page: the template NAME.html.j2 shows as ``s`` what ``collect`` returns;
    None leaves the section out."""

    name: str
    title: str
    collect: Callable[[ReportInputs], Any]


def _examples(inputs: ReportInputs) -> Any:
    if not inputs.threads or not inputs.config["report"]["examples"]:
        return None
    from nano4m_audio.report.examples import make_examples  # loads torch

    return make_examples(inputs)


def read_proof(inputs: ReportInputs) -> Any:
    """The claims of proof.json; None where the tables came without it."""
    path = Results(inputs.results).proof
    return files.read_json(path, "make the proof again")["claims"] if path.exists() else None


SECTIONS = (
    Section("changes", "Since the last report", changes.collect),
    Section("lists", "Lists", listing.collect),
    Section("funnel", "Funnel", funnel.collect),
    Section("fetch", "Fetching", fetch.collect),
    Section("scores", "Scores", scores.collect),
    Section("truth", "Filters and truth", truth.collect),
    Section("people", "Filters and people", people.collect),
    Section("split", "Split", split.collect),
    Section("proof", "Proof", read_proof),
    Section("tokenizers", "Tokenizers", lambda inputs: inputs.tokenizers or None),
    Section("training", "Training", training.collect),
    Section("metrics", "Evaluation", metrics.collect),
    Section("generated", "What the model makes", lambda inputs: inputs.generated),
    Section("examples", "Examples", _examples),
    Section("costs", "Costs", costs.collect),
    Section("provenance", "Provenance", provenance.collect),
)


@dataclass(frozen=True)
class Headline:
    """Counts of clips, their videos and classes, and tokens by modality."""

    candidates: int
    videos: int
    decodable: int
    accepted: int
    complete: int
    classes: int
    tokens: dict[str, int]


@dataclass(frozen=True)
class Content:
    """The values of the page: those of its head, and of every section by its name."""

    title: str
    config: Mapping[str, Any]
    headline: Headline
    lead: Run | None
    warnings: list[str]
    answers: list[answers.Answer]
    sections: dict[str, Any]
    #: See ``previews``.
    files: dict[str, str]


def collect(inputs: ReportInputs) -> Content:
    """All numbers. Raises UserError, or FunnelError when the counts do not add up."""
    found = {section.name: section.collect(inputs) for section in SECTIONS}
    return Content(
        title=inputs.config["report"]["title"],
        config=inputs.config,
        headline=headline(inputs),
        lead=inputs.lead,
        warnings=[*fetch.warnings(found["fetch"]), *warnings(inputs, found["split"])],
        answers=answers.collect(inputs, found),
        sections={name: values for name, values in found.items() if values is not None},
        files=previews.collect(inputs),
    )


def headline(inputs: ReportInputs) -> Headline:
    """Count the clips and the tokens of those that have all."""
    clips = inputs.clips
    complete = [clip for clip in clips if clip.complete]
    return Headline(
        candidates=len(clips),
        videos=len({clip.video_id for clip in clips}),
        decodable=sum(clip.stop not in (*FETCH_STOPS, "media", "clips") for clip in clips),
        accepted=sum(clip.accepted for clip in clips),
        complete=len(complete),
        classes=len({clip.class_name for clip in complete}),
        tokens=count_tokens(inputs.results, complete),
    )


def warnings(inputs: ReportInputs, splits: split.Split) -> list[str]:
    """What a reader must know before believing a number, worst first."""
    config, clips, out = inputs.config, inputs.clips, []
    usable = {clip.class_name for clip in clips if clip.complete}
    if not usable:
        out.append(
            "No clip became tokens: nothing could be trained. See the funnel for the reasons."
        )
    if n := len(splits.crossing_groups):
        out.append(f"{n} {'group is' if n == 1 else 'groups are'} in more than one split.")
    if splits.leak and splits.leak.copies:
        n, of = len(splits.leak.copies), splits.leak.n
        out.append(f"{n} of {of} test clips have a copy among the training clips.")
    out += _about_models(config)
    verdict = Verdict.model_validate(config["verdict"])
    usual = (row for row in FILTERS if row.default is not None)
    off = [row.title.lower() for row in usual if not verdict.is_on(row)]
    if off:
        word = "filter is" if len(off) == 1 else "filters are"
        out.append(f"The {' and '.join(off) if len(off) < 3 else ', '.join(off)} {word} off.")
    out += _without_scores(config, clips)
    classes = [*config["classes"], *sorted({c.class_name for c in clips} - {*config["classes"]})]
    empty = [name for name in classes if name not in usable]
    if empty and usable:
        out.append(f"Without a single usable clip: {', '.join(empty)}.")
    return out


def _without_scores(config: Mapping[str, Any], clips: Sequence[Clip]) -> list[str]:
    """The classes or labels that a model does not know: its filter is off for them."""
    out, verdict = [], Verdict.model_validate(config["verdict"])
    for row in FILTERS:
        section, _, key = row.score.partition(".")
        backend = config[section][key]["backend"] if row.score else None
        if backend is None or not verdict.is_on(row):
            continue
        scored = [c for c in clips if c.verdict["clip_key"]]
        names = sorted({c.class_name for c in scored if c.verdict[row.column] is None})
        if names and row.column in LABEL_OF:
            label, off = LABEL_OF[row.column], f"the {row.title.lower()} filter is off"
            out.append(f"{backend} ({row.score}) does not know the label {label!r}: {off}.")
        elif names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            out.append(
                f"{backend} ({row.score}) does not know {', '.join(names[:_SHOWN])}{more}: "
                f"the {row.title.lower()} filter is off for the clips of "
                f"{'this class' if len(names) == 1 else 'these classes'}."
            )
    return out


def _about_models(config: Mapping[str, Any]) -> list[str]:
    """Synthetic clips, or real clips that models of the synthetic world look at."""
    if config["source"] == "barnyard":
        return [
            "All pictures and sounds are synthetic: these numbers show that the pipeline works, "
            "and say nothing about real video."
        ]
    names = [
        f"{section}.{key}"
        for section in _MODELS
        for key, value in config[section].items()
        if (value.get("backend") if isinstance(value, dict) else value) == "mini"
    ]
    if not names:
        return []
    return [
        f"{', '.join(names)}: the mini models were trained on a synthetic world; their scores, "
        "maps and tokens of real media are placeholders."
    ]
