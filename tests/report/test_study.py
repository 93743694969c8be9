"""The study says what the runs say: planted answers are found, what is not shown is not said."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from nano4m_audio.config.reading import load_config, parse, parse_workflow
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import train_settings
from nano4m_audio.files import read_json, write_json
from nano4m_audio.paths import Results
from nano4m_audio.report.study import Estimate, crossing, estimate, write_study
from tests.conftest import ROOT

CLIPS, SEEDS, MARGINAL = 40, 3, 5.0
CONFIG = {
    "source": "barnyard",
    "experiments": {"base": {}, "helps": {"optim": {"lr": 0.01}}, "hurts": {"optim": {"lr": 0.02}}},
    "grids": {
        f"{name}_more": {"base": name, "vary": {"optim.seed": [1, 2]}}
        for name in ("base", "helps", "hurts")
    },
    "study": {"levers": {"helps": "a lever", "hurts": "<b> | another"}},
    "evaluate": {"bootstrap": 200},
}


def metric(name: str, values: np.ndarray, unit: str, **more: Any) -> dict[str, Any]:
    shown = dict.fromkeys(("low", "high")) | {"n": CLIPS, "groups": CLIPS, "note": ""}
    value, by_clip = float(values.mean()), values.tolist()
    return {**shown, "chance": None, "name": name, "value": value, "unit": unit,
            "by_clip": by_clip, **more}  # fmt: skip


def write_run(
    results: Results, config: Config, name: str, hears: float, loss: float, gain: float = 0.0
) -> None:
    """Sound is named right in a share ``hears``, and costs ``loss`` nats a token under the run's
    masks; ``gain`` makes sound from pictures cheaper."""
    settings = config.experiments[name].model_dump(mode="json")
    settings["model"]["modalities"] = [{"name": "rgb"}, {"name": "audio"}]
    rng = np.random.default_rng([settings["optim"]["seed"], len(name)])
    noise = rng.normal(0, 0.003, CLIPS)
    right = (np.arange(CLIPS) < hears * CLIPS).astype(float)
    facts = {"settings": settings, "parameters": 9, "steps": 8, "clips": {"train": 7}}
    write_json(results.run(name) / "run.json", facts)
    marginal = {"target": "audio", "codebook": None, "unigram": 1.0, "per_codebook": MARGINAL}
    named = {"chance": 0.1, "baseline": {"name": "frequency_top1", "value": 0.12}}
    frequency = metric("frequency_top1", right * 0 + 0.12, "accuracy")
    per_probe: dict[str, dict[str, Any]] = {
        "classes": {"metrics": [metric("audio_top1", right, "accuracy", **named), frequency]},
        "cross_entropy": {"metrics": [metric("audio", loss + noise, "nats/token")],
                          "baselines": [marginal]},
        "gain": {"metrics": [metric("rgb_to_audio", 5 - gain + noise, "nats/token")]},
    }  # fmt: skip
    for probe, content in per_probe.items():
        head = {"probe": probe, "split": "test", "clips": CLIPS, "groups": list(range(CLIPS)),
                "clip_ids": [f"clip{i:02d}" for i in range(CLIPS)]}  # fmt: skip
        write_json(results.probe(name, probe), {**head, **content})


def study(tmp_path, hears: float, loss: float, seeds: int = SEEDS) -> str:
    results, config = Results(tmp_path), parse(Config, CONFIG, "test")
    kept = {n: e for n, e in config.experiments.items() if e.optim.seed < seeds}
    config = config.model_copy(update={"experiments": kept})
    for name in kept:
        write_run(results, config, name, hears, loss, 0.3 * ("helps" in name) - ("hurts" in name))
    write_study(results, config)
    return results.study.read_text()


@pytest.mark.parametrize(
    ("hears", "loss", "answer"),
    [
        (0.9, 4.95, "**Yes: the class is told from the sound, and sound itself is hardly"),
        (0.9, 4.0, "**No: the class is told from the sound, and sound itself is predicted, too."),
        (0.1, 4.95, "**No: it is not shown that the class can be told from the sound at all."),
    ],
)
def test_the_answer_is_that_of_the_first_arm(tmp_path, hears, loss, answer):
    text = study(tmp_path, hears, loss)
    assert answer in text and "5.000 nats" in text
    assert "From one picture\nalone the share is -0.00" in text or "alone the share is 0.00" in text
    assert "): hardly anything.\n" in text


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-0.3, -0.1, "does worse than counts"), (0.06, 0.2, "the picture helps"),
     (-0.1, 0.04, "hardly anything"), (0.01, 0.2, "undecided"), (None, None, "")],
)  # fmt: skip
def test_what_a_picture_saves_is_said_by_its_interval(low, high, words):
    found = crossing(Estimate(0.1, [], low, high))
    assert words in found and bool(words) == bool(found)


def test_levers_that_help_and_hurt_are_told_apart_with_what_changes_nothing(tmp_path):
    text = study(tmp_path, 0.9, 4.95)
    helps, hurts = (line for line in text.splitlines() if line.startswith("- **h"))
    assert helps.startswith("- **helps** (a lever): class named from the sound: no difference")
    assert "cross-entropy of sound from a picture: better, gain +0.3" in helps
    assert "cross-entropy of sound from a picture: worse, gain -0.99" in hurts
    assert text.count("- base: seeds 0, 1, 2;") == 1 and "evaluations of 9 runs" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {row.count("|") for row in rows} == {7}


def test_one_seed_is_no_verdict(tmp_path):
    text = study(tmp_path, 0.9, 4.95, seeds=1)
    assert "With one seed there is no interval" in text
    assert text.count("nothing can be said with fewer than two seeds in common") == 4
    assert "better, gain" not in text and "worse, gain" not in text


def test_intervals_over_seeds_are_those_of_t():
    found = estimate([1.0, 2.0, 3.0], 0.95)
    assert (found.low, found.high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert estimate([1.0], 0.95).low is None


def test_the_study_of_the_barnyard_is_a_base_and_levers_with_the_same_seeds():
    config = load_config(ROOT / "configs/study.yaml", demo=ROOT / "config.yaml")
    arms = ["base", *config.study.levers]
    seeds = sorted((e.optim.seed, n.partition("_more")[0]) for n, e in config.experiments.items())
    assert seeds == sorted(itertools.product((0, 1, 2), arms))
    for name in arms:
        found = [m.name for m in train_settings(config, name).model.modalities]
        assert ("semantic" in found) == (name == "semantic") and len(found) == 5 + (
            name == "semantic"
        )


def test_a_lever_that_is_no_experiment_is_one_line():
    with pytest.raises(UserError, match=r"study\.levers: 'bas' is not in experiments, did you"):
        parse_workflow({"study": {"levers": {"bas": ""}}})
    with pytest.raises(UserError, match=r"data\.modalities: the run has no semantic"):
        config = parse_workflow({"experiments": {"base": {"data": {"modalities": ["semantic"]}}}})
        train_settings(config, "base")


def test_an_arm_without_captions_has_no_answer(tmp_path):
    study(tmp_path, 0.9, 4.0)
    results, config = Results(tmp_path), parse(Config, CONFIG, "test")
    for name in config.experiments:
        path = results.probe(name, "classes")
        write_json(path, {**read_json(path, ""), "metrics": [], "note": "Not measured."})
    write_study(results, config)
    text = results.study.read_text()
    assert "**No answer: the first arm has no captions or no sound.**\n\n## Levers" in text
    assert "audio_top1" not in text and "### Cross-entropy of sound" in text


def test_the_study_that_is_documented_is_the_one_of_the_config():
    config = load_config(ROOT / "configs/study.yaml", demo=ROOT / "config.yaml")
    text = (ROOT / "docs/STUDY.md").read_text()
    assert all(f"- **{arm}** ({words}): " in text for arm, words in config.study.levers.items())
    assert f"the evaluations of {len(config.experiments)} runs" in text
    assert f"world {config.barnyard.seed} of {config.barnyard.clips} clips" in text
