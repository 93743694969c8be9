"""The scores of the fast head: always in the same memory, never other bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter

from nano4m_audio.nano4m import objective
from nano4m_audio.nano4m.objective import ROWS_CPU, _Scores, log_scores, score_gradient
from tests.nano4m.test_train import SETTINGS, assert_same_run, change, run

PIECES = st.lists(st.tuples(st.integers(1, ROWS_CPU), st.integers(1, 700)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(PIECES, st.sampled_from([torch.float32, torch.bfloat16]), st.integers(0, 99))
def test_reused_memory_holds_the_same_bits(pieces, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    x, table = (torch.randn(n, 24, generator=generator).to(dtype) for n in (ROWS_CPU, 700))
    scores = _Scores(x, max(size for _, size in pieces))
    for rows, size in pieces:
        ours, plain = (way(x[:rows], table[:size]) for way in (scores, log_scores))
        assert ours.dtype == plain.dtype == torch.float32 and torch.equal(ours, plain)


def test_a_piece_takes_no_memory_of_its_own():
    scores = _Scores(torch.zeros(8, 4), 100)
    places = {
        scores(torch.zeros(n, 4), torch.zeros(s, 4)).data_ptr() for n, s in ((8, 100), (3, 7))
    }
    assert len(places) == 1


@pytest.mark.parametrize("own", [False, True])
def test_a_run_is_the_same_to_the_bit_without_it(tmp_path, monkeypatch, own):
    tried = change(change(SETTINGS, steps=8), "objective", per_modality_vocab=own)
    monkeypatch.setattr(objective, "ROWS_CPU", 13)
    reusing = run(tmp_path / "a", tried)
    monkeypatch.setattr(objective, "_Scores", lambda *_: log_scores)
    assert_same_run(reusing, run(tmp_path / "b", tried))


def test_the_gradient_of_scores_is_that_of_cross_entropy():
    """Also compiled, which is done once for pieces of all sizes, with and without shared rows."""
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(score_gradient, dynamic=True, backend=counter)
    for n, size in ((5, 40), (9, 70), (3, 12)):
        generator = torch.Generator().manual_seed(n)
        scores = torch.randn(n, size, generator=generator).requires_grad_()
        ids = torch.randint(0, size, (n,), generator=generator)
        for shift in (None, torch.randn(size, generator=generator)):
            shifted = scores if shift is None else scores + shift
            losses = F.cross_entropy(shifted, ids, reduction="none")
            (expected,) = torch.autograd.grad(losses.sum(), scores)
            for way in (score_gradient, compiled):
                found, gradient = way(scores.detach(), ids, shift)
                np.testing.assert_allclose(found, losses.detach(), atol=1e-5)
                np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert counter.frame_count == 2


@pytest.mark.parametrize("own", [False, True])
def test_a_run_with_compiled_scores_is_the_plain_one(tmp_path, monkeypatch, own):
    tried = change(change(SETTINGS, steps=12), "objective", per_modality_vocab=own)
    plain = run(tmp_path / "plain", tried)
    monkeypatch.setattr("nano4m_audio.nano4m.train.compiles", lambda *_: True)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    monkeypatch.setattr(objective, "fused_gradient", lambda: score_gradient)
    fused = run(tmp_path / "fused", tried)
    assert len(fused.metrics) == len(plain.metrics)
    for ours, theirs in zip(fused.metrics, plain.metrics, strict=True):
        np.testing.assert_allclose(ours[3], theirs[3], rtol=1e-3)
