"""The data and the training of this run beside what the paper says of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
