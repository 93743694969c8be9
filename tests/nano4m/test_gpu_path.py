"""The GPU's attention path without a GPU: a stand-in for its kernel, the rest is the real code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter

from nano4m_audio.nano4m import attention, model
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.masking import Packed
from tests.nano4m.test_train import SETTINGS, some_data


def kernel(q, k, v, q_bounds, k_bounds, q_longest, k_longest):
    """What torch.nn.attention.varlen.varlen_attn computes, from the same arguments."""
    assert q_bounds.dtype == k_bounds.dtype == torch.int32
    assert int(q_bounds.diff().max()) <= q_longest and int(k_bounds.diff().max()) <= k_longest
    out = torch.empty_like(q)
    for (a, b), (c, d) in zip(pairs(q_bounds), pairs(k_bounds), strict=True):
        parts = (x.transpose(0, 1) for x in (q[a:b], k[c:d], v[c:d]))
        out[a:b] = F.scaled_dot_product_attention(*parts).transpose(0, 1)
    return out


def pairs(bounds: torch.Tensor) -> list[tuple[int, int]]:
    return list(zip(bounds.tolist(), bounds.tolist()[1:], strict=False))


def batches(n: int) -> list[tuple[Tokens, Tokens]]:
    data = some_data(20)
    drawn = [data.batch(step, 6, SETTINGS.masking, 0) for step in range(n)]
    return [(Tokens.of(b.inputs), Tokens.of(b.targets)) for b in drawn]


@pytest.fixture
def net() -> model.FourM:
    return model.FourM(SETTINGS.model, seed=2)


def test_one_call_for_all_samples_equals_one_per_sample(net, monkeypatch):
    (inputs, targets), *_ = batches(1)
    with torch.no_grad():
        expected = net(inputs, targets)
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
        monkeypatch.setattr(model, "attend", attention.attend_varlen)
        np.testing.assert_allclose(net(inputs, targets), expected, atol=1e-5)


def test_a_filled_batch_equals_one_call_per_sample(net, monkeypatch):
    """Values and gradients; samples of all lengths, also without anything that is asked."""
    (inputs, targets), *_ = batches(1)
    grown = torch.Generator().manual_seed(4)
    for tokens in (inputs, targets):
        assert len(set(tokens.lengths)) > 1 and tokens.longest >= max(tokens.lengths)
    found = []
    for way in (attention.attend, attention.attend_filled):
        monkeypatch.setattr(model, "attend", way)
        net.zero_grad()
        features = net(inputs, targets)
        (features * torch.randn(features.shape, generator=grown.manual_seed(4))).sum().backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        found.append([features.detach(), *gradients])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 99))
def test_any_lengths_can_be_filled(lengths, seed):
    rng = np.random.default_rng(seed)
    asking, asked = lengths, rng.permutation(np.add(lengths, 1)).tolist()
    if not sum(asking):
        return
    sides = [Tokens.of(packed(n)) for n in (asking, asked)]
    q, k, v = (
        torch.from_numpy(rng.normal(size=(sum(n), 2, 8)).astype(np.float32))
        for n in (asking, asked, asked)
    )
    expected = attention._attend_per_sample(q, k, v, asking, asked)
    np.testing.assert_allclose(attention.attend_filled(q, k, v, *sides), expected, atol=1e-5)


def packed(lengths: list[int]) -> Packed:
    n = sum(lengths)
    tokens, positions, modalities = (np.arange(n) % d for d in (7, 5, 3))
    return Packed(tokens, positions, modalities, np.array(lengths))


@pytest.mark.parametrize("padded", [False, True])
def test_one_copy_carries_all_tensors(padded):
    data = some_data(20)
    batch = data.batch(0, 6, SETTINGS.masking, 0)
    sides = [
        Tokens.padded(s, 32) if padded else Tokens.of(s) for s in (batch.inputs, batch.targets)
    ]
    copies = attention.copied_at_once(sides, torch.device("cpu"))
    (storage,) = {t.untyped_storage().data_ptr() for c in copies for t in tensors(c).values()}
    assert storage
    for side, copy in zip(sides, copies, strict=True):
        assert vars(side).keys() == vars(copy).keys()
        assert (copy.lengths, copy.counts, copy.longest) == (
            side.lengths,
            side.counts,
            side.longest,
        )
        assert tensors(side).keys() == tensors(copy).keys()
        for name, value in tensors(copy).items():
            assert (
                torch.equal(value, getattr(side, name)) and value.dtype == getattr(side, name).dtype
            )
            assert value.data_ptr() % 16 == 0 and value.is_contiguous()


def tensors(tokens: Tokens) -> dict[str, torch.Tensor]:
    return {k: v for k, v in vars(tokens).items() if isinstance(v, torch.Tensor)}


@pytest.mark.parametrize("way", ["attend_varlen", "attend_filled"])
def test_blocks_are_compiled_once_for_batches_of_all_shapes(net, monkeypatch, way):
    """Every batch has other lengths; compiled code must not care. Autograd is included."""

    def any_kernel(q, k, v, q_bounds, k_bounds, q_longest, k_longest):
        return q + (k.mean() + v.mean()) * (q_bounds[-1] + k_bounds[-1]) + q_longest + k_longest

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", any_kernel)
    monkeypatch.setattr(model, "attend", getattr(attention, way))
    torch._dynamo.reset()
    counter = CompileCounter()
    for block in (*net.encoder.blocks, *net.decoder.blocks):
        block.compile(dynamic=True, backend=counter)
    for sides in batches(8):
        inputs, targets = attention.copied_at_once(sides, torch.device("cpu"))
        net(inputs, targets).sum().backward()
    assert counter.frame_count == 2  # one for an encoder block, one for a decoder block
