"""The guesses that ignore the clip: counted in parts, equal to counting at once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nano4m_audio.evaluate import cross_entropy, structure
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.settings import Modality

MODALITIES = (Modality("rgb", 9, 6), Modality("caption", 30, 8))


def some_data(n: int) -> TokenData:
    rng = np.random.default_rng(n)
    captions = [rng.integers(0, 30, 1 + i % 8).tolist() for i in range(n)]
    return TokenData(MODALITIES, {"rgb": rng.integers(0, 9, (n, 3, 6))}, captions)


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_parts_of_the_clips_count_like_all_of_them(monkeypatch, at_once):
    monkeypatch.setattr(cross_entropy, "CLIPS_AT_ONCE", at_once)
    monkeypatch.setattr(structure, "CLIPS_AT_ONCE", at_once)
    data, other = some_data(17), some_data(5)
    for m, modality in enumerate(MODALITIES):
        rows = [r[:n] for r, n in zip(data.arrays[m][:, 0], data.lengths[:, m], strict=True)]
        flat = data.arrays[m].ravel() if modality.name == "rgb" else np.concatenate(rows)
        counts = Counter(flat.tolist())
        losses = cross_entropy.unigram_losses(data, other, m)
        frequent = max(counts, key=lambda i: counts[i])
        assert losses.argmin() in {i for i in counts if counts[i] == counts[frequent]}
        assert np.exp(-losses).sum() == pytest.approx(1)
    modes = structure.position_modes(data.arrays[0])
    for position, mode in enumerate(modes):
        counts = Counter(data.arrays[0][:, :, position].ravel().tolist())
        assert mode == min(counts, key=lambda i: (-counts[i], i))


def test_padding_that_is_asked_for_is_counted():
    modalities = (MODALITIES[0], Modality("caption", 30, 8, pad_id=29))
    rgb = np.zeros((2, 3, 6), np.int64)
    data = TokenData(modalities, {"rgb": rgb}, [[1, 2, 1], [1]])
    frequencies = np.exp(-cross_entropy.unigram_losses(data, data, 1, padded=True))
    # Three times id 1, once id 2, 5 + 7 times padding, each plus one.
    assert frequencies[[1, 2, 29]] == pytest.approx(np.array([4, 2, 13]) / 19)
    assert np.isinf(cross_entropy.unigram_losses(data, data, 1)[29])
