"""Pictures near others, block by block, are those that a comparison of all with all finds."""

from __future__ import annotations

import numpy as np
import pytest

from nano4m_audio.curate import pictures
from nano4m_audio.curate.pictures import Pictures, close_before, nearest


def drawn(n: int, seed: int) -> Pictures:
    """Few dimensions, so that many are close, some are equal, and some are blank."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(size=(n, 4))
    plain[rng.integers(0, n, n // 5)] = plain[0]
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    plain[rng.integers(0, n, 3)] = 0
    return Pictures(plain.astype(np.float32), (plain * [1, -1, 1, -1]).astype(np.float32))


def all_with_all(one: Pictures, other: Pictures) -> np.ndarray:
    return np.maximum(one.plain @ other.plain.T, one.mirrored @ other.plain.T)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(pictures, "QUERIES", 64)
    monkeypatch.setattr(pictures, "_ROWS", 50)


@pytest.mark.parametrize("seed", range(3))
def test_close_before(seed):
    some = drawn(333, seed)
    cosines = np.tril(all_with_all(some, some), -1)
    found = {
        i: (set(j.tolist()), np.diff(cosine))
        for start in range(0, len(some), 64)
        for i, j, cosine in close_before(some, start, 0.9, 1000)
    }
    wanted = {i: set(np.flatnonzero(row >= 0.9).tolist()) for i, row in enumerate(cosines)}
    assert {i: j for i, (j, _) in found.items()} == {i: j for i, j in wanted.items() if j}
    assert all((falls <= 0).all() for _, falls in found.values())


@pytest.mark.parametrize("most", [1, 7])
def test_the_nearest_of_many_are_kept(most):
    some = drawn(200, 4)
    cosines = np.tril(all_with_all(some, some), -1)
    for start in range(0, len(some), 64):
        for i, j, cosine in close_before(some, start, 0.9, most):
            row = np.sort(cosines[i][cosines[i] >= 0.9])[::-1][:most]
            np.testing.assert_allclose(cosine, row, atol=1e-6)
            np.testing.assert_allclose(cosines[i][j], row, atol=1e-6)


@pytest.mark.parametrize("others", [3, 49, 51, 400])
def test_nearest(others):
    some, table = drawn(130, 5), drawn(others, 6)
    cosines, count = all_with_all(some, table), 16
    found = [row for start in range(0, len(some), 64) for row in nearest(some, start, table, count)]
    assert [i for i, _, _ in found] == list(range(130))
    for i, j, cosine in found:
        assert len(set(j.tolist())) == min(count, others)
        wanted = np.sort(cosines[i])[::-1][:count]
        np.testing.assert_allclose(cosine, wanted, atol=1e-6)
        np.testing.assert_allclose(cosines[i][j], wanted, atol=1e-6)


def test_all_equal_gives_the_first():
    same = Pictures(np.ones((100, 1), np.float32), np.ones((100, 1), np.float32))
    (_, first, _), *_ = nearest(same, 0, same, 3)
    assert first.tolist() == [0, 1, 2]
