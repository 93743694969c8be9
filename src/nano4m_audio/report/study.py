"""Does a model hear what it cannot say? And which lever changes it: results/study.md.

A number of an arm is the mean over its seeds. What another seed would change is said by the t
interval over seeds, of a number or of its differences to the first arm under the same seeds; what
other clips would change, by the interval over groups of clips that results/experiments.html has.
A lever changes something only where neither of the two reaches 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.config.schema import Config
from nano4m_audio.files import write_bytes
from nano4m_audio.paths import Results
from nano4m_audio.report.experiments import Arm, Cell, Comparison, Row, compare
from nano4m_audio.report.proposals import find_metric
from nano4m_audio.report.runs import read_evaluation, read_json
from nano4m_audio.training.stage import RUN

#: Sound counts as not made where a model saves less than this of the entropy of its tokens.
NEAR = 0.05


@dataclass(frozen=True)
class Question:
    """A metric of a probe and what it is about; verdicts on levers rest on those that decide."""

    probe: str
    metric: str
    title: str
    words: str
    decides: bool = False


QUESTIONS = (
    Question(
        "classes",
        "audio_top1",
        "class named from the sound",
        "share of clips whose class is the first of all, by the whole caption, from sound alone",
        decides=True,
    ),
    Question(
        "linear",
        "audio_balanced_accuracy",
        "class in the encoding of the sound",
        "balanced accuracy of a linear layer on the frozen encodings of sound",
    ),
    Question(
        "cross_entropy",
        "audio",
        "cross-entropy of sound",
        "nats per token of sound under the masks that each run was trained with: not to be "
        "compared where these differ; lower is better",
    ),
    Question(
        "gain",
        "rgb_to_audio",
        "cross-entropy of sound from a picture",
        "nats per token of sound where one picture is all that is given; lower is better",
        decides=True,
    ),
    Question(
        "external",
        "caption_to_audio_tag_top1",
        "sounds made from captions, named right",
        "share of sounds that a tagger, which knows nothing of the run, gives the class asked for",
    ),
)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, each value, and the t interval of the mean (None for a single seed)."""

    value: float
    seeds: list[float]
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """One arm's answer to a question. ``change`` is the gain over the first arm, seed by seed,
    above 0 where better; ``clips`` the interval of the same gain over groups of clips."""

    arm: str
    own: Estimate
    change: Estimate | None
    clips: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """ "better", "worse", "no difference shown", or "" where nothing can be said."""
        if self.change is None or self.change.low is None or self.change.high is None:
            return ""
        low, high = self.change.low, self.change.high
        if self.clips is not None:
            low, high = min(low, self.clips[0]), max(high, self.clips[1])
        return "better" if low > 0 else "worse" if high < 0 else "no difference shown"


@dataclass(frozen=True)
class Table:
    """The answers of all arms to a question."""

    question: Question
    unit: str
    lines: list[Line]


@dataclass(frozen=True)
class Lever:
    """An arm beside the first one: what it changes, and the verdict in one sentence."""

    name: str
    words: str
    sentence: str


def estimate(values: Sequence[float], confidence: float) -> Estimate:
    """Mean and t interval (n - 1 degrees of freedom) of one value per seed."""
    from scipy.special import stdtrit

    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return Estimate(mean, list(values), None, None)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    width = float(stdtrit(n - 1, (1 + confidence) / 2)) * (variance / n) ** 0.5
    return Estimate(mean, list(values), mean - width, mean + width)


def tables(page: Comparison, confidence: float) -> list[Table]:
    """A table for every question that the runs answer."""
    rows = {(probe.name, row.name): row for probe, some in page.probes for row in some}
    found = []
    for question in QUESTIONS:
        row = rows.get((question.probe, question.metric))
        if row is None:
            continue
        lines = [
            _line(arm, cell, page.arms[0], row, confidence)
            for arm, cell in zip(page.arms, row.cells, strict=True)
            if cell
        ]
        found.append(Table(question, row.unit, lines))
    return found


def _line(arm: Arm, cell: Cell, first: Arm, row: Row, confidence: float) -> Line:
    own = estimate(cell.seeds, confidence)
    clips = None if cell.low is None or cell.high is None else (cell.low, cell.high)
    base = row.cells[0]
    if arm is first or base is None:
        return Line(arm.name, own, None, None)
    better = 1 if row.unit == "accuracy" else -1
    mine = dict(zip(arm.seeds, cell.seeds, strict=False))
    theirs = dict(zip(first.seeds, base.seeds, strict=False))
    whole = len(cell.seeds) == len(arm.seeds) and len(base.seeds) == len(first.seeds)
    shared = sorted(mine.keys() & theirs.keys()) if whole else []
    gains = [better * (mine[seed] - theirs[seed]) for seed in shared]
    return Line(arm.name, own, estimate(gains, confidence) if gains else None, clips)


def asymmetry(
    found: Sequence[Table], evaluations: Sequence[Mapping[str, Any]], confidence: float
) -> tuple[str, dict[str, Any]]:
    """The answer of the first arm in one sentence, and the numbers that it rests on: none where it
    was not asked for the class or for sound."""
    if not all(_asked(evaluation) for evaluation in evaluations):
        return "No answer: the first arm has no captions or no sound.", {}
    own = {t.question.probe: t.lines[0].own for t in found}
    chances, marginals = [], []
    for evaluation in evaluations:
        metric = _named(evaluation["classes"]["metrics"], "audio_top1")
        chances.append(max(metric["chance"], metric["baseline"]["value"]))
        marginals.append(_marginal(evaluation["cross_entropy"]["baselines"]))
    above = [v - c for v, c in zip(own["classes"].seeds, chances, strict=True)]
    saved = [1 - v / h for v, h in zip(own["cross_entropy"].seeds, marginals, strict=True)]
    hears, makes = estimate(above, confidence), estimate(saved, confidence)
    facts = {"chance": sum(chances) / len(chances), "marginal": sum(marginals) / len(marginals),
             "hears": hears, "makes": makes}  # fmt: skip
    if "gain" in own:
        pairs = zip(own["gain"].seeds, marginals, strict=True)
        facts["crosses"] = estimate([1 - value / marginal for value, marginal in pairs], confidence)
    if hears.low is None or makes.low is None or makes.high is None:
        return "With one seed there is no interval, and no answer.", facts
    reads = hears.low > 0
    if not reads:
        return "No: it is not shown that the class can be told from the sound at all.", facts
    if makes.high < NEAR:
        return "Yes: the class is told from the sound, and sound itself is hardly predicted.", facts
    if makes.low >= NEAR:
        return "No: the class is told from the sound, and sound itself is predicted, too.", facts
    return "Undecided: the class is told from the sound; how far sound is predicted varies.", facts


def crossing(share: Estimate) -> str:
    """What it says that a picture saves this share of what a token of sound has by itself."""
    if share.low is None or share.high is None:
        return ""
    if share.high < 0:
        return "asked like this, the model does worse than counts of tokens that see no picture"
    if share.low >= NEAR:
        return "the picture helps"
    return "hardly anything" if share.high < NEAR else "undecided"


def _asked(evaluation: Mapping[str, Any]) -> bool:
    """Whether a run was asked for the class from the sound, and for sound itself."""
    wanted = ("classes", "audio_top1"), ("cross_entropy", "audio")
    return all(find_metric(evaluation, *metric) for metric in wanted)


def _named(metrics: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next(metric for metric in metrics if metric["name"] == name)


def _marginal(baselines: Sequence[Mapping[str, Any]]) -> float:
    """The entropy of sound tokens by their codebooks [nats]: what counts of training clips say."""
    row = next(r for r in baselines if r["target"] == "audio" and r["codebook"] is None)
    return float(row.get("per_codebook", row["unigram"]))


def levers(found: Sequence[Table], page: Comparison, words: Mapping[str, str]) -> list[Lever]:
    """What each lever does, by the questions that decide."""
    out = []
    for arm in page.arms[1:]:
        about = next((text for run, text in words.items() if run in arm.runs), "")
        parts = [
            _in_words(table, line)
            for table in found
            if table.question.decides
            for line in table.lines
            if line.arm == arm.name
        ]
        out.append(Lever(arm.name, about, "; ".join(parts) + "."))
    return out


def _in_words(table: Table, line: Line) -> str:
    title, change = table.question.title, line.change
    if change is None or change.low is None or change.high is None:
        return f"{title}: nothing can be said with fewer than two seeds in common"
    digits = f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f} over seeds"
    if line.clips is not None:
        digits += f", {line.clips[0]:+.3f} to {line.clips[1]:+.3f} over clips"
    return f"{title}: {line.verdict}, gain {digits})"


def write_study(results: Results, config: Config) -> None:
    """Write results/study.md. Raises UserError for a run or probe that is not there."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    page = compare(results, config, list(dict.fromkeys(q.probe for q in QUESTIONS)))
    confidence = config.evaluate.confidence
    found = tables(page, confidence)
    first = page.arms[0]
    evaluations = [read_evaluation(results.root, run) for run in first.runs]
    answer, facts = asymmetry(found, evaluations, confidence)
    environment = Environment(
        loader=PackageLoader("nano4m_audio.report"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    text = environment.get_template("study.md.j2").render(
        answer=answer,
        facts=facts,
        page=page,
        tables=found,
        levers=levers(found, page, config.study.levers),
        runs={arm.name: read_json(results.run(arm.runs[0]) / RUN) for arm in page.arms},
        config=config,
        near=NEAR,
        crossing=crossing,
        confidence=confidence,
    )
    write_bytes(results.study, text.encode("utf-8", "replace"))
