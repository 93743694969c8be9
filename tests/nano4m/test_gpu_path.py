"""The GPU's attention path without a GPU: a stand-in for its kernel, the rest is the real code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounter

from nano4m_audio.nano4m import attention, model
from nano4m_audio.nano4m.attention import Tokens
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
    drawn = [data.batch(step, 6, SETTINGS.masking.at(step), 0) for step in range(n)]
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


def test_blocks_are_compiled_once_for_batches_of_all_shapes(net, monkeypatch):
    """Every batch has other lengths; compiled code must not care. Autograd is included."""

    def any_kernel(q, k, v, q_bounds, k_bounds, q_longest, k_longest):
        return q + (k.mean() + v.mean()) * (q_bounds[-1] + k_bounds[-1]) + q_longest + k_longest

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", any_kernel)
    monkeypatch.setattr(model, "attend", attention.attend_varlen)
    torch._dynamo.reset()
    counter = CompileCounter()
    for block in (*net.encoder.blocks, *net.decoder.blocks):
        block.compile(dynamic=True, backend=counter)
    for inputs, targets in batches(8):
        net(inputs, targets).sum().backward()
    assert counter.frame_count == 2  # one for an encoder block, one for a decoder block
