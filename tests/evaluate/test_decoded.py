"""Predicted tokens as maps: errors of known maps, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.evaluate import decoded
from nano4m_audio.evaluate.beside import map_keys
from nano4m_audio.evaluate.decoded import angular_errors, decoded_metrics, depth_errors
from nano4m_audio.evaluate.models import Models
from nano4m_audio.media import windows
from nano4m_audio.modalities import KEYFRAMES
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import Results
from nano4m_audio.tokenize.keyframes import list_clips, read_all
from tests.report.fake import Fate, write_results

DEPTH = Modality("depth", 1024, 196)
FRAMES = np.array([2, 7])


def depth_maps(n: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 1, 12, 10))


@given(st.floats(0.1, 30), st.floats(-20, 20), st.integers(0, 99))
def test_relative_depth_has_no_unit_and_no_zero(scale, shift, seed):
    true, maps = depth_maps(seed=seed), depth_maps(seed=seed + 100)
    assert depth_errors(scale * true + shift, true) == pytest.approx([0, 0, 0], abs=1e-9)
    errors = depth_errors(maps, true)
    assert (errors > 0.05).all()
    assert depth_errors(scale * maps + shift, true) == pytest.approx(errors)
    assert depth_errors(maps, scale * true + shift) == pytest.approx(errors)


def test_depth_errors_of_known_maps():
    # True values 0, 1/4, 1/2, 1 (sum 7/4): a flat map is their mean 7/16 everywhere.
    true = np.array([0.0, 1, 2, 4]).reshape(1, 1, 2, 2)
    flat = (7 / 16 + 3 / 16 + 1 / 16 + 9 / 16) / (7 / 4)
    assert depth_errors(np.ones((1, 1, 2, 2)), true) == pytest.approx([flat])
    assert depth_errors(-true, true) == pytest.approx([flat])  # upside down is worth no more
    # One inner pixel wrong by a known amount, at right angles to true depth and shift.
    wrong = np.array([3.0, -2, -2, 1]).reshape(1, 1, 2, 2)
    wrong -= (
        (wrong * (true - true.mean())).sum()
        / ((true - true.mean()) ** 2).sum()
        * (true - true.mean())
    )
    assert 0 < depth_errors(true + 0.1 * wrong, true)[0] < depth_errors(true + wrong, true)[0]
    assert np.isnan(depth_errors(true, np.full_like(true, 0.3))).all()


@given(st.floats(0, 180), st.floats(0.1, 10))
def test_angles_between_normals(angle, length):
    turn = np.radians(angle)
    true = np.zeros((2, 3, 4, 5))
    true[:, 2] = -1
    maps = np.zeros_like(true)
    maps[:, 0], maps[:, 2] = length * np.sin(turn), -length * np.cos(turn)
    assert angular_errors(maps, true) == pytest.approx([angle, angle], abs=1e-5)
    assert angular_errors(0 * maps, true) == pytest.approx([90, 90])


def told(*modalities: Modality) -> Any:
    return SimpleNamespace(model=SimpleNamespace(modalities=modalities))


@dataclass(frozen=True)
class Inputs:
    """What decoded_metrics reads of ProbeInputs; it runs no model."""

    data: TokenData
    models: Models
    chosen: Any
    groups: np.ndarray
    settings: Any
    confidence: float = 0.95
    bootstrap: int = 100
    seed: int = 0

    def modality(self, name: str) -> int:
        return 0

    def decoded_clips(self, most: int) -> np.ndarray:
        return np.array(windows.spread(len(self.groups), most))

    def keyframe_numbers(self) -> np.ndarray:
        return FRAMES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Results:
    fates = [Fate("pig", split="test") for _ in range(11)]
    return Results(write_results(tmp_path_factory.mktemp("run"), fates, heavy=True).results)


def inputs_of(folder: Results) -> Any:
    """The tokens of the stored maps of all clips by the mini tokenizer."""
    tokenizer = registry.load("depth_tokenizer", "mini")
    found = read_all(folder.store, "depth", list_clips(folder, "depth", "test"))
    tokens = {pick.clip_id: tokenizer.tokenize(maps) for pick, maps in found}
    ids = sorted(tokens)
    data = TokenData([DEPTH], {"depth": np.stack([tokens[i] for i in ids])}, [])
    models = Models(folder, {"tokenize.depth": "mini"}, Compute())
    return Inputs(data, models, SimpleNamespace(clip_ids=ids), np.arange(len(ids)), told(DEPTH))


def rows_of(inputs: Any, guess: np.ndarray, mode: int = 5) -> dict[str, dict[str, Any]]:
    rows = decoded_metrics(inputs, "depth", guess, np.full(196, mode))
    return {row["name"].removeprefix("rgb_to_depth_abs_rel"): row for row in rows}


def test_true_tokens_reach_the_ceiling_and_others_do_not(folder):
    inputs = inputs_of(folder)
    true = inputs.data.arrays[0][:, FRAMES].astype(np.int64)
    found = rows_of(inputs, true)
    own, ceiling, mode = found[""], found["_round_trip"], found["_position_mode"]
    assert own["value"] == ceiling["value"] == own["ceiling"]["value"] > 0
    assert "stored map" in own["note"] and (own["n"], own["unit"]) == (11, "abs-rel")
    assert own["value"] < mode["value"] and own["baseline"]["verdict"] == "better"
    # The maps of other clips: far from the ceiling.
    other = rows_of(inputs, np.roll(true, 1, axis=0))
    assert other[""]["value"] > ceiling["value"]
    assert other["_round_trip"] == ceiling
    # The maps are those of the same keyframes.
    swapped = rows_of(inputs, true[:, ::-1])
    assert swapped[""]["value"] > ceiling["value"]


def test_without_stored_maps_the_decoded_true_tokens_are_the_truth(folder, tmp_path):
    inputs = inputs_of(folder)
    models = Models(Results(tmp_path), {"tokenize.depth": "mini"}, Compute())
    assert map_keys(models.results, inputs.chosen.clip_ids) is None
    true = inputs.data.arrays[0][:, FRAMES].astype(np.int64)
    found = rows_of(replace(inputs, models=models), true)
    assert "decoded true tokens" in found[""]["note"] and "_round_trip" not in found
    assert found[""]["value"] == pytest.approx(0) and found["_position_mode"]["value"] > 0


def test_what_cannot_be_decoded_is_left_out(folder, monkeypatch):
    inputs = inputs_of(folder)
    true = inputs.data.arrays[0][:, FRAMES].astype(np.int64)
    wider = told(Modality("depth", 8192, 196))
    assert rows_of(replace(inputs, settings=wider), true) == {}  # of another tokenizer
    assert rows_of(replace(inputs, models=Models(folder, {}, Compute())), true) == {}
    monkeypatch.setattr(decoded, "MOST_CLIPS", 4)
    assert rows_of(inputs, true)[""]["n"] == 4


def test_the_keys_of_maps_follow_the_clips(folder):
    ids = inputs_of(folder).chosen.clip_ids
    keys = map_keys(folder, ids)
    assert keys is not None and len(keys[0]) == 11 and None not in keys[0]
    assert map_keys(folder, ids[::-1])[0] == keys[0][::-1]
    assert map_keys(folder, ["nowhere"]) == [[None], [None]]
    assert KEYFRAMES == 10
