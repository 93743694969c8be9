"""Packed sequences as tensors, and softmax attention within each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nano4m_audio.nano4m.masking import Packed

#: The id of a padded target, ignored by the loss.
IGNORED = -100
#: Longest sequences are rounded up to this, so that compiled code meets few different values.
LENGTH_UNIT = 128
#: Rows of a batch on a GPU are filled up to a multiple of this, as kernels are chosen and recorded
#: for every number of rows anew. Sequences of their own hold the filling, none of them empty.
ROWS_UNIT, FILLERS = 512, 8


@dataclass(frozen=True)
class Tokens:
    """The sequences of a batch, laid end to end: three int64 [n], and the length of each sample.

    ``valid`` bool [batch, width] marks the real tokens of a padded batch, whose samples all have
    the same length. The last ``filling`` rows are no tokens, and their sequences no samples.
    ``bounds`` int32 [batch + 1] are the first rows of the samples. ``order`` int64
    sorts the real tokens by modality, and ``counts`` are their numbers; both are made on the host,
    because asking a GPU for them would stop the pipeline of kernels. ``longest`` is an upper bound
    of the lengths, and ``slots`` int64 [n] are the rows of the tokens when every sample is filled
    up to it.
    """

    tokens: Tensor
    positions: Tensor
    modalities: Tensor
    lengths: list[int]
    valid: Tensor | None = None
    filling: int = 0
    bounds: Tensor = field(init=False)
    order: Tensor = field(init=False)
    slots: Tensor = field(init=False)
    counts: list[int] = field(init=False)
    longest: int = field(init=False)

    def __post_init__(self) -> None:
        modalities = self.modalities.numpy()
        every = np.arange(len(modalities))
        real = every[: len(every) - self.filling]
        if self.valid is not None:
            real = np.flatnonzero(self.valid.numpy().ravel())
        counts = np.bincount(modalities[real])
        order = real[np.argsort(modalities[real], kind="stable")]
        bounds = np.concatenate([[0], np.cumsum(self.lengths)])
        longest = -(-max(self.lengths) // LENGTH_UNIT) * LENGTH_UNIT
        gaps = np.arange(len(self.lengths)) * longest - bounds[:-1]
        self._set(
            bounds=torch.from_numpy(bounds.astype(np.int32)),
            order=torch.from_numpy(order),
            slots=torch.from_numpy(every + np.repeat(gaps, self.lengths)),
            counts=counts.tolist(),
            longest=longest,
        )

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, packed: Packed) -> Tokens:
        """The packed sequences as they are."""
        return cls(
            torch.from_numpy(packed.tokens),
            torch.from_numpy(packed.positions),
            torch.from_numpy(packed.modalities),
            packed.lengths.tolist(),
        )

    @classmethod
    def filled(cls, packed: Packed) -> Tokens:
        """The packed sequences, and at their end FILLERS more, of zeros, up to a multiple of
        ROWS_UNIT rows."""
        n = len(packed.tokens)
        filling = FILLERS + -(n + FILLERS) % ROWS_UNIT
        rows = (packed.tokens, packed.positions, packed.modalities)
        tokens, positions, modalities = (
            torch.from_numpy(np.concatenate([x, np.zeros(filling, x.dtype)])) for x in rows
        )
        fillers = [len(part) for part in np.array_split(np.arange(filling), FILLERS)]
        lengths = [*packed.lengths.tolist(), *fillers]
        return cls(tokens, positions, modalities, lengths, filling=filling)

    @classmethod
    def padded(cls, packed: Packed, width: int, filling: int = 0) -> Tokens:
        """Pad every sample to ``width`` (or to the longest), as the reference does:
        token ``filling`` (IGNORED for targets), position 0, modality 0."""
        width = max(width, int(packed.lengths.max()))
        valid = np.arange(width) < packed.lengths[:, None]  # [batch, width]

        def full(values: np.ndarray, filling: int) -> Tensor:
            out = np.full(valid.shape, filling, np.int64)
            out[valid] = values
            return torch.from_numpy(out.ravel())

        return cls(
            full(packed.tokens, filling),
            full(packed.positions, 0),
            full(packed.modalities, 0),
            [width] * len(valid),
            torch.from_numpy(valid),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, sequences and the bound of their lengths: what compiled code can see of it."""
        return len(self.tokens), len(self.lengths), self.longest

    def clone(self) -> Tokens:
        """A copy in memory of its own."""
        copy = object.__new__(Tokens)
        copy._set(**{**vars(self), **{k: v.clone() for k, v in self._tensors().items()}})
        return copy

    def copy_(self, other: Tokens) -> None:
        """Take over what a model sees of ``other``, which has the same shape."""
        theirs = other._tensors()
        for name, tensor in self._tensors().items():
            tensor.copy_(theirs[name])

    def _tensors(self) -> dict[str, Tensor]:
        """All that a model sees, which is all but ``order``."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor) and k != "order"}

    def to(self, device: torch.device) -> Tokens:
        """A copy on a device."""
        return on_device([self], device)[0]


def on_device(sides: Sequence[Tokens], device: torch.device) -> list[Tokens]:
    """Sequences on a device; a GPU gets all their tensors in one copy."""
    return list(sides) if device.type == "cpu" else copied_at_once(sides, device)


#: All tensors of Tokens. Those of one size in all batches come first, so that their places in the
#: buffer are the same for compiled code.
_TENSORS = ("bounds", "tokens", "positions", "modalities", "order", "slots", "valid")
#: Bytes at whose multiples a tensor begins in the buffer, as compiled kernels like it.
_ALIGNMENT = 64


def copied_at_once(sides: Sequence[Tokens], device: torch.device) -> list[Tokens]:
    """Copies whose tensors are views of one buffer: it is filled on the host, in pinned memory for
    a GPU, and sent without waiting."""
    parts: list[tuple[int, str, Tensor, int]] = []
    size = 0
    for name in _TENSORS:
        for i, side in enumerate(sides):
            if (tensor := getattr(side, name)) is not None:
                parts.append((i, name, tensor, size))
                size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for _, _, tensor, start in parts:
        _view(buffer, tensor, start).copy_(tensor)
    sent = buffer.to(device, non_blocking=True)
    copies = []
    for i, side in enumerate(sides):
        views = {n: _view(sent, tensor, start) for k, n, tensor, start in parts if k == i}
        copies.append(object.__new__(Tokens))
        copies[i]._set(**{**vars(side), **views})
    return copies


def _view(buffer: Tensor, like: Tensor, start: int) -> Tensor:
    """The part of a buffer of bytes from ``start`` on that has dtype and shape of ``like``."""
    return buffer[start : start + like.nbytes].view(like.dtype).view(like.shape)


def attend(q: Tensor, k: Tensor, v: Tensor, queries: Tokens, context: Tokens) -> Tensor:
    """Softmax attention within each sample.

    q [n, heads, head_dim] is laid out as ``queries``, k and v [m, heads, head_dim] as ``context``;
    returns [n, heads * head_dim]. A GPU does the whole batch at once, without padding in half
    precision; a CPU makes one call per sample, or one for a batch of equal lengths. Attention to
    nothing is 0.
    """
    if not len(k):  # 0, by way of all three: a gradient of 0 is not the same as none to AdamW
        return (q * 0 + k.sum() + v.sum()).flatten(1)
    if not q.is_cpu and context.valid is None:
        half = q.is_cuda and q.dtype in (torch.bfloat16, torch.float16)
        return (attend_varlen if half else attend_filled)(q, k, v, queries, context)
    if len(set(queries.lengths)) == 1 and len(set(context.lengths)) == 1:
        mask = None if context.valid is None else context.valid[:, None, None, :]
        batch = len(queries.lengths)
        # [n, heads, head_dim] -> [batch, heads, length, head_dim]
        q, k, v = (x.unflatten(0, (batch, -1)).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).flatten(0, 1).flatten(1)
    return _attend_per_sample(q, k, v, queries.lengths, context.lengths)


def attend_varlen(q: Tensor, k: Tensor, v: Tensor, queries: Tokens, context: Tokens) -> Tensor:
    """One kernel for all samples. Uses nothing of the tokens that differs from batch to batch in a
    way that compiled code would have to be compiled again for."""
    from torch.nn.attention.varlen import varlen_attn

    out = varlen_attn(q, k, v, queries.bounds, context.bounds, queries.longest, context.longest)
    assert isinstance(out, Tensor)
    return out.flatten(1)


def attend_filled(q: Tensor, k: Tensor, v: Tensor, queries: Tokens, context: Tokens) -> Tensor:
    """All samples filled up to the longest one: a few large kernels, where varlen_attn has none for
    the dtype. Like it, this uses nothing that compiled code would have to be compiled again for."""
    lengths = context.bounds.diff().clamp(min=1)  # a row of -inf alone would be NaN
    mask = torch.arange(context.longest, device=q.device) < lengths[:, None]  # [batch, longest]
    out = F.scaled_dot_product_attention(
        _filled(q, queries), _filled(k, context), _filled(v, context), attn_mask=mask[:, None, None]
    )
    return out.transpose(1, 2).flatten(0, 1).index_select(0, queries.slots).flatten(1)


def _filled(x: Tensor, tokens: Tokens) -> Tensor:
    """[n, heads, head_dim] -> [batch, heads, longest, head_dim], zero where there is no token."""
    batch = len(tokens.bounds) - 1
    rows = x.new_zeros((batch * tokens.longest, *x.shape[1:])).index_copy(0, tokens.slots, x)
    return rows.unflatten(0, (batch, tokens.longest)).transpose(1, 2)


def _attend_per_sample(
    q: Tensor, k: Tensor, v: Tensor, q_lengths: Sequence[int], k_lengths: Sequence[int]
) -> Tensor:
    """Exact and without padding; on a CPU several times faster than attending over padding."""
    out: Tensor = _PerSample.apply(q, k, v, list(q_lengths), list(k_lengths))
    return out.flatten(1)


class _PerSample(torch.autograd.Function):
    """Attention of one sample after the other, by the kernels that scaled_dot_product_attention
    calls on a CPU, as one operation: autograd's work with views of every sample would take half as
    long as the attention of short ones."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, q_lengths: list[int], k_lengths: list[int]
    ) -> Tensor:
        out, ctx.logsumexp = torch.empty_like(q), []
        own, others = _by_sample((q, out), q_lengths), _by_sample((k, v), k_lengths)
        for (one_q, one_out), (one_k, one_v) in zip(own, others, strict=True):
            found = logsumexp = None
            if one_q.numel() and one_k.numel():
                found, logsumexp = _FORWARD(one_q, one_k, one_v)
            _put(one_out, found)
            ctx.logsumexp.append(logsumexp)
        ctx.save_for_backward(q, k, v, out)
        ctx.lengths = q_lengths, k_lengths
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out = ctx.saved_tensors
        d_q, d_k, d_v = (torch.empty_like(x) for x in (q, k, v))
        own = _by_sample((d_out, out, q, d_q), ctx.lengths[0])
        others = _by_sample((k, v, d_k, d_v), ctx.lengths[1])
        for (one_d, one_out, one_q, *one), (one_k, one_v, *two), logsumexp in zip(
            own, others, ctx.logsumexp, strict=True
        ):
            found: Sequence[Tensor | None] = None, None, None
            if logsumexp is not None:
                found = _BACKWARD(one_d, one_q, one_k, one_v, one_out, logsumexp, 0.0, False)
            for gradient, values in zip((*one, *two), found, strict=True):
                _put(gradient, values)
        return d_q, d_k, d_v, None, None


_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def _by_sample(columns: Sequence[Tensor], lengths: list[int]) -> Iterator[tuple[Tensor, ...]]:
    """Views of every sample's rows, as the kernels have them: [n, heads, head_dim] of each column
    -> [1, heads, length, head_dim]."""
    return zip(*(x.transpose(0, 1)[None].split(lengths, 2) for x in columns), strict=True)


def _put(rows: Tensor, values: Tensor | None) -> None:
    """Fill rows; attention to nothing, and by nothing, is 0."""
    if values is None:
        rows.zero_()
    else:
        rows.copy_(values)
