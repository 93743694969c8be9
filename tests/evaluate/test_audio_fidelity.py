"""What the audio tokenizer keeps: planted round trips, and a whole run through the mini models."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nano4m_audio.backends.compute import Compute
from nano4m_audio.evaluate import audio_fidelity
from nano4m_audio.evaluate.audio_fidelity import RoundTrips, fidelity_metrics, round_trips
from nano4m_audio.evaluate.beside import sound_keys
from nano4m_audio.evaluate.models import Models
from nano4m_audio.media import windows
from nano4m_audio.paths import Results
from tests.report.fake import Fate, write_results

NAMES = ("cat", "dog", "pig")


def inputs_of(n: int, models: Any = None, classes: Any = None, ids: Any = None) -> Any:
    chosen = SimpleNamespace(classes=[NAMES[i % 3] for i in range(n)], clip_ids=ids)
    return SimpleNamespace(
        groups=np.arange(n), confidence=0.95, bootstrap=200, seed=0, chosen=chosen, models=models,
        classes=classes or {}, decoded_clips=lambda most: np.arange(min(n, most)),
    )  # fmt: skip


def planted(n: int = 30, lost: int = 0) -> RoundTrips:
    """Round trips with a little noise; the class of ``lost`` of them becomes another one."""
    rng = np.random.default_rng(0)
    sounds = (0.1 * rng.standard_normal((n, 6000))).astype(np.float32)
    decoded = sounds + 0.01 * rng.standard_normal(sounds.shape).astype(np.float32)
    tags = np.eye(3, dtype=np.float32)[np.arange(n) % 3]
    after = np.where(np.arange(n)[:, None] < lost, np.roll(tags, 1, axis=1), tags)
    return RoundTrips(np.arange(n), sounds, decoded, 24_000, NAMES, tags, after)


def rows_of(inputs: Any, trips: RoundTrips) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in fidelity_metrics(inputs, trips)}


def test_planted_round_trips_are_measured():
    found = rows_of(inputs_of(30), planted(lost=6))
    assert found["si_sdr"]["value"] == pytest.approx(20, abs=0.3)
    assert found["mel_distance"]["value"] < found["mel_distance_other"]["value"]
    assert found["mel_distance"]["baseline"]["verdict"] == "better"
    assert found["class_kept"]["value"] == found["class_named"]["value"] == pytest.approx(24 / 30)
    assert found["class_named_original"]["value"] == 1
    assert (found["class_kept"]["n"], found["class_kept"]["chance"]) == (30, pytest.approx(1 / 3))
    assert all(row["low"] <= row["value"] <= row["high"] for row in found.values())


def test_silence_has_no_si_sdr_and_no_tagger_no_classes():
    trips = planted()
    trips.sounds[:5] = 0
    found = rows_of(inputs_of(30), trips)
    assert found["si_sdr"]["n"] == 25 and found["mel_distance"]["n"] == 30
    trips.sounds[:] = 0
    none = np.zeros((30, 0), np.float32)
    bare = RoundTrips(trips.clips, trips.sounds, trips.decoded, 24_000, (), none, none)
    assert set(rows_of(inputs_of(30), bare)) == {"mel_distance", "mel_distance_other"}


@pytest.mark.parametrize("n", [1, 5])
def test_a_single_group_has_no_other_clips(n):
    inputs = inputs_of(n)
    inputs.groups = np.zeros(n, np.int64)
    found = rows_of(inputs, planted(n))
    assert {"mel_distance", "class_kept", "class_named"} <= set(found)
    assert not any(name.endswith("_other") for name in found)
    assert not any("baseline" in row for row in found.values())


def test_other_clips_are_of_other_groups():
    groups = np.array([0, 0, 1, 1, 1, 2])
    other = audio_fidelity._others(groups)
    assert (groups[other] != groups).all()
    assert audio_fidelity._others(np.zeros(4, int)).tolist() == [-1] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Results:
    fates = [Fate("pig", split="test") for _ in range(11)]
    return Results(write_results(tmp_path_factory.mktemp("run"), fates, heavy=True).results)


def test_stored_sounds_make_a_round_trip(folder, monkeypatch):
    ids = [f"clip{i:04d}" for i in range(11)]
    models = Models(folder, {"tokenize.audio": "mini", "score.audio": "mini"}, Compute())
    inputs = inputs_of(11, models, {"pig": {}, "cat": {}, "unheard of": {}}, ids)
    trips = round_trips(inputs)
    assert trips is not None and sorted(trips.clips.tolist()) == list(range(11))
    samples = windows.window_samples(trips.rate_hz)
    assert trips.sounds.shape == trips.decoded.shape == (11, samples)
    assert trips.names == ("pig", "cat") and trips.tags.shape == (11, 2)
    assert rows_of(inputs, trips)["mel_distance"]["n"] == 11
    monkeypatch.setattr(audio_fidelity, "MOST_CLIPS", 3)
    few = round_trips(inputs)
    assert few is not None and len(few.clips) == 3


def test_without_stored_sounds_there_is_nothing_to_measure(folder, tmp_path):
    ids = ["clip0000"]
    empty = Models(Results(tmp_path), {"tokenize.audio": "mini"}, Compute())
    assert sound_keys(Results(tmp_path), ids) is None
    assert round_trips(inputs_of(1, empty, ids=ids)) is None
    assert round_trips(inputs_of(1, Models(folder, {}, Compute()), ids=ids)) is None
    nowhere = Models(folder, {"tokenize.audio": "mini"}, Compute())
    assert round_trips(inputs_of(1, nowhere, ids=["nowhere"])) is None
