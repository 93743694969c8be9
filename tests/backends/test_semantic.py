"""Semantic sound tokens: found again from the same sounds, of the promised shape, silence too."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.semantic import (
    FRAMES,
    WEIGHTS,
    WINDOW_SAMPLES,
    Clusters,
    SemanticTokenizer,
    nearest,
    spectra_of,
)
from nano4m_audio.config.tokenizers import Semantic
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.tokenize.originals import decode
from nano4m_audio.tokenizers.semantic import RUN, cluster, fit_semantic
from tests.report.fake import Fate, write_results

SETTINGS = Semantic(features="log_mel", rate_hz=12.5, vocab_size=40)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Results:
    """Eight clips, of which six are for training, with different sounds."""
    fates = [Fate(name) for name in ("cat", "cow", "dog") * 2] + [Fate("cat", split="test")] * 2
    folder = tmp_path_factory.mktemp("world")
    return Results(write_results(folder, fates, heavy=True, runs=()).results)


@pytest.fixture(scope="module")
def tokenizer(world) -> SemanticTokenizer:
    fit_semantic(world, "heard", SETTINGS)
    return registry.load("semantic_tokenizer", f"trained:{world.tokenizer('heard')}")


def sounds(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    times = np.arange(WINDOW_SAMPLES) / 32_000
    tones = [np.sin(2 * np.pi * hz * times) for hz in rng.uniform(100, 8000, n)]
    return np.stack(tones).astype(np.float32) * np.float32(0.3)


def test_equal_sounds_give_equal_clusters_and_are_found_once(world, tokenizer):
    first = (world.tokenizer("heard") / WEIGHTS).read_bytes()
    run = json.loads((world.tokenizer("heard") / RUN).read_text())
    assert (run["clips"], run["moments"], run["vocab_size"]) == (6, 6 * 43, 40)
    assert 0 <= run["unexplained"] < 1 and 1 <= run["used"] <= 40
    stored = world.store / "tokenizers" / run["key"] / WEIGHTS
    before = stored.stat().st_mtime_ns
    fit_semantic(world, "again", SETTINGS)
    assert (world.tokenizer("again") / WEIGHTS).read_bytes() == first
    assert stored.stat().st_mtime_ns == before
    stored.unlink()
    fit_semantic(world, "heard", SETTINGS)
    assert stored.read_bytes() == first
    fit_semantic(world, "other", SETTINGS.model_copy(update={"seed": 1}))
    assert (world.tokenizer("other") / WEIGHTS).read_bytes() != first


@pytest.mark.parametrize("name", ["mini", "log_mel"])
def test_ids_have_their_shape_and_no_batch_changes_them(name, tmp_path):
    features = registry.load("sound_features", name)
    moments = features.moments(sounds(3))
    rate_hz = registry.get_spec("sound_features", name).rate_hz
    assert moments.shape[1] == pytest.approx(WINDOW_SAMPLES / 32_000 * rate_hz, abs=1)
    x = torch.from_numpy(moments).flatten(0, 1)
    some = x[::5]
    facts = {"features": name, "identity": registry.identity("sound_features", name)}
    spectra = torch.zeros(len(some), 64, 8)
    made = Clusters(some, x.mean(0), x.std(0) + 1, spectra, {**facts, "n_tokens": 22})
    made.save(tmp_path / WEIGHTS)
    tokenizer = SemanticTokenizer.load(Compute(), tmp_path)
    ids = tokenizer.encode(sounds(3))
    assert ids.shape == (3, 1, 22) and ids.dtype == np.int32
    assert ids.min() >= 0 and ids.max() < tokenizer.codebook_size
    np.testing.assert_array_equal(tokenizer.encode(sounds(3)[[2, 0]]), ids[[2, 0]])


def test_silence_is_one_sound(tokenizer):
    silence = np.zeros((2, WINDOW_SAMPLES), np.float32)
    ids = tokenizer.encode(silence)
    assert ids.shape == (2, 1, 43) and (ids == ids[0, 0, 0]).all()
    heard = tokenizer.decode(ids)
    assert heard.shape[1] >= WINDOW_SAMPLES and np.isfinite(heard).all()


def test_an_id_sounds_as_its_cluster_does(tmp_path):
    """A tone of its own cluster comes back at its own pitch."""
    tones = sounds(2)
    spectra = torch.from_numpy(spectra_of(tones, 22, 1)).mean(1)
    facts = {"features": "log_mel", "identity": registry.identity("sound_features", "log_mel")}
    made = Clusters(torch.eye(2), torch.zeros(2), torch.ones(2), spectra, {**facts, "n_tokens": 22})
    made.save(tmp_path / WEIGHTS)
    tokenizer = SemanticTokenizer.load(Compute(), tmp_path)
    heard = decode("semantic", tokenizer, np.repeat([[0], [1]], 22, axis=1))
    assert heard.shape == (2, WINDOW_SAMPLES)
    for own, sound in zip(tones, heard, strict=True):
        pitches = [np.abs(np.fft.rfft(w * np.hanning(len(w)))).argmax() for w in (own, sound)]
        assert pitches[1] == pytest.approx(pitches[0], rel=0.08)
    half = tokenizer.decode(np.zeros((1, 1, 11), int))
    assert half.shape[1] == round(11 * FRAMES / 22) * 320


def test_clusters_of_other_features_are_refused(tokenizer, tmp_path):
    found = tokenizer.clusters
    notes = {**found.notes, "identity": "another"}
    Clusters(found.centres, found.mean, found.scale, found.spectra, notes).save(tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="other features log_mel than those of now"):
        SemanticTokenizer.load(Compute(), tmp_path)


def test_more_clusters_than_moments_is_one_line(world):
    wanted = SETTINGS.model_copy(update={"vocab_size": 8192})
    with pytest.raises(UserError, match="have 258 moments, fewer than vocab_size = 8192"):
        fit_semantic(world, "wide", wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 20), st.integers(0, 99), st.booleans())
def test_clusters_are_seeded_nearest_and_no_worse_than_one(n, dims, count, seed, coarse):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (n, dims)) if coarse else rng.normal(size=(n, dims))
    points = torch.from_numpy(x.astype(np.float32))
    centres, rounds = cluster(points, count, seed)
    assert centres.shape == (count, dims) and torch.isfinite(centres).all() and rounds >= 1
    assert torch.equal(centres, cluster(points, count, seed)[0])
    ids, far = nearest(points, centres)
    exact = (points[:, None] - centres).square().sum(2)
    assert torch.allclose(far, exact.min(1).values, atol=1e-4)
    assert far.sum() <= (points - points.mean(0)).square().sum() + 1e-3
    distinct = len(points.unique(dim=0))
    if coarse and count >= distinct:
        assert float(far.max()) < 1e-5 and len(ids.unique()) == distinct
