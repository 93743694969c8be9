"""Which tokens of a sample are inputs and which are targets, for a whole batch at once.

Dirichlet budgets over the modalities; random positions, or one contiguous span for modalities with
a span stride. All in NumPy, drawn from one generator that the caller keys by (seed, step): a batch
is then the same on every device and for any number of ranks, and since it is drawn in a thread
while the device computes, it costs a GPU nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nano4m_audio.nano4m.plan import Plan, draw_plan
from nano4m_audio.nano4m.settings import MaskingConfig, Modality

UNUSED, INPUT, TARGET = 0, 1, 2
#: The bit of a sorting key that marks padding.
_PADDING = np.uint32(1 << 31)


@dataclass(frozen=True)
class Packed:
    """The sequences of a batch laid end to end, without padding.

    ``tokens``, ``positions`` (0-based within the modality) and ``modalities`` (index in config
    order) are int64 [n]; ``lengths`` int64 [batch] sums to n.
    """

    tokens: np.ndarray
    positions: np.ndarray
    modalities: np.ndarray
    lengths: np.ndarray

    def samples(self, start: int, stop: int) -> Packed:
        """The samples ``start`` to ``stop`` (excluded) of the batch."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        part = slice(ends[start], ends[stop])
        return Packed(
            self.tokens[part], self.positions[part], self.modalities[part], self.lengths[start:stop]
        )


def draw_weights(rng: np.random.Generator, alphas: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Draw unnormalised Dirichlet weights along the last axis, float64; 0 where not ``allowed``.

    ``alphas`` and ``allowed`` have the shape of the result. Below 0.1 in log space and scaled to a
    largest weight of 1, because a plain gamma draw underflows to 0 for all modalities at once.
    """
    if (alphas == 1).all():  # what a gamma draw of 1 is, without looking at each alpha
        return rng.standard_exponential(alphas.shape) * allowed
    if alphas.min(initial=1) >= 0.1:
        return rng.standard_gamma(alphas) * allowed
    alphas = np.maximum(alphas, 1e-9)
    logs = np.log(rng.standard_gamma(alphas + 1.0)) + np.log1p(-rng.random(alphas.shape)) / alphas
    logs = np.where(allowed, logs, -np.inf)
    return np.exp(logs - logs.max(axis=-1, keepdims=True))


def draw_shares(
    rng: np.random.Generator, totals: np.ndarray, alphas: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Share ``totals`` [n] among the allowed modalities: int64 [n, M], as ``alphas`` and
    ``allowed``. Tokens lost by rounding down each go to the argmax of a fresh draw."""
    weights = draw_weights(rng, alphas, allowed)
    scale = totals / weights.sum(axis=1)
    shares = (weights * scale[:, None]).astype(np.int64)  # [n, M]
    left = np.maximum(totals - shares.sum(axis=1), 0)  # rounding up can make it -1
    rows = np.repeat(np.arange(len(totals)), left)  # [lost]: one entry per lost token
    winners = draw_weights(rng, alphas[rows], allowed[rows]).argmax(axis=1)
    won = np.bincount(rows * shares.shape[1] + winners, minlength=shares.size)
    return shares + won.reshape(shares.shape)


def span_lengths(
    n_input: np.ndarray, n_target: np.ndarray, stride: int, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn budgets into the input and target lengths of one aligned span; all int64 [batch].

    Budgets are rounded down to whole strides. A sample without any gets one stride of input; one
    with only targets gives its first stride to the input when it has two or more.
    """
    a, b = n_input // stride * stride, n_target // stride * stride
    total = np.minimum(a + b, length)
    nothing = total == 0
    a = np.where(nothing | ((a == 0) & (b >= 2 * stride)), stride, a)
    total = np.where(nothing, stride, total)
    a = np.minimum(a, total)
    return a, total - a


def hide_length(
    rng: np.random.Generator, lengths: np.ndarray, room: np.ndarray, longest: np.ndarray
) -> np.ndarray:
    """The most targets that a sequence may have, int64 [batch, M]: ``room`` for one of the full
    length, and for a shorter one a number drawn uniformly from 1..room.

    Targets see each other's positions. If a caption's last token were always a target, its length
    would name its class, and the model would learn that in place of sounds and images.
    """
    part = 1 + np.floor(rng.random(lengths.shape) * room).astype(np.int64)
    return np.where(lengths < longest, np.minimum(part, room), room)


def draw_counts(
    rng: np.random.Generator,
    modalities: Sequence[Modality],
    config: MaskingConfig,
    lengths: np.ndarray,
    plan: Plan,
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of input and target tokens per modality, two int64 [batch, M].

    ``lengths`` [batch, M] are the real sequence lengths; padding is never budgeted. What they cut
    from a budget is lost, not redistributed. Every sample has at least one input token, and at
    least one target unless its inputs use everything.
    """
    batch = len(lengths)
    n_input = rng.integers(*config.input_tokens, batch, endpoint=True)
    n_target = rng.integers(*config.target_tokens, batch, endpoint=True)
    units = np.array([m.span_stride or 1 for m in modalities])
    is_source, is_alone = (
        one[:, None] == np.arange(len(modalities)) for one in (plan.source, plan.alone)
    )  # [batch, M]
    single, alone = (one[:, None] >= 0 for one in (plan.source, plan.alone))  # [batch, 1]
    some_single, some_alone = single.any(), alone.any()
    shown, asked = plan.allowed, (plan.target_alphas > 0) & ~is_source
    if some_single:
        asked = np.where(asked.any(axis=1, keepdims=True), asked, ~is_source)
    if some_alone:
        shown, asked = (np.where(alone, is_alone, other) for other in (shown, asked))
        n_input = _without_source(rng, n_input, config, plan, is_alone)
    shares = draw_shares(  # [2 batch, M]: first the inputs, then the targets
        rng,
        np.concatenate([n_input, n_target]),
        np.concatenate([plan.input_alphas, plan.target_alphas]),
        np.concatenate([shown, asked]),
    )
    room = lengths
    if some_alone:  # one token is a target
        room = np.where(alone, (lengths - units) // units * units, lengths)
    inputs = np.minimum(shares[:batch], room)
    if some_single:
        inputs = np.where(single, lengths * is_source, inputs)
    targets = np.minimum(shares[batch:], lengths - inputs)
    longest = np.array([m.max_tokens for m in modalities])
    if (lengths < longest).any():
        targets = np.minimum(targets, hide_length(rng, lengths, lengths - inputs, longest))
    is_mixed = plan.allowed & ~single & ~alone  # [batch, M]: whose span may begin with input tokens
    for m, modality in enumerate(modalities):
        if stride := modality.span_stride:
            a, b = inputs[:, m], targets[:, m]
            spans = span_lengths(a, b, stride, lengths[:, m])
            if not is_mixed[:, m].all():
                whole = np.where(single[:, 0], a, a // stride * stride)
                spans = tuple(np.where(is_mixed[:, m], spans, (whole, b // stride * stride)))
            inputs[:, m], targets[:, m] = spans
    _fill_empty(inputs, targets, units, lengths, plan.allowed & ~alone, asked)
    return inputs, targets


def _without_source(
    rng: np.random.Generator,
    n_input: np.ndarray,
    config: MaskingConfig,
    plan: Plan,
    is_alone: np.ndarray,
) -> np.ndarray:
    """``n_input`` [batch] with other numbers for samples without a source: none for half of them,
    and for a modality that is never an input."""
    few = rng.integers(0, config.input_tokens[1], len(n_input), endpoint=True)
    few *= rng.integers(0, 2, len(n_input))
    few *= (is_alone & (plan.input_alphas > 0)).any(axis=1)
    return np.where(is_alone.any(axis=1), few, n_input)


def _fill_empty(
    inputs: np.ndarray,
    targets: np.ndarray,
    units: np.ndarray,
    lengths: np.ndarray,
    allowed: np.ndarray,
    asked: np.ndarray,
) -> None:
    """Give a sample without inputs some of the first modality that is ``allowed``, one without
    targets some of the first that is ``asked`` for and has room, or else of any that has: an empty
    side would be a wasted sample, or NaN. Without any that is allowed, it stays empty."""
    empty = ~inputs.any(axis=1)
    if empty.any():
        blind = np.flatnonzero(empty & allowed.any(axis=1))
        first = allowed[blind].argmax(axis=1)
        inputs[blind, first] = units[first]
    np.minimum(targets, lengths - inputs, out=targets)
    idle = ~targets.any(axis=1)
    if idle.any():
        room = lengths - inputs >= units
        room = np.where((room & asked).any(axis=1, keepdims=True), room & asked, room)
        rows = np.flatnonzero(idle & room.any(axis=1))
        first = room[rows].argmax(axis=1)
        targets[rows, first] = units[first]


def random_roles(
    rng: np.random.Generator,
    inputs: np.ndarray,
    targets: np.ndarray,
    length: np.ndarray,
    width: int,
) -> np.ndarray:
    """Scatter ``inputs`` and ``targets`` [n] over random positions below ``length``: int8 [n,
    width].

    Every position gets a random key that ends in its own number, so that no two are equal; those
    with the smallest keys are inputs, the next ones targets. Only values are sorted, which is
    several times faster than sorting indices.
    """
    columns = np.arange(width, dtype=np.uint32)
    bits = _random_bits(rng, len(inputs) * width).reshape(-1, width)
    keys = np.left_shift(bits, width.bit_length(), dtype=np.uint32)
    keys |= columns
    if (length < width).any():
        keys[columns >= length[:, None]] |= _PADDING  # comes last and is never reached
    ranked = np.sort(keys, axis=1)  # [n, width]
    firsts = np.arange(0, ranked.size, width)

    def least(n: np.ndarray) -> np.ndarray:
        """Whether a position is among the ``n`` [batch] of its row with the smallest keys."""
        bound = np.where(n < width, ranked.take(firsts + n, mode="clip"), _PADDING)
        return (keys < bound[:, None]).view(np.int8)

    return _roles(least(inputs + targets), least(inputs))


def _roles(used: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Roles of positions that are used, some of them given, int8 of 0 and 1; overwrites them."""
    used *= TARGET
    used -= given  # 2 - 1: an input
    return used


def _random_bits(rng: np.random.Generator, n: int) -> np.ndarray:
    """uint16 [n]; four are drawn as one number, which is the fastest way."""
    return rng.bit_generator.random_raw((n + 3) // 4).view(np.uint16)[:n]


def span_roles(
    rng: np.random.Generator,
    inputs: np.ndarray,
    targets: np.ndarray,
    length: np.ndarray,
    width: int,
    stride: int,
) -> np.ndarray:
    """Place one span at a random multiple of ``stride``, inputs first, targets right after them:
    int8 [batch, width]."""
    total = inputs + targets
    starts = rng.integers(0, (length - total) // stride, endpoint=True) * stride
    # Positions before the start wrap around to large numbers.
    ahead = np.arange(width, dtype=np.uint16) - starts.astype(np.uint16)[:, None]  # [batch, width]
    used, given = (ahead < n.astype(np.uint16)[:, None] for n in (total, inputs))  # [batch, width]
    return _roles(used.view(np.int8), given.view(np.int8))


def draw_roles(
    rng: np.random.Generator,
    modalities: Sequence[Modality],
    config: MaskingConfig,
    lengths: np.ndarray,
    widths: Sequence[int],
) -> np.ndarray:
    """UNUSED, INPUT or TARGET for every position of every modality, int8 [batch, sum(widths)].

    ``widths`` are the columns each modality has, at least its longest length in the batch. A sample
    with more tokens than a range allows (span rounding can add a stride) loses the tail.
    """
    plan = draw_plan(rng, modalities, config, len(lengths))
    inputs, targets = draw_counts(rng, modalities, config, lengths, plan)
    kinds = [(width, m.span_stride) for m, width in zip(modalities, widths, strict=True)]
    parts = [np.empty(0)] * len(kinds)
    for width, stride in dict.fromkeys(kinds):  # alike modalities at once
        alike = [m for m, kind in enumerate(kinds) if kind == (width, stride)]
        a, b, length = (n[:, alike].ravel() for n in (inputs, targets, lengths))
        if stride:
            drawn = span_roles(rng, a, b, length, width, stride)
        else:
            drawn = random_roles(rng, a, b, length, width)
        for i, m in enumerate(alike):
            parts[m] = drawn[i :: len(alike)]
    roles = np.concatenate(parts, axis=1)
    # A complete modality as input may be longer than the range.
    _cut(roles, INPUT, inputs * (plan.source < 0)[:, None], config.input_tokens[1])
    _cut(roles, TARGET, targets, config.target_tokens[1])
    return roles


def _cut(roles: np.ndarray, role: int, counts: np.ndarray, limit: int) -> None:
    """Take the last tokens of a role from samples with more than ``limit`` by ``counts`` [batch,
    M]."""
    for row in np.flatnonzero(counts.sum(axis=1) > limit):
        roles[row, np.flatnonzero(roles[row] == role)[limit:]] = UNUSED


def pack(roles: np.ndarray, tokens: Sequence[np.ndarray]) -> tuple[Packed, Packed]:
    """Lay out inputs and targets: by sample, then modality, then position.

    ``tokens`` is one [batch, width] array per modality.
    """
    positions, modalities = _columns(tuple(t.shape[1] for t in tokens))
    flat = np.concatenate(tokens, axis=1).ravel()  # [batch * all widths]
    bounds = np.arange(len(roles) + 1) * roles.shape[1]

    def side(role: int) -> Packed:
        indices = (roles == role).ravel().nonzero()[0]  # [n], into flat
        starts = indices.searchsorted(bounds)
        lengths = starts[1:] - starts[:-1]  # [batch]
        columns = indices - bounds[:-1].repeat(lengths)  # [n], within the sample
        return Packed(
            tokens=flat.take(indices).astype(np.int64),
            positions=positions.take(columns),
            modalities=modalities.take(columns),
            lengths=lengths,
        )

    return side(INPUT), side(TARGET)


@lru_cache(maxsize=8)
def _columns(widths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Position and modality of every column of a sample."""
    positions = np.concatenate([np.arange(w) for w in widths])
    return positions, np.repeat(np.arange(len(widths)), widths)


def fill_up(
    modalities: Sequence[Modality], tokens: Sequence[np.ndarray], lengths: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Fill short sequences of modalities that have a ``pad_id`` up to ``max_tokens``, and count
    the padding as tokens."""
    filled, full = [], lengths.copy()
    for m, (modality, array) in enumerate(zip(modalities, tokens, strict=True)):
        if modality.pad_id is not None:
            wide = np.full((len(array), modality.max_tokens), modality.pad_id, np.int64)
            real = np.arange(array.shape[1]) < lengths[:, m, None]  # [batch, width]
            wide[:, : array.shape[1]][real] = array[real]
            full[:, m] = modality.max_tokens
            array = wide
        filled.append(array)
    return filled, full


def mask_batch(
    rng: np.random.Generator,
    modalities: Sequence[Modality],
    config: MaskingConfig,
    tokens: Sequence[np.ndarray],
    lengths: np.ndarray,
) -> tuple[Packed, Packed]:
    """Draw inputs and targets of a batch: ``tokens`` per modality [batch, width], ``lengths``
    [batch, M]."""
    if config.padded_captions:
        tokens, lengths = fill_up(modalities, tokens, lengths)
    roles = draw_roles(rng, modalities, config, lengths, [t.shape[1] for t in tokens])
    return pack(roles, tokens)
