"""The guesses that ignore the clip: planted frequencies are found to the nat."""

from __future__ import annotations

from collections import Counter
from math import log

import numpy as np
import pytest

from nano4m_audio.evaluate import baselines
from nano4m_audio.evaluate.baselines import fit_counts, position_counts
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.settings import Modality

MODALITIES = (Modality("rgb", 9, 6), Modality("caption", 30, 8))


def some_data(n: int) -> TokenData:
    rng = np.random.default_rng(n)
    captions = [rng.integers(0, 30, 1 + i % 8).tolist() for i in range(n)]
    return TokenData(MODALITIES, {"rgb": rng.integers(0, 9, (n, 3, 6))}, captions)


def loss_of(data: TokenData, other: TokenData, m: int, **options) -> float:
    """Mean loss of all tokens of ``other`` by counts of ``data``, every clip its own group."""
    losses = fit_counts(data, np.arange(len(data)), m, **options).losses
    counts = position_counts(other, m, np.arange(len(other)), options.get("padded", False))
    return float((counts * losses).sum() / counts.sum())


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_parts_of_the_clips_count_like_all_of_them(monkeypatch, at_once):
    monkeypatch.setattr(baselines, "CLIPS_AT_ONCE", at_once)
    data = some_data(17)
    for m, modality in enumerate(MODALITIES):
        counts = position_counts(data, m, np.arange(17))
        for position in range(modality.max_tokens):
            seen = data.lengths[:, m] > position
            width = data.arrays[m].shape[2]
            ids = data.arrays[m][seen, :, position].ravel().tolist() if position < width else []
            assert Counter(ids) == {i: n for i, n in enumerate(counts[position]) if n}


def test_every_position_has_a_distribution():
    data = some_data(40)
    for m in range(2):
        losses = fit_counts(data, np.arange(40) // 2, m).losses
        assert losses.shape == (MODALITIES[m].max_tokens, MODALITIES[m].vocab_size)
        np.testing.assert_allclose(np.exp(-losses.astype(float)).sum(axis=1), 1, rtol=1e-5)


def even(rng, n: int, ids: range) -> np.ndarray:
    """``n`` ids in random order, all equally often."""
    return rng.permutation(np.resize(np.arange(ids.start, ids.stop), n))


@pytest.mark.parametrize("stride", [2, None])
def test_two_disjoint_codebooks_are_two_distributions(stride):
    rng = np.random.default_rng(0)
    modalities = (Modality("audio", 2048, 512, stride), MODALITIES[1])

    def drawn(n):
        first, second = (even(rng, n * 256, ids) for ids in (range(32), range(1024, 1048)))
        tokens = np.stack([first, second], axis=1).reshape(n, 1, 512)
        return TokenData(modalities, {"audio": tokens}, [[1]] * n)

    wanted = (log(32) + log(24)) / 2  # pooled they would seem to be log 2 = 0.693 harder
    assert loss_of(drawn(60), drawn(24), 0) == pytest.approx(wanted, abs=2e-3)


def test_unequal_codebooks_have_their_entropy():
    rng = np.random.default_rng(1)
    modalities = (Modality("audio", 64, 16, 2), MODALITIES[1])
    p, q = np.array([0.5, 0.25, 0.125, 0.125]), np.array([0.9, 0.1])

    def drawn(n):
        tokens = np.empty((n, 1, 16), int)
        tokens[..., ::2] = rng.choice(4, (n, 1, 8), p=p)
        tokens[..., 1::2] = 32 + rng.choice(2, (n, 1, 8), p=q)
        return TokenData(modalities, {"audio": tokens}, [[1]] * n)

    entropies = [-(x * np.log(x)).sum() for x in (p, q)]
    assert loss_of(drawn(4000), drawn(4000), 0) == pytest.approx(np.mean(entropies), abs=5e-3)


def test_a_caption_is_known_by_position():
    modalities = (MODALITIES[0], Modality("caption", 50_304, 64))
    captions = [[50_258, 100 + i % 16, 200 + i % 4, 50_259] for i in range(160)]
    data = TokenData(modalities, {"rgb": np.zeros((160, 1, 6), int)}, captions)
    # log 1, log 16, log 4, log 1; all positions together have 2 x log 4 + ... = 2.77 instead.
    wanted = (log(16) + log(4)) / 4
    assert loss_of(data, data, 1) == pytest.approx(wanted, abs=2e-3)


def test_rare_ids_do_not_fool_the_counts():
    rng = np.random.default_rng(2)
    modalities = (Modality("rgb", 4096, 196), MODALITIES[1])

    def drawn(n):
        return TokenData(modalities, {"rgb": rng.integers(0, 4096, (n, 1, 196))}, [[1]] * n)

    # Nothing can be learnt from noise: a smoothed model must not be worse than a blind guess.
    assert loss_of(drawn(12), drawn(12), 0) == pytest.approx(log(4096), abs=0.02)


def test_alike_clips_of_one_video_are_held_out_together():
    rng = np.random.default_rng(3)
    modalities = (Modality("rgb", 512, 64), MODALITIES[1])
    videos = rng.integers(0, 512, (12, 1, 64))  # every video repeats itself and no other one

    def fitted(groups):
        data = TokenData(modalities, {"rgb": np.repeat(videos, 5, axis=0)}, [[1]] * 60)
        return fit_counts(data, groups, 0)

    unseen = rng.integers(0, 512, (400, 64))
    by_video, by_clip = (
        fitted(groups).losses[np.arange(64), unseen].mean()
        for groups in (np.repeat(np.arange(12), 5), np.arange(60))
    )
    assert by_video < log(512) + 0.1 < by_clip - 1


def test_padding_that_is_asked_for_is_counted():
    modalities = (MODALITIES[0], Modality("caption", 30, 8, pad_id=29))
    data = TokenData(modalities, {"rgb": np.zeros((2, 3, 6), int)}, [[1, 2, 1], [1]])
    counts = position_counts(data, 1, np.arange(2), padded=True)
    assert counts[:, 29].tolist() == [0, 1, 1, 2, 2, 2, 2, 2]
    assert counts.sum() == 16 and position_counts(data, 1, np.arange(2)).sum() == 4


def test_one_clip_is_enough():
    data = some_data(1)
    assert np.isfinite(fit_counts(data, np.zeros(1, int), 0).losses).all()
