"""The first screen of the report: what this run can answer, in sentences.

Every sentence is computed from counts, intervals and tests that the page shows further down, and
names the sections it comes from. "Better" is said only where the paired test rejects and the whole
interval lies beyond the baseline and beyond chance; otherwise it is "no better than the guess".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import FILTERS
from nano4m_audio.intervals import MIN_GROUPS
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.report.proposals import Sentence, find_metric, proposals
from nano4m_audio.report.text import count, share, signed

#: How modalities are spoken of in sentences, where not by their title.
_NAMES = {name: spec.title.lower() for name, spec in MODALITIES.items()} | {
    "rgb": "pictures",
    "normals": "surface normals",
    "caption": "captions",
}
#: What the judge of generations says of each of them: metric, words, config key of the judge.
_MADE = (
    ("caption_to_audio_tag_top1", "sounds made from captions", "score.audio"),
    ("rgb_to_audio_tag_top1", "sounds from pictures", "score.audio"),
    ("caption_to_rgb_prompt_top1", "pictures from captions", "score.visual"),
    ("audio_to_rgb_prompt_top1", "pictures from sounds", "score.visual"),
)


@dataclass(frozen=True)
class Answer:
    """A question, the answer in a few words ("" where there is none), and what it rests on."""

    question: str
    short: str
    sentences: list[Sentence]


def collect(inputs: ReportInputs, found: Mapping[str, Any]) -> list[Answer]:
    """The answers; ``found`` are the values of the page's sections by name."""
    config, evaluation = inputs.config, found["metrics"].details
    return [
        did_sound_learn(evaluation, config),
        does_it_make_things(evaluation, config),
        is_the_data_clean(found, config),
        Answer("What would you change?", "First of all", proposals(inputs, found)),
    ]


def did_sound_learn(evaluation: Mapping[str, Any], config: Mapping[str, Any]) -> Answer:
    """Whether the class can be told from the sound, and what sound says of the other modalities."""
    metric, level = find_metric(evaluation, "classes", "audio_top1"), _level(config)
    word, sentences = judged(metric), []
    if metric is not None:
        sentences.append(Sentence(_named(metric, word, config), ("metrics-classes",)))
    if told := what_sound_tells(evaluation, level):
        sentences.append(Sentence(told, ("metrics-gain",)))
    if not sentences:
        sentences = [Sentence("No probe of the class or of the modalities has run.", ("metrics",))]
    return Answer("Has it learnt from sound?", _SHORT_OF[word], sentences)


#: What a verdict on a metric is in a few words.
_SHORT_OF = {
    "better": "Yes",
    "unclear": "No better than the guess",
    "worse": "Worse than the guess",
    "too few": "Too few clips to say",
    "absent": "Not measured",
}


def judged(metric: Mapping[str, Any] | None) -> str:
    """better, unclear, worse, too few, or absent, of a metric where more is better.

    An interval that holds the baseline or chance is unclear, whatever the test says, and a test
    that does not reject is unclear, wherever the interval lies.
    """
    if metric is None:
        return "absent"
    comparison = metric.get("baseline")
    if not comparison or comparison["verdict"] == "too few" or metric["low"] is None:
        return "too few"
    if comparison["verdict"] == "worse":
        return "worse"
    least = max(comparison["value"], metric["chance"] or 0.0)
    return "better" if comparison["verdict"] == "better" and metric["low"] > least else "unclear"


def _named(metric: Mapping[str, Any], word: str, config: Mapping[str, Any]) -> str:
    clips = f"{'synthetic ' if _synthetic(config) else ''}{config['evaluate']['split']} clips"
    text = f"From the sound alone the class of {_hits(metric)} {clips} is named right"
    if word == "too few":
        groups = metric.get("groups", metric["n"])
        return (
            f"{text}, in {count(groups)} independent groups: fewer than {MIN_GROUPS} tell nothing."
        )
    guess, chance = metric["baseline"]["value"], metric["chance"]
    than = f"always naming the most frequent class ({share(guess)})"
    claim = {"better": "better than", "worse": "worse than", "unclear": "no better than"}[word]
    return f"{text} ({_range(metric)}): {claim} {than}. A blind draw is right in {share(chance)}."


def what_sound_tells(evaluation: Mapping[str, Any], level: float) -> str:
    """What the sound says of other modalities beyond counts of the training clips; "" for nothing
    measured. A target counts as told where both tests reject after Holm's correction: the sound
    against no source, and against the counts."""
    rows = [
        row
        for row in evaluation.get("gain", {}).get("directions", [])
        if row["source"] == "audio" and row["beyond_counts"]["value"] is not None
    ]
    told = [r for r in rows if _above(r["beyond_counts"], level) and _above(r["gain"], level)]
    few = [r for r in rows if r["beyond_counts"]["p_holm"] is None]
    rest = [r for r in rows if r not in told and r not in few]
    parts = []
    if told:
        amounts = [
            f"{signed(r['beyond_counts']['value'])} nats a token of {_NAMES[r['target']]} "
            f"(p {_p(r['beyond_counts']['p_holm'])})"
            for r in sorted(told, key=lambda r: -r["beyond_counts"]["value"])
        ]
        parts.append(f"Given the sound, the model saves {_listed(amounts)} against counting")
    if rest:
        names = _listed([_NAMES[r["target"]] for r in rest])
        begin = "of" if told else "Given the sound, the model knows of"
        parts.append(f"{begin} {names} {'it knows ' if told else ''}no more than counting does")
    if few and not parts:
        parts.append(
            f"What sound says of {_listed([_NAMES[r['target']] for r in few])} cannot be "
            "told from so few clips"
        )
    return f"{'; '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class Made:
    """What the judge of the config key ``judge`` says of things made from another modality."""

    words: str
    judge: str
    metric: Mapping[str, Any]

    @property
    def word(self) -> str:
        return judged(self.metric)


def does_it_make_things(evaluation: Mapping[str, Any], config: Mapping[str, Any]) -> Answer:
    """Whether judges that know nothing of the run recognise what the model makes."""
    question, sections = "Can it make sounds and pictures?", ("metrics-external",)
    made = [
        Made(words, judge, metric)
        for name, words, judge in _MADE
        if (metric := find_metric(evaluation, "external", name)) is not None
    ]
    if not made:
        sentence = Sentence("No judge has looked at what the model makes.", ("metrics",))
        return Answer(question, _SHORT_OF["absent"], [sentence])
    if not _synthetic(config):
        strangers = sorted({m.judge for m in made if _is_mini(config, m.judge)})
        made = [m for m in made if m.judge not in strangers]
        if not made:
            text = (
                f"The judges ({_listed(strangers)}) were trained on a synthetic world: what they "
                "say of real clips is no evidence."
            )
            return Answer(question, "Not known", [Sentence(text, sections)])
    words = [m.word for m in made]
    if "too few" in words:  # all are measured on the same clips
        text = f"There are fewer than {MIN_GROUPS} independent groups of clips to make from."
        return Answer(question, _SHORT_OF["too few"], [Sentence(text, sections)])
    some = "In part" if "better" in words else _SHORT_OF["unclear"]
    short = "Yes" if set(words) == {"better"} else some
    return Answer(question, short, [Sentence(_made(made), sections)])


def _made(made: Sequence[Made]) -> str:
    """What is recognised, between its floor and ceiling; and what is not."""
    parts = []
    if good := [m for m in made if m.word == "better"]:
        recognised = [
            f"{m.words}: {_hits(m.metric)} ({_range(m.metric)}; real clips "
            f"{share(m.metric['ceiling'])}, those of other classes {share(m.metric['floor'])})"
            for m in good
        ]
        parts.append(f"A judge recognises the class in {_listed(recognised)}")
    if rest := [f"{m.words} ({_hits(m.metric)})" for m in made if m.word != "better"]:
        parts.append(f"{_listed(rest)} are no better than the guess")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def is_the_data_clean(found: Mapping[str, Any], config: Mapping[str, Any]) -> Answer:
    """How much was kept, how right that is where the truth is known, and copies across splits."""
    steps, leak = found["funnel"].steps, found["split"].leak
    candidates, kept = steps[0].arriving, steps[-1].left
    text, sections = f"{count(kept)} of {count(candidates)} candidates are kept", ["funnel"]
    short = "Not known"
    for name, by in (("truth", "by the truth"), ("people", "by people's tags")):
        known = found.get(name)
        if known is None or not known.precision.n:
            continue
        p, r = known.precision, known.recall
        text += f"; {by}, {count(p.k)} of {count(p.n)} kept clips belong{_within(p.interval)}"
        text += f" and {count(r.k)} of {count(r.n)} that do are kept" if r.n else ""
        sections.append(name)
        short = "All that is kept belongs" if p.k == p.n else f"{share(p.value, 1)} of it belongs"
        break
    else:
        text += "; nobody has said which of them belong, so how right that is is not known"
    if not _synthetic(config) and (models := _mini_filters(config)):
        text += (
            f"; {_listed(models)} were trained on a synthetic world and judge real clips blindly"
        )
        short = "Not known"
    if leak:
        copies = len(leak.copies)
        text += f"; {count(copies) if copies else 'none'} of the {count(leak.n)} test clips"
        text += f" {'have copies' if copies > 1 else 'has a copy'} among the training clips"
        short = "No: test clips are copies" if copies else short
        sections.append("split")
    return Answer("Is the data clean?", short, [Sentence(f"{text}.", tuple(sections))])


def _level(config: Mapping[str, Any]) -> float:
    return 1 - float(config["evaluate"]["confidence"])


def _synthetic(config: Mapping[str, Any]) -> bool:
    return config["source"] == "barnyard"


def _is_mini(config: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.partition(".")
    return config[section][name]["backend"] == "mini"


def _mini_filters(config: Mapping[str, Any]) -> list[str]:
    """The scores that a filter which is on takes from a model of the synthetic world."""
    settings = Verdict.model_validate(config["verdict"])
    keys = {row.score for row in FILTERS if row.score and settings.is_on(row)}
    return sorted(key for key in keys if _is_mini(config, key))


def _above(value: Mapping[str, Any], level: float) -> bool:
    """Whether a difference is above zero by its interval and by its corrected test."""
    p = value["p_holm"]
    return p is not None and p < level and value["low"] is not None and value["low"] > 0


def _hits(metric: Mapping[str, Any]) -> str:
    """26 of 26; where clips count in parts, the share."""
    hits = metric["value"] * metric["n"]
    if abs(hits - round(hits)) < 1e-6:
        return f"{count(round(hits))} of {count(metric['n'])}"
    return f"{share(metric['value'])} of {count(metric['n'])}"


def _range(metric: Mapping[str, Any]) -> str:
    return f"{share(metric['low'])} to {share(metric['high'])}"


def _within(interval: tuple[float, float] | None) -> str:
    return f" ({share(interval[0])} to {share(interval[1])})" if interval else ""


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _listed(parts: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
