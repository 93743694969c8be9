"""Attention of one sample after the other: that of torch, to the bit, gradients too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

from nano4m_audio.nano4m import attention
from nano4m_audio.nano4m.attention import Tokens
from tests.nano4m.test_gpu_path import packed

LENGTHS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=5)


def one_call_each(q, k, v, asking, asked):
    """Each sample by torch's own function, with autograd's views of it."""
    parts = q.split(asking), k.split(asked), v.split(asked)
    found = [
        F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in one))[0].transpose(0, 1)
        for one in zip(*parts, strict=True)
    ]
    return torch.cat(found).flatten(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(LENGTHS, st.integers(0, 99))
@example([(0, 3), (5, 0), (4, 4)], 0)
def test_samples_attend_as_each_would_alone(dtype, lengths, seed):
    asking, asked = map(list, zip(*lengths, strict=True))
    if not sum(asking) or not sum(asked):
        return
    generator = torch.Generator().manual_seed(seed)
    ways = attention.attend, lambda q, k, v, *_: one_call_each(q, k, v, asking, asked)
    sides = [Tokens.of(packed(n)) for n in (asking, asked)]
    drawn = [torch.randn((sum(n), 3, 2, 8), generator=generator) for n in (asking, asked, asked)]
    weights = torch.randn((sum(asking), 16), generator=generator).to(dtype)
    found = []
    for way in ways:
        whole = [x.to(dtype).requires_grad_() for x in drawn]
        q, k, v = (x.unbind(1)[i] for i, x in enumerate(whole))  # views, as the model has them
        out = way(q, k, v, *sides)
        (out * weights).sum().backward()
        found.append([out, *(x.grad for x in whole)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
