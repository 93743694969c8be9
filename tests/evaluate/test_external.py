"""Judges of what a model makes: planted makers reach the ceiling, the floor, and nothing else."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks import random_weights
from nano4m_audio.backends import registry
from nano4m_audio.barnyard.voices import phrase
from nano4m_audio.config.schema import EvaluateSettings
from nano4m_audio.evaluate import external
from nano4m_audio.evaluate.distances import noise_like, reference_clips
from nano4m_audio.evaluate.judges import blind, class_ranks, others
from nano4m_audio.evaluate.loudness import between, levels_of, within
from nano4m_audio.evaluate.stage import evaluate_run
from nano4m_audio.media import windows
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.taxonomy import known_classes
from nano4m_audio.tokenize.interleave import interleave
from nano4m_audio.training.stage import train_run
from tests.tokens import CLASSES, MODALITIES, number_of, write_tokens

N = 12
SETTINGS = {
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
SOUND = {"score.audio": "mini", "tokenize.audio": "mini", "evaluate.audio_embedder": "mini"}


def class_of(clip: str) -> str:
    return CLASSES[number_of(clip) % len(CLASSES)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps on real tokens of the barnyard's voices, as loud as they come."""
    folder = tmp_path_factory.mktemp("run")
    clips = [f"clip{i:02d}" for i in range(N)] + [f"train{i:02d}" for i in range(N)]
    splits = {clip: "test" if clip.startswith("clip") else "train" for clip in clips}
    sounds = np.stack(
        [phrase(class_of(c), np.random.default_rng(number_of(c)), 4.0)[0][:109_227] for c in clips]
    )
    codec = registry.load("audio_tokenizer", "mini")
    ids = interleave(codec.encode(windows.resample(sounds, codec.sample_rate_hz)), 1024)
    planted: dict[tuple[str, str], Any] = {
        ("audio", c): {"tokens": [row.tolist()]} for c, row in zip(clips, ids, strict=True)
    }
    for c in clips:
        planted["caption", c] = {"tokens": [50_258, CLASSES.index(class_of(c)), 50_259]}
    write_tokens(folder, splits, changed=planted)
    train_run(Results(folder), "base", TrainSettings.model_validate(SETTINGS), progress=False)
    return folder


def evaluate(folder, backends: dict[str, str], decoded: int = 1000) -> dict[str, Any]:
    results = Results(folder)
    classes = {
        name: known_classes()[name].model_dump(mode="json", exclude_none=True) for name in CLASSES
    }
    settings = EvaluateSettings(bootstrap=100, decoded=decoded, backends=backends, classes=classes)
    evaluate_run(results, "base", settings, probes=["external"])
    found = json.loads(results.probe("base", "external").read_text())
    return {**found, "by_name": {row["name"]: row for row in found["metrics"]}}


def made_by(run, monkeypatch, choose, decoded: int = 1000) -> dict[str, Any]:
    """What is found when the model makes, for every clip, the own tokens of ``choose(clip)``."""
    shutil.rmtree(run / "store/evaluate", ignore_errors=True)

    def tokens(cast, source, target):
        clips = np.array([choose(int(clip), cast) for clip in cast.clips])
        return external.own_tokens(cast.inputs, cast.inputs.data, target, clips)

    with monkeypatch.context() as patched:
        patched.setattr(external, "made_tokens", tokens)
        found = evaluate(run, SOUND, decoded)
    shutil.rmtree(run / "store/evaluate")
    return found


@pytest.mark.slow
def test_a_model_that_makes_the_truth_is_as_good_as_real(run, monkeypatch):
    rows = made_by(run, monkeypatch, lambda clip, cast: clip)["by_name"]
    real, other = rows["real_audio_tag_top1"], rows["other_audio_tag_top1"]
    assert real["value"] >= 0.9 and real["low"] > 0.6 and other["value"] <= 0.1
    for source in ("caption", "rgb"):
        own = rows[f"{source}_to_audio_tag_top1"]
        assert own["value"] == own["ceiling"] == real["value"] and own["floor"] == other["value"]
        assert own["baseline"]["verdict"] == "better"
        distance = rows[f"kad_{source}_to_audio"]
        assert distance["value"] == rows["kad_real"]["value"]
        assert distance["baseline"]["gain"] == 0 and distance["baseline"]["p"] == 1
        assert distance["baseline"]["verdict"] == "unclear"
        assert distance["low"] < 0 < distance["high"] < distance["chance"]
        assert rows[f"fad_above_real_{source}_to_audio"]["value"] == 0
    for name in ("level_within", "level_between"):
        assert rows[f"{name}_caption_to_audio"]["value"] == rows[f"{name}_real_audio"]["value"]
    # Twelve sounds are too few for an absolute distance.
    assert not any(name.startswith(("fad_real", "fad_caption")) for name in rows)


@pytest.mark.slow
def test_a_model_that_always_makes_one_sound_is_found_out(run, monkeypatch):
    found = made_by(run, monkeypatch, lambda clip, cast: 0)
    rows, per_class = found["by_name"], {row["class"]: row for row in found["per_class"]}
    hits = {name: row["caption_to_audio_tag_top1"] for name, row in per_class.items()}
    only = class_of("clip00")
    assert hits == {name: per_class[name]["n"] * (name == only) for name in CLASSES}
    assert rows["caption_to_audio_tag_top1"]["value"] == per_class[only]["n"] / N
    assert rows["level_within_caption_to_audio"]["value"] == pytest.approx(0, abs=1e-6)
    assert rows["level_within_real_audio"]["value"] > 0.1
    distance = rows["kad_caption_to_audio"]
    assert distance["value"] > 10 and distance["baseline"]["verdict"] == "worse"
    assert rows["fad_above_real_caption_to_audio"]["value"] > 0


@pytest.mark.slow
def test_a_model_of_other_classes_has_no_hit_and_a_bound(run, monkeypatch):
    def wrong(clip, cast):
        return int(np.flatnonzero(cast.true != cast.true[clip])[0])

    row = made_by(run, monkeypatch, wrong)["by_name"]["rgb_to_audio_tag_top1"]
    assert row["value"] == 0 == row["low"] and 0.1 < row["high"] < 0.4
    assert (row["n"], row["groups"], row["chance"]) == (N, N, pytest.approx(1 / 3))


@pytest.mark.slow
def test_an_untrained_model_is_no_better_than_real_clips_of_other_classes(run):
    found = evaluate(run, {**SOUND, "score.visual": "mini", "tokenize.rgb": "mini"})
    rows = found["by_name"]
    assert rows["caption_to_audio_tag_top1"]["value"] < rows["real_audio_tag_top1"]["value"]
    assert rows["kad_caption_to_audio"]["baseline"]["verdict"] == "worse"
    assert {"caption_to_rgb_prompt_top1", "audio_to_rgb_prompt_top3"} < set(rows)
    assert set(found["left_out"]) == {"evaluate.image_classifier"}
    facts = found["distances"]
    assert (facts["n"], facts["n_reference"], facts["dimensions"]) == (N, N, 768)
    assert facts["embedder"].startswith("mini:")
    assert facts["absolute_fad"] == "too few: 12 of 100 clips"


@pytest.mark.slow
def test_without_backends_nothing_is_said_and_why(run):
    found = evaluate(run, {})
    assert found["metrics"] == [] and set(found["left_out"]) == {"tokenize.audio", "tokenize.rgb"}


@pytest.mark.slow
def test_one_clip_is_judged_without_intervals_or_distances(run, monkeypatch):
    found = made_by(run, monkeypatch, lambda clip, cast: clip, decoded=1)
    row = found["by_name"]["caption_to_audio_tag_top1"]
    assert (row["n"], row["groups"], row["low"], row["floor"]) == (1, 1, None, None)
    assert "two or more" in found["distances"]["left_out"]
    assert not any(name.startswith(("kad", "fad", "level")) for name in found["by_name"])


@pytest.mark.slow
def test_published_networks_are_reached_by_the_config(run, tmp_path, monkeypatch):
    wanted = {"resnet50_imagenet": random_weights.resnet50, "clap_laion": random_weights.clap}
    for weights_id, write in wanted.items():
        place = tmp_path / "weights" / weights_id
        place.mkdir(parents=True)
        write(place)
    names = {i: [p.name for p in (tmp_path / "weights" / i).iterdir()] for i in wanted}
    entries = {i: {"files": [{"name": n} for n in files]} for i, files in names.items()}
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(entries))
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(tmp_path))
    backends = {
        "tokenize.audio": "mini", "tokenize.rgb": "mini",
        "evaluate.audio_embedder": "clap", "evaluate.image_classifier": "resnet50",
    }  # fmt: skip
    found = evaluate(run, backends, decoded=10)
    rows = found["by_name"]
    assert found["distances"]["dimensions"] == 512 and "kad_real" in rows
    row = rows["caption_to_rgb_imagenet_top5"]
    sizes = [len(known_classes()[class_of(f"clip{i:02d}")].imagenet) for i in found_clips(10)]
    assert row["n"] == 10 and row["chance"] == pytest.approx(blind(sizes, 1000, 5).mean())
    assert "imagenet" in row["note"].lower()


def found_clips(count: int) -> list[int]:
    return windows.spread(N, count)


def test_no_clip_is_decoded_where_none_may_be(run):
    assert evaluate(run, SOUND, decoded=0)["metrics"] == []


def test_ties_count_against():
    scores = np.array([[0.2, 0.9, 0.2], [0.0, 0.0, 0.0]])
    assert class_ranks(scores).tolist() == [[3, 1, 3], [3, 3, 3]]


def test_blind_guesses_are_counted_out():
    for own, k in itertools.product((0, 1, 3), (1, 2, 5)):
        draws = list(itertools.combinations(range(7), k))
        assert blind([own], 7, k)[0] == pytest.approx(np.mean([min(draw) < own for draw in draws]))
    assert blind([118, 1], 1000, 5) == pytest.approx([0.4667, 0.005], abs=1e-3)


def test_the_floor_is_what_is_said_of_other_classes():
    real = np.array([[1, 0], [1, 1], [0, 1], [0, 1]], bool)  # hits of two classes
    assert others(real, np.array([0, 0, 1, 1])) == pytest.approx([0, 0, 0.5, 0.5])
    assert others(real, np.zeros(4, int)) is None


def test_levels_and_how_they_spread():
    tone = np.sin(np.arange(24_000) / 5)
    sounds = np.stack([tone, tone / 10, 0 * tone]).astype(np.float32)
    assert levels_of(sounds) == pytest.approx([-3.01, -23.01, -60], abs=0.02)
    levels, true = np.array([-20.0, -22, -30, -34, -10]), np.array([0, 0, 1, 1, 3])
    assert within(levels, true) == pytest.approx(np.sqrt((2 * 1 + 2 * 4) / 2))
    assert between(levels, true) == pytest.approx(np.std([-21, -32, -10], ddof=1))
    assert np.isnan(within(np.array([-1.0, -2]), np.array([0, 1])))
    assert np.isnan(between(np.array([-1.0, -2]), np.array([1, 1])))


def test_noise_is_as_loud_and_references_do_not_repeat():
    rng = np.random.default_rng(0)
    sounds = (rng.standard_normal((3, 24_000)) * [[0.2], [0.01], [0]]).astype(np.float32)
    assert levels_of(noise_like(sounds, 0)) == pytest.approx(levels_of(sounds), abs=0.2)
    for n, of in ((5, 20), (20, 5)):
        drawn = reference_clips(n, of, 3)
        assert len(set(drawn.tolist())) == min(n, of) == len(drawn) and drawn.max() < of


def test_an_id_of_the_other_codebook_is_read_where_it_stands():
    codec = registry.load("audio_tokenizer", "mini")
    right = np.random.default_rng(0).integers(0, 1024, (1, 512))
    right[:, 1::2] += 1024
    wrong = np.where(np.arange(512) < 128, (right + 1024) % 2048, right)
    assert external.misplaced(codec, right) == 0 and external.misplaced(codec, wrong) == 0.25
    assert (external.waveforms(codec, wrong) == external.waveforms(codec, right)).all()
