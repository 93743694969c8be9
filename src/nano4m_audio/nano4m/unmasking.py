"""In which order the positions of a modality are filled, how many in a pass, and how ids are drawn.

Schedules and filters are those of the published nano4M-Audio code (nanofm/models/fourm.py and
nanofm/utils/sampling.py).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nano4m_audio.nano4m.sampling import Sampling

#: The last temperature of MaskGIT's descent, which would otherwise be 0.
LEAST_TEMPERATURE = 1e-3
#: Below it, scores divided by the temperature would leave the range of float32.
_GREEDY_BELOW = 1e-6


def constant_schedule(n_tokens: int, steps: int) -> list[int]:
    """Tokens per step: equal parts, the remainder in the last one. Raises ValueError when a step
    would be empty."""
    if not 1 <= steps <= n_tokens:
        raise ValueError(f"{n_tokens} tokens cannot be generated in {steps} steps")
    part = n_tokens // steps
    return [part] * (steps - 1) + [n_tokens - part * (steps - 1)]


def cosine_schedule(n_tokens: int, steps: int) -> list[int]:
    """Tokens per step of MaskGIT, few at first, in fewer steps when there are fewer tokens.

    What is missing at the end (one token, by rounding) is for one more pass. Raises ValueError
    without a token or a step.
    """
    if n_tokens < 1 or steps < 1:
        raise ValueError(f"{n_tokens} tokens cannot be generated in {steps} steps")
    known, parts = 0, []
    for i in range(1, steps + 1):
        wanted = int((1 - math.cos(math.pi / 2 * i / steps)) * n_tokens)
        parts.append(min(max(1, wanted - known), n_tokens - known))
        known += parts[-1]
        if known == n_tokens:
            break
    return parts


def positions_per_pass(n_tokens: int, sampling: Sampling) -> list[int]:
    """How many of ``n_tokens`` positions each pass fills: all of them in at most ``steps``."""
    steps = min(sampling.steps, n_tokens)
    schedule = constant_schedule if sampling.schedule == "constant" else cosine_schedule
    parts = schedule(n_tokens, steps)
    parts[-1] += n_tokens - sum(parts)
    return parts


def maskgit_temperatures(base: float, steps: int) -> list[float]:
    """A straight line from ``base`` to almost 0."""
    last = max(steps - 1, 1)
    return [max(base * (1 - i / last), LEAST_TEMPERATURE) for i in range(steps)]


def temperatures(passes: int, sampling: Sampling) -> list[float]:
    """The temperature of each pass: MaskGIT's falls, a temperature of 0 stays."""
    if sampling.scheme == "maskgit" and sampling.temperature:
        return maskgit_temperatures(sampling.temperature, passes)
    return [sampling.temperature] * passes


@lru_cache(maxsize=16)
def halton_order(n_positions: int, line: bool = False) -> np.ndarray:
    """Positions so ordered that those of any beginning lie evenly spread: int64 [n_positions].

    On a square grid, row by row, the order in which the points of the Halton sequence of bases 2
    and 3 first meet its cells (arXiv 2503.17076); for a number that is no square, or a ``line``,
    that of base 2 and the parts of a line.
    """
    side = math.isqrt(n_positions)
    flat = line or side * side != n_positions
    order: dict[int, None] = {}
    number = 1
    while len(order) < n_positions:
        if flat:
            place = int(_radical_inverse(number, 2) * n_positions)
        else:
            row, column = (int(_radical_inverse(number, base) * side) for base in (2, 3))
            place = row * side + column
        order.setdefault(place)
        number += 1
    return np.array(list(order), np.int64)


def _radical_inverse(number: int, base: int) -> float:
    """The digits of ``number`` mirrored at the point, in 0..1 (excluded)."""
    top, bottom = 0, 1
    while number:
        number, digit = divmod(number, base)
        top, bottom = top * base + digit, bottom * base
    return top / bottom


def filter_logits(logits: Tensor, top_k: int | float = 0, top_p: float = 0.0) -> Tensor:
    """Logits [..., vocab] with -inf for what may not be drawn; 0 switches a filter off.

    ``top_k`` is a count, or as a float a share of the vocabulary; ties with the last one stay.
    ``top_p`` then keeps the most likely ids up to the first that takes their sum above it. Raises
    ValueError for a share that is less than one id.
    """
    size = logits.shape[-1]
    if top_k:
        count = int(top_k * size) if isinstance(top_k, float) else min(top_k, size)
        if count < 1:
            raise ValueError(f"top_k {top_k} is less than one of {size} ids")
        least = logits.topk(count, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p:
        ranked, order = logits.sort(dim=-1, descending=True, stable=True)
        shares = ranked.softmax(dim=-1)
        beyond = shares.cumsum(dim=-1) - shares > top_p
        drop = torch.zeros_like(beyond).scatter(-1, order, beyond)
        logits = logits.masked_fill(drop, -torch.inf)
    return logits


def draw_ids(
    logits: Tensor, uniform: Tensor, temperature: float, top_k: int | float = 0, top_p: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Draw one id per row of ``logits`` [..., vocab]: ids int64 [...], and how sure the model is of
    them, their log probabilities at temperature 1.

    ``uniform`` float64 [...] in 0..1 (excluded) decides: the id is the one in whose part of the
    cumulated probabilities it falls. Temperature 0 takes the most likely id. Filters look at the
    distribution at temperature 1.
    """
    if temperature < _GREEDY_BELOW:
        ids = logits.argmax(dim=-1)
    else:
        shares = (filter_logits(logits, top_k, top_p) / temperature).softmax(dim=-1)
        sums = shares.double().cumsum(dim=-1)
        places = uniform[..., None] * sums[..., -1:]
        ids = torch.searchsorted(sums, places, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)
    sure = logits.log_softmax(dim=-1).gather(-1, ids[..., None])
    return ids, sure[..., 0]
