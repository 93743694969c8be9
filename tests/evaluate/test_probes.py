"""The probes of a finished run: every clip counts, and verdicts follow from paired differences."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from math import log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nano4m_audio.backends.compute import Compute
from nano4m_audio.cli.interchange import show_metrics
from nano4m_audio.config.schema import EvaluateSettings
from nano4m_audio.errors import UserError
from nano4m_audio.evaluate import linear
from nano4m_audio.evaluate.common import ACCURACY, NATS, Measured, metric
from nano4m_audio.evaluate.linear import Guess
from nano4m_audio.evaluate.stage import evaluate_run
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.probes import PROBES as ALL_PROBES
from nano4m_audio.training.stage import train_run
from tests.tokens import MODALITIES, number_of, write_tokens

TEST_CLIPS, VIDEOS, TRAIN_CLIPS = 24, 12, 12
OPTIONS = EvaluateSettings(bootstrap=100, keyframes=2)
#: Judges need sounds and pictures: test_external.py.
PROBES = [probe for probe in ALL_PROBES if probe != "external"]
SETTINGS: dict[str, Any] = {
    "model": {
        "modalities": [asdict(m) for m in MODALITIES],
        "dim": 32, "encoder_depth": 1, "decoder_depth": 1, "head_dim": 32,
    },
    "masking": {
        "input_tokens": [64, 64], "target_tokens": [64, 64],
        "input_alpha": 0.2, "target_alpha": 0.2,
    },
    "optim": {"steps": 2, "batch_size": 4, "warmup_steps": 1},
    "numerics": {"threads": 1},
}  # fmt: skip


def planted_audio(clip: str) -> list[list[int]]:
    """Two codebooks of disjoint ids, 32 and 16 of them, all equally often in every clip."""
    rng = np.random.default_rng(number_of(clip))
    first, second = (
        rng.permutation(np.arange(256) % 32),
        1024 + rng.permutation(np.arange(256) % 16),
    )
    return [np.stack([first, second], axis=1).ravel().tolist()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps; the test clips are pairs of cuts of twelve videos."""
    folder = tmp_path_factory.mktemp("run")
    splits = {f"clip{i:02d}": "test" for i in range(TEST_CLIPS)}
    splits |= {f"train{i:02d}": "train" for i in range(TRAIN_CLIPS)}
    videos = {f"clip{i:02d}": f"video{i % VIDEOS}" for i in range(TEST_CLIPS)}
    planted: dict[tuple[str, str], Any] = {
        ("audio", clip): {"tokens": planted_audio(clip)} for clip in splits
    }
    planted |= {
        ("caption", c): {"tokens": [50_258, 7 + i % 4, 50_259]} for i, c in enumerate(splits)
    }
    files = write_tokens(folder, splits, videos=videos, changed=planted)
    train_run(Results(folder), "base", TrainSettings.model_validate(SETTINGS), progress=False)
    return folder, files


def evaluate(run, probe: str, compute: Compute = Compute()):
    results = Results(run[0])
    evaluate_run(results, "base", OPTIONS, compute, [probe])
    return json.loads(results.probe("base", probe).read_text())


def who_counts(probe: str, name: str) -> tuple[int, int]:
    """The clips and groups of a metric: training clips where it is about these."""
    if probe == "memorisation" and "_test" not in name:
        both = "_gap" in name
        return TRAIN_CLIPS + both * TEST_CLIPS, TRAIN_CLIPS + both * VIDEOS
    return TEST_CLIPS, VIDEOS


@pytest.mark.parametrize("probe", PROBES)
def test_every_clip_counts_in_every_metric(run, probe):
    found = evaluate(run, probe)
    if probe == "audio_fidelity":  # it needs sounds, and these clips have tokens only
        assert found["metrics"] == []
        return
    assert len(found["metrics"]) >= 4
    compared = {row["baseline"]["name"] for row in found["metrics"] if "baseline" in row}
    for row in found["metrics"]:
        assert (row["n"], row["groups"]) == who_counts(probe, row["name"]), row["name"]
        is_difference = probe == "gain" and row["name"].endswith("_information")
        assert row["low"] <= row["value"] <= row["high"], row["name"]
        all_alike = row["name"].startswith("caption") or is_difference
        assert row["low"] < row["high"] or all_alike, row["name"]
        assert ("baseline" in row) == (row["name"] not in compared and not is_difference)
        if "by_clip" in row:
            parts = [part for part in row["by_clip"] if part is not None]
            assert np.mean(parts) == pytest.approx(row["value"], abs=1e-5), row["name"]


@pytest.mark.parametrize(
    ("names", "probe", "metrics", "note"),
    [
        (["rgb", "audio", "caption"], "structure", [], "the run has no depth or normals."),
        (["rgb", "audio", "depth"], "structure", ["rgb_to_depth"], ""),
        (["rgb", "audio"], "classes", [], "the run has no caption."),
        (["audio", "caption"], "classes", ["audio_top1"], ""),
        (["audio", "caption"], "memorisation", ["audio_gap"], ""),
        (["depth", "caption"], "memorisation", [], "the run has no audio or rgb."),
        (["audio", "caption"], "leak", ["class", "audio_rest"], ""),
        (["rgb", "audio"], "leak", ["audio_rest", "rgb_rest"], ""),
        (["depth"], "external", [], "the run has no caption, no audio or rgb."),
    ],
)
def test_a_run_with_few_modalities_is_asked_what_it_can_be_asked(run, names, probe, metrics, note):
    results, experiment = Results(run[0]), "_".join(names)
    sizes = {**SETTINGS["model"], "modalities": [asdict(m) for m in MODALITIES if m.name in names]}
    if not (results.run(experiment) / "run.json").exists():
        settings = TrainSettings.model_validate({**SETTINGS, "model": sizes})
        train_run(results, experiment, settings, progress=False)
    evaluate_run(results, experiment, OPTIONS, probes=[probe])
    found = json.loads(results.probe(experiment, probe).read_text())
    assert {row["name"] for row in found["metrics"]} >= set(metrics)
    assert bool(found["metrics"]) == bool(metrics)
    assert found.get("note", "") == (f"Not measured: {note}" if note else "")
    show_metrics(results, experiment, [probe])


def test_the_baselines_know_codebooks_and_positions(run):
    found = evaluate(run, "cross_entropy")
    values = {row["name"]: row["value"] for row in found["metrics"]}
    counts = {row["target"]: row for row in found["baselines"] if row["codebook"] is None}
    wanted = (log(32) + log(16)) / 2
    assert counts["audio"]["unigram"] == pytest.approx(wanted, abs=0.02)
    assert counts["audio"]["pooled"] == pytest.approx(wanted + log(2), abs=0.03)
    # Nothing is random but the middle of the caption; pooled even that mean is above 1.5.
    assert counts["caption"]["unigram"] < log(4)
    # The model has learnt nothing yet: every token costs the log of all ids.
    assert values["audio"] == pytest.approx(log(2048), abs=0.05)


@pytest.mark.slow
def test_where_it_is_computed_changes_no_key_and_no_more_than_rounding(run):
    for probe in PROBES:
        shutil.rmtree(run[0] / "store/evaluate", ignore_errors=True)
        one = evaluate(run, probe)
        shutil.rmtree(run[0] / "store/evaluate")
        two = evaluate(run, probe, Compute("auto", threads=2))
        assert one["key"] == two["key"]
        for a, b in zip(one["metrics"], two["metrics"], strict=True):
            assert a["value"] == pytest.approx(b["value"], abs=1e-4), a["name"]


def test_a_device_that_is_not_there_is_one_line(run):
    shutil.rmtree(run[0] / "store/evaluate", ignore_errors=True)
    with pytest.raises(UserError, match=r"^device 'mps' cannot be used: .*$"):
        evaluate(run, "structure", Compute("mps"))


def test_without_training_clips_there_are_no_baselines(run, tmp_path):
    write_tokens(tmp_path, {f"clip{i}": "test" for i in range(3)})
    shutil.copytree(run[0] / "runs/base", tmp_path / "runs/base")
    with pytest.raises(UserError, match=r"no training clips .* only test \(3 clips\)"):
        evaluate_run(Results(tmp_path), "base", OPTIONS)


def inputs(n: int = 26, per_group: int = 1):
    groups = np.arange(n) // per_group
    return SimpleNamespace(groups=groups, confidence=0.95, bootstrap=200, seed=0)


def compared(own, other, unit=NATS, chance=None, clips=None):
    own, other = np.asarray(own, float), np.asarray(other, float)
    ones = np.ones(len(own), int)
    row = metric(
        Measured("own", own, ones, ""),
        clips or inputs(len(own)),
        unit=unit,
        chance=chance,
        baseline=Measured("other", other, ones, ""),
    )
    return row["baseline"]


def test_the_mean_over_clips_is_the_value_however_much_each_weighs():
    weighed = Measured("own", np.array([2.0, 0.0, 9.0, 0.5]), np.array([2.0, 0, 3, 0.5]), "")
    row = metric(weighed, inputs(4), unit="dB", chance=None)
    parts = [part for part in row["by_clip"] if part is not None]
    assert row["value"] == pytest.approx(11.5 / 5.5) == pytest.approx(np.mean(parts), abs=1e-6)
    assert row["by_clip"][1] is None and row["n"] == 3
    alike = Measured("own", np.array([2.0, 0.0, 9.0]), np.array([4, 4, 4]), "")
    assert metric(alike, inputs(3), unit="dB", chance=None)["by_clip"] == [0.5, 0, 2.25]


def test_the_mean_over_clips_is_balanced_accuracy():
    true, guess = np.array([0] * 9 + [1] * 3), Guess(np.zeros(12, np.int64), 1.0, 1)
    _, balanced = linear._measured("audio", guess, true)
    row = metric(balanced, inputs(12), unit=ACCURACY, chance=None)
    assert row["value"] == pytest.approx(0.5) == pytest.approx(np.mean(row["by_clip"]), abs=1e-5)


def test_verdicts_are_paired():
    rng = np.random.default_rng(0)
    hard = rng.normal(5, 1, 26)
    near = rng.normal(0, 0.05, 26)
    worse = compared(hard + 0.2 + near, hard)
    assert worse["verdict"] == "worse" and worse["gain"] == pytest.approx(-0.2, abs=0.05)
    assert worse["low"] < worse["gain"] < worse["high"] < 0
    assert compared(hard - 0.2 + near, hard, chance=9.0)["verdict"] == "better"
    assert compared(hard + near, hard)["verdict"] == "unclear"
    assert compared(hard[:8] + 1, hard[:8])["verdict"] == "too few"
    clips = inputs(26, per_group=4)
    assert compared(hard + 1, hard, clips=clips)["verdict"] == "too few"


def test_guessing_is_beaten_only_where_the_frequent_classes_are():
    clips = np.arange(40)
    frequent = clips < 24  # the most frequent class is 60 % of the clips
    often = compared(clips < 26, frequent, ACCURACY, chance=1 / 11)
    assert often["verdict"] == "unclear"  # 65 %, far above chance, by saying one class
    assert compared(clips < 39, frequent, ACCURACY, chance=1 / 11)["verdict"] == "better"
    assert compared(clips < 10, frequent, ACCURACY, chance=1 / 11)["verdict"] == "worse"
    # A baseline without luck is no proof: 30 % against 0 %, where blind draws reach 27 %.
    lucky = compared(clips < 12, clips < 0, ACCURACY, chance=3 / 11)
    assert lucky["p"] < 0.05 and lucky["verdict"] == "chance"


def test_equal_gains_of_all_clips_have_no_interval():
    row = compared(np.ones(26), np.zeros(26), ACCURACY, chance=0.1)
    assert row["verdict"] == "better" and row["gain"] == 1 and row["low"] is row["high"] is None
