"""Which tokens a sample shows (inputs) and which it asks for (targets), for a whole batch at once.

Dirichlet budgets over the modalities; random positions, or one contiguous span for modalities with
a span stride. All in NumPy, drawn from one generator that the caller keys by (seed, step).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nano4m_audio.nano4m.settings import MaskingConfig, Modality

UNUSED, INPUT, TARGET = 0, 1, 2


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


def log_dirichlet(
    rng: np.random.Generator, alphas: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Draw unnormalised log-Dirichlet weights, float64 ``[*shape, len(alphas)]``.

    In log space, because a plain gamma draw underflows to 0 for every modality at small alphas.
    """
    alphas = np.maximum(np.asarray(alphas, np.float64), 1e-9)
    size = (*shape, len(alphas))
    boosted = np.log(rng.standard_gamma(alphas + 1.0, size))
    return boosted + np.log1p(-rng.random(size)) / alphas


def draw_budgets(
    rng: np.random.Generator, totals: np.ndarray, alphas: np.ndarray, limits: np.ndarray
) -> np.ndarray:
    """Share ``totals`` [batch] among modalities, at most ``limits`` each; both int64 [batch, M].

    Tokens lost by rounding down each go to the argmax of a fresh draw. What the limits cut is lost,
    not redistributed.
    """
    batch, n_modalities = limits.shape
    log_weights = log_dirichlet(rng, alphas, (batch,))
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    budgets = np.floor(shares * totals[:, None]).astype(np.int64)
    left = totals - budgets.sum(axis=1)
    winners = log_dirichlet(rng, alphas, (batch, n_modalities)).argmax(axis=2)
    for extra in range(n_modalities):  # the left-over is below the number of modalities
        rows = np.flatnonzero(left > extra)
        budgets[rows, winners[rows, extra]] += 1
    return np.minimum(budgets, limits)


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
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of input and target tokens per modality, two int64 [batch, M].

    ``lengths`` [batch, M] are the real sequence lengths; padding is never budgeted. Every sample
    has at least one input token, and at least one target unless its inputs use everything.
    """
    batch = len(lengths)
    low, high = config.input_tokens_range
    n_input = rng.integers(low, high, batch, endpoint=True)
    low, high = config.target_tokens_range
    n_target = rng.integers(low, high, batch, endpoint=True)
    alphas = {w: np.array(config.alphas(w, modalities)) for w in ("input", "target")}
    inputs = draw_budgets(rng, n_input, alphas["input"], lengths)
    targets = draw_budgets(rng, n_target, alphas["target"], lengths - inputs)
    for m, modality in enumerate(modalities):
        if modality.span_stride:
            inputs[:, m], targets[:, m] = span_lengths(
                inputs[:, m], targets[:, m], modality.span_stride, lengths[:, m]
            )
    _fill_empty(inputs, targets, modalities, lengths)
    return inputs, targets


def _fill_empty(
    inputs: np.ndarray, targets: np.ndarray, modalities: Sequence[Modality], lengths: np.ndarray
) -> None:
    """Give a sample without inputs some of the first modality, one without targets some of the
    first modality that has room: an empty side would be a wasted sample, or NaN."""
    units = np.array([m.span_stride or 1 for m in modalities])
    inputs[inputs.sum(axis=1) == 0, 0] = units[0]
    targets[:, 0] = np.minimum(targets[:, 0], lengths[:, 0] - inputs[:, 0])
    room = lengths - inputs >= units
    rows = np.flatnonzero((targets.sum(axis=1) == 0) & room.any(axis=1))
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
    [batch, width]."""
    order = rng.random((len(inputs), width))
    order[np.arange(width) >= length[:, None]] = 2.0  # padding comes last and is never reached
    rank = order.argsort(axis=1).argsort(axis=1)
    roles = np.where(rank < inputs[:, None], INPUT, UNUSED)
    asked = (rank >= inputs[:, None]) & (rank < (inputs + targets)[:, None])
    return np.where(asked, TARGET, roles).astype(np.int8)


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
    offset = np.arange(width) - starts[:, None]
    roles = np.where((offset >= 0) & (offset < inputs[:, None]), INPUT, UNUSED)
    asked = (offset >= inputs[:, None]) & (offset < (inputs + targets)[:, None])
    return np.where(asked, TARGET, roles).astype(np.int8)


def draw_roles(
    rng: np.random.Generator,
    modalities: Sequence[Modality],
    config: MaskingConfig,
    lengths: np.ndarray,
    widths: Sequence[int],
) -> np.ndarray:
    """UNUSED, INPUT or TARGET for every position of every modality, int8 [batch, sum(widths)].

    ``widths`` are the columns each modality has, at least its longest length in the batch.
    """
    inputs, targets = draw_counts(rng, modalities, config, lengths)
    roles = []
    for m, (modality, width) in enumerate(zip(modalities, widths, strict=True)):
        args = rng, inputs[:, m], targets[:, m], lengths[:, m], width
        stride = modality.span_stride
        roles.append(span_roles(*args, stride) if stride else random_roles(*args))
    return np.concatenate(roles, axis=1)


def pack(roles: np.ndarray, role: int, tokens: Sequence[np.ndarray], limit: int) -> Packed:
    """Lay out the positions that have ``role``: by sample, then modality, then position.

    ``tokens`` is one [batch, width] array per modality. Of a sample with more than ``limit`` such
    tokens (span rounding can add a stride) the tail is cut.
    """
    chosen = roles == role
    chosen &= np.cumsum(chosen, axis=1) <= limit
    widths = [t.shape[1] for t in tokens]
    columns = np.nonzero(chosen)[1]
    return Packed(
        tokens=np.concatenate(tokens, axis=1)[chosen].astype(np.int64),
        positions=np.concatenate([np.arange(w) for w in widths])[columns],
        modalities=np.repeat(np.arange(len(widths)), widths)[columns],
        lengths=chosen.sum(axis=1),
    )


def mask_batch(
    rng: np.random.Generator,
    modalities: Sequence[Modality],
    config: MaskingConfig,
    tokens: Sequence[np.ndarray],
    lengths: np.ndarray,
) -> tuple[Packed, Packed]:
    """Draw inputs and targets of a batch: ``tokens`` per modality [batch, width], ``lengths``
    [batch, M]."""
    roles = draw_roles(rng, modalities, config, lengths, [t.shape[1] for t in tokens])
    return (
        pack(roles, INPUT, tokens, config.input_tokens_range[1]),
        pack(roles, TARGET, tokens, config.target_tokens_range[1]),
    )
