"""The data and the training of this run beside what the paper says of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nano4m_audio.modalities import KEYFRAMES
from nano4m_audio.report.inputs import ReportInputs

_TITLES = {
    "clips": "Clips in the dataset",
    "train": "Training clips",
    "val": "Validation clips",
    "test": "Test clips",
    "classes": "Classes",
    "audio_min": "Least sound score",
    "visual_min": "Least picture score",
    "speech_max": "Largest share of speech",
    "parameters": "Parameters",
    "steps": "Steps of training",
    "batch_size": "Samples a step",
    "lr": "Learning rate",
    "warmup_steps": "Steps of warm-up",
    "minutes": "Minutes of training",
}


@dataclass(frozen=True)
class Fact:
    """One number of both; None where this run has none."""

    title: str
    ours: float | None
    paper: float
    note: str


@dataclass(frozen=True)
class Decision:
    """A row of the paper's table of decisions: what it changed, and the loss before and after or
    what it says instead (``words``); ``chosen`` and ``value`` [nats/token] are this run's."""

    title: str
    change: str
    chosen: str
    metric: str = ""
    before: float | None = None
    after: float | None = None
    words: str = ""
    value: float | None = None


def decisions(
    inputs: ReportInputs, paper: Mapping[str, Any], losses: Mapping[str, float]
) -> list[Decision]:
    """The paper's decisions beside those of this run; ``losses``: cross-entropy by modality."""
    config, verdict = inputs.config, inputs.config["verdict"]
    settings = inputs.lead.facts.get("settings", {}) if inputs.lead else {}
    data, masking, model = (settings.get(name, {}) for name in ("data", "masking", "model"))
    decodable = sum(bool(clip.verdict["clip_key"]) for clip in inputs.clips)
    accepted = sum(clip.accepted for clip in inputs.clips)
    limits = [("sound", verdict["audio_min"]), ("picture", verdict["visual_min"])]
    named = [f"{what} {'off' if limit is None else f'from {limit:g}'}" for what, limit in limits]
    tokens = data.get("audio_tokens") or _audio_tokens(model)
    keyframes = masking.get("keyframes") or KEYFRAMES
    layers = [model.get(f"{part}coder_depth") for part in ("en", "de")]
    ours = {
        "rgb_tokenizer": (str(config["tokenize"]["rgb"]), losses.get("rgb")),
        "audio_window": (f"{tokens} tokens" if tokens else "", losses.get("audio")),
        "keyframes": (str(keyframes) if settings else "", None),
        "thresholds": (f"{', '.join(named)}: {accepted:,} of {decodable:,} clips kept", None),
        "model_size": (
            f"{layers[0]} + {layers[1]} layers, width {model['dim']}" if "dim" in model else "",
            None,
        ),
    }
    return [
        Decision(chosen=ours[name][0], value=ours[name][1], **row)
        for name, row in paper["decisions"].items()
    ]


def _audio_tokens(model: Mapping[str, Any]) -> int | None:
    """How many tokens of a sound the model takes."""
    return next(
        (row["max_tokens"] for row in model.get("modalities", ()) if row["name"] == "audio"), None
    )


def collect(inputs: ReportInputs, paper: Mapping[str, Any]) -> list[Fact]:
    """What the paper gives a number for, in order."""
    ours = {**_data(inputs), **_training(inputs)}
    return [
        Fact(_TITLES[name], ours.get(name), fact["value"], fact.get("note", ""))
        for name, fact in paper["facts"].items()
    ]


def _data(inputs: ReportInputs) -> dict[str, Any]:
    complete = [clip for clip in inputs.clips if clip.complete]
    verdict = inputs.config["verdict"]
    return {
        "clips": len(complete),
        "classes": len({clip.class_name for clip in complete}),
        **Counter(clip.split["split"] for clip in complete),
        **{name: verdict[name] for name in ("audio_min", "visual_min", "speech_max")},
    }


def _training(inputs: ReportInputs) -> dict[str, Any]:
    """Nothing of a run that has not finished."""
    if inputs.lead is None:
        return {}
    facts, timing = inputs.lead.facts, inputs.lead.timing
    optim = facts.get("settings", {}).get("optim", {})
    seconds = timing.get("elapsed_s")
    return {
        **{name: facts.get(name) for name in ("parameters", "steps")},
        **{name: optim.get(name) for name in ("batch_size", "lr", "warmup_steps")},
        "minutes": seconds and seconds / 60,
    }
