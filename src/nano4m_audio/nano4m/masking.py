"""Which tokens a sample shows (inputs) and which it asks for (targets), for a whole batch at once.

Dirichlet budgets over the modalities; random positions, or one contiguous span for modalities with
a span stride. All in NumPy, drawn from one generator that the caller keys by (seed, step): a batch
is then the same on every device and for any number of ranks, and since it is drawn in a thread
while the device computes, it costs a GPU nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
            self.tokens[part],
            self.positions[part],
            self.modalities[part],
            self.lengths[start:stop],
        )


@dataclass(frozen=True)
class Plan:
    """What every sample draws from: Dirichlet concentrations float64 [batch, M], and which
    modalities may be in the input, bool [batch, M]. ``source`` int64 [batch] is the modality that
    is the whole input, or -1."""

    input_alphas: np.ndarray
    target_alphas: np.ndarray
    allowed: np.ndarray
    source: np.ndarray


def draw_plan(
    rng: np.random.Generator, modalities: Sequence[Modality], config: MaskingConfig, batch: int
) -> Plan:
    """Draw the component of the mixture, the dropped modalities and the single sources."""
    shape = batch, len(modalities)
    weights = np.array([c.weight for c in config.components()])
    chosen = rng.choice(len(weights), batch, p=weights / weights.sum())
    dropped = rng.random(shape)
    allowed = dropped >= config.modality_dropout
    allowed[np.arange(batch), dropped.argmax(axis=1)] = True
    single = rng.random(batch) < config.single_source_prob
    return Plan(
        np.array(config.alphas("input", modalities))[chosen],
        np.array(config.alphas("target", modalities))[chosen],
        allowed,
        np.where(single, rng.integers(0, len(modalities), batch), -1),
    )


def log_dirichlet(rng: np.random.Generator, alphas: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Draw unnormalised log-Dirichlet weights along the last axis; -inf where not ``allowed``.

    ``alphas`` and ``allowed`` broadcast to the shape of the result (float64). In log space, because
    a plain gamma draw underflows to 0 for every modality at small alphas.
    """
    alphas, allowed = np.broadcast_arrays(np.maximum(alphas, 1e-9), allowed)
    boosted = np.log(rng.standard_gamma(alphas + 1.0))
    weights = boosted + np.log1p(-rng.random(alphas.shape)) / alphas
    return np.where(allowed, weights, -np.inf)


def draw_budgets(
    rng: np.random.Generator,
    totals: np.ndarray,
    alphas: np.ndarray,
    limits: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray:
    """Share ``totals`` [batch] among the allowed modalities, at most ``limits`` each.

    All other arrays are [batch, M], the result int64. Tokens lost by rounding down each go to the
    argmax of a fresh draw. What the limits cut is lost, not redistributed.
    """
    n_modalities = limits.shape[1]
    log_weights = log_dirichlet(rng, alphas, allowed)
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    budgets = np.floor(shares * totals[:, None]).astype(np.int64)
    left = totals - budgets.sum(axis=1)
    # The left-over is below the number of modalities.
    fresh = np.repeat(alphas[:, None], n_modalities - 1, axis=1)
    winners = log_dirichlet(rng, fresh, allowed[:, None]).argmax(axis=2)
    won = winners[:, :, None] == np.arange(n_modalities)
    won &= (np.arange(n_modalities - 1) < left[:, None])[:, :, None]
    return np.minimum(budgets + won.sum(axis=1), limits)


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


def draw_counts(
    rng: np.random.Generator,
    modalities: Sequence[Modality],
    config: MaskingConfig,
    lengths: np.ndarray,
    plan: Plan,
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of input and target tokens per modality, two int64 [batch, M].

    ``lengths`` [batch, M] are the real sequence lengths; padding is never budgeted. Every sample
    has at least one input token, and at least one target unless its inputs use everything.
    """
    batch = len(lengths)
    n_input = rng.integers(*config.input_tokens_range, batch, endpoint=True)
    n_target = rng.integers(*config.target_tokens_range, batch, endpoint=True)
    is_source = plan.source[:, None] == np.arange(len(modalities))
    single = is_source.any(axis=1, keepdims=True)
    inputs = draw_budgets(rng, n_input, plan.input_alphas, lengths, plan.allowed)
    inputs = np.where(single, lengths * is_source, inputs)
    targets = draw_budgets(rng, n_target, plan.target_alphas, lengths - inputs, ~is_source)
    may_show = plan.allowed & ~single  # modalities whose span may begin with input tokens
    for m, modality in enumerate(modalities):
        if stride := modality.span_stride:
            spans = span_lengths(inputs[:, m], targets[:, m], stride, lengths[:, m])
            alone = inputs[:, m], targets[:, m] // stride * stride
            inputs[:, m], targets[:, m] = np.where(may_show[:, m], spans, alone)
    _fill_empty(inputs, targets, modalities, lengths)
    return inputs, targets


def _fill_empty(
    inputs: np.ndarray, targets: np.ndarray, modalities: Sequence[Modality], lengths: np.ndarray
) -> None:
    """Give a sample without inputs some of the first modality, one without targets some of the
    first modality that has room: an empty side would be a wasted sample, or NaN."""
    units = np.array([m.span_stride or 1 for m in modalities])
    blind = inputs.sum(axis=1) == 0
    if blind.any():
        inputs[blind, 0] = units[0]
        targets[:, 0] = np.minimum(targets[:, 0], lengths[:, 0] - inputs[:, 0])
    idle = targets.sum(axis=1) == 0
    if idle.any():
        room = lengths - inputs >= units
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
    """Scatter ``inputs`` and ``targets`` [batch] over random positions below ``length``: int8
    [batch, width].

    Every position gets a random key that ends in its own number, so that no two are equal; those
    with the smallest keys are inputs, the next ones targets. Only values are sorted, which is
    several times faster than sorting indices.
    """
    bits = width.bit_length()
    columns = np.arange(width, dtype=np.uint32)
    keys = _random_bits(rng, len(inputs) * width).reshape(-1, width)
    keys = keys >> (bits + 1) << bits | columns
    keys[columns >= length[:, None]] |= _PADDING  # comes last and is never reached
    ranked = np.sort(keys, axis=1)
    rows = np.arange(len(inputs))

    def least(n: np.ndarray) -> np.ndarray:
        """Whether a position is among the ``n`` [batch] of its row with the smallest keys."""
        bound = np.where(n < width, ranked[rows, np.minimum(n, width - 1)], _PADDING)
        return (keys < bound[:, None]).view(np.int8)

    return TARGET * least(inputs + targets) - (TARGET - INPUT) * least(inputs)


def _random_bits(rng: np.random.Generator, n: int) -> np.ndarray:
    """uint32 [n]; pairs are drawn as one number, which is the fastest way."""
    return rng.integers(0, 2**64 - 1, (n + 1) // 2, np.uint64, endpoint=True).view(np.uint32)[:n]


def span_roles(
    rng: np.random.Generator,
    inputs: np.ndarray,
    targets: np.ndarray,
    length: np.ndarray,
    width: int,
    stride: int,
) -> np.ndarray:
    """Place one span at a random multiple of ``stride``, inputs first, targets right after them."""
    starts = rng.integers(0, (length - inputs - targets) // stride, endpoint=True) * stride
    roles = np.zeros((len(starts), width), np.int8)
    for start, n_input, n_target, row in zip(
        starts.tolist(), inputs.tolist(), targets.tolist(), roles, strict=True
    ):
        row[start : start + n_input] = INPUT
        row[start + n_input : start + n_input + n_target] = TARGET
    return roles


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
    parts = []
    for m, (modality, width) in enumerate(zip(modalities, widths, strict=True)):
        args = rng, inputs[:, m], targets[:, m], lengths[:, m], width
        stride = modality.span_stride
        parts.append(span_roles(*args, stride) if stride else random_roles(*args))
    roles = np.concatenate(parts, axis=1)
    shown = np.where(plan.source < 0, config.input_tokens_range[1], roles.shape[1])
    for role, counts, limits in (
        (INPUT, inputs, shown),
        (TARGET, targets, np.full(len(roles), config.target_tokens_range[1])),
    ):
        for row in np.flatnonzero(counts.sum(axis=1) > limits):
            roles[row, np.flatnonzero(roles[row] == role)[limits[row] :]] = UNUSED
    return roles


def pack(roles: np.ndarray, tokens: Sequence[np.ndarray]) -> tuple[Packed, Packed]:
    """Lay out inputs and targets: by sample, then modality, then position.

    ``tokens`` is one [batch, width] array per modality.
    """
    widths = [t.shape[1] for t in tokens]
    positions = np.concatenate([np.arange(w) for w in widths])
    modalities = np.repeat(np.arange(len(widths)), widths)
    flat = np.concatenate(tokens, axis=1).ravel()

    def side(role: int) -> Packed:
        places = np.flatnonzero(roles == role)
        samples = places // roles.shape[1]
        columns = places - samples * roles.shape[1]
        return Packed(
            tokens=flat[places].astype(np.int64),
            positions=positions[columns],
            modalities=modalities[columns],
            lengths=np.bincount(samples, minlength=len(roles)),
        )

    return side(INPUT), side(TARGET)


def fill_up(
    modalities: Sequence[Modality], tokens: Sequence[np.ndarray], lengths: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Fill short sequences of modalities that have a ``pad_id`` up to ``max_tokens``, and count
    the padding as tokens."""
    filled, full = [], lengths.copy()
    for m, (modality, array) in enumerate(zip(modalities, tokens, strict=True)):
        if modality.pad_id is not None:
            wide = np.full((len(array), modality.max_tokens), modality.pad_id, np.int64)
            real = np.arange(array.shape[1]) < lengths[:, m, None]
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
