"""Generation of a whole modality from given tokens: ROAR in random order, MaskGIT by confidence.

Both follow the published nano4M-Audio code (nanofm/models/fourm.py, nanofm/utils/sampling.py and
scripts/evaluation/final_evaluation.py), for a batch of samples at once.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.objective import own_table
from nano4m_audio.nano4m.sampling import Sampling

#: The last temperature of MaskGIT's descent, which would otherwise be 0.
LEAST_TEMPERATURE = 1e-3


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


def maskgit_temperatures(base: float, steps: int) -> list[float]:
    """A straight line from ``base`` to almost 0."""
    last = max(steps - 1, 1)
    return [max(base * (1 - i / last), LEAST_TEMPERATURE) for i in range(steps)]


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
        ranked, order = logits.sort(dim=-1, descending=True)
        shares = ranked.softmax(dim=-1)
        beyond = shares.cumsum(dim=-1) - shares > top_p
        drop = torch.zeros_like(beyond).scatter(-1, order, beyond)
        logits = logits.masked_fill(drop, -torch.inf)
    return logits


def sample_tokens(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | float = 0,
    top_p: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one id per row of ``logits`` [n, vocab]; returns ids int64 [n] and their probabilities.

    Temperature 0 takes the most likely id, with probability 1. Filters look at the distribution at
    temperature 1.
    """
    if temperature == 0:
        ids = logits.argmax(dim=-1)
        return ids, torch.ones_like(ids, dtype=logits.dtype)
    shares = (filter_logits(logits, top_k, top_p) / temperature).softmax(dim=-1)
    ids = torch.multinomial(shares, 1, generator=generator)
    return ids[:, 0], shares.gather(1, ids)[:, 0]


def extend(packed: Packed, modality: int, positions: np.ndarray, tokens: np.ndarray) -> Packed:
    """Add to every sample tokens of one modality; ``positions`` and ``tokens`` [batch, n]."""
    n = positions.shape[1]
    ends = np.repeat(np.cumsum(packed.lengths), n)
    return Packed(
        np.insert(packed.tokens, ends, tokens.ravel()),
        np.insert(packed.positions, ends, positions.ravel()),
        np.insert(packed.modalities, ends, modality),
        packed.lengths + n,
    )


def _scores_at(
    model: FourM, given: Packed, modality: int, positions: np.ndarray, table: Tensor
) -> Tensor:
    """Scores of the ids in ``table`` at ``positions`` [batch, n]: float32 [batch * n, ids]."""
    batch, n = positions.shape
    blank = np.zeros(batch * n, np.int64)
    places = np.ascontiguousarray(positions, np.int64).ravel()
    targets = Packed(blank, places, blank + modality, np.full(batch, n))
    device = table.device
    features = model(Tokens.of(given).to(device), Tokens.of(targets).to(device))
    return (features @ table.T).float()


def generate(
    model: FourM, given: Packed, modality: int, sampling: Sampling, samples: np.ndarray
) -> np.ndarray:
    """All tokens of ``modality`` from ``given``: int64 [batch, max_tokens], ids of its own only.

    ``samples`` int64 [batch] number the samples: what is drawn for one depends on its number, the
    seed and its inputs alone.
    """
    out = []
    for i, number in enumerate(samples.tolist()):
        generator = torch.Generator().manual_seed((sampling.seed << 20) % 2**62 + number)
        one, steps = given.samples(i, i + 1), sampling.steps
        heat = sampling.temperature
        if sampling.scheme == "roar":
            out.append(generate_roar(model, one, modality, steps, heat, generator=generator))
        else:
            out.append(generate_maskgit(model, one, modality, steps, heat, generator))
    return np.concatenate(out)


@torch.inference_mode()
def generate_roar(
    model: FourM,
    given: Packed,
    modality: int,
    steps: int = 8,
    temperature: float = 1.0,
    top_k: int | float = 0,
    top_p: float = 0.0,
    generator: torch.Generator | None = None,
    order: np.ndarray | None = None,
) -> np.ndarray:
    """All tokens of ``modality`` from ``given``, in random order: int64 [batch, max_tokens].

    Tokens of a step are drawn independently, and are inputs of the next step. As published, ids are
    not restricted to the modality's own. ``order`` [batch, max_tokens] replaces the random one.
    """
    width = model.config.modalities[modality].max_tokens
    batch = len(given.lengths)
    if order is None:
        order = torch.rand(batch, width, generator=generator).argsort(dim=1).numpy()
    out = np.zeros((batch, width), np.int64)
    first = 0
    for count in constant_schedule(width, steps):
        places = order[:, first : first + count]
        logits = _scores_at(model, given, modality, places, model.to_logits.weight)
        ids, _ = sample_tokens(logits, temperature, top_k, top_p, generator)
        drawn = ids.cpu().numpy().reshape(batch, count)
        np.put_along_axis(out, places, drawn, axis=1)
        given = extend(given, modality, places, drawn)
        first += count
    return out


@torch.inference_mode()
def generate_maskgit(
    model: FourM,
    given: Packed,
    modality: int,
    steps: int = 8,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> np.ndarray:
    """All tokens of ``modality`` from ``given``, the surest first: int64 [batch, max_tokens].

    Every step draws all unknown positions from the modality's own ids and keeps the draws with the
    highest probability; the temperature falls from ``temperature`` to almost 0. What is left at the
    end takes its most likely id.
    """
    width, batch = model.config.modalities[modality].max_tokens, len(given.lengths)
    table = own_table(model, modality)
    out = np.zeros((batch, width), np.int64)
    unknown = np.tile(np.arange(width), (batch, 1))
    heats = maskgit_temperatures(temperature, steps)
    for count, heat in zip(cosine_schedule(width, steps), heats, strict=False):
        logits = _scores_at(model, given, modality, unknown, table)
        ids, shares = sample_tokens(logits, heat, generator=generator)
        sure = (-shares.cpu().numpy().reshape(batch, -1)).argsort(axis=1, kind="stable")
        chosen, rest = sure[:, :count], np.sort(sure[:, count:], axis=1)
        places = np.take_along_axis(unknown, chosen, axis=1)
        drawn = np.take_along_axis(ids.cpu().numpy().reshape(batch, -1), chosen, axis=1)
        np.put_along_axis(out, places, drawn, axis=1)
        given = extend(given, modality, places, drawn)
        unknown = np.take_along_axis(unknown, rest, axis=1)
    if unknown.shape[1]:
        logits = _scores_at(model, given, modality, unknown, table)
        best = logits.argmax(dim=1).cpu().numpy().reshape(batch, -1)
        np.put_along_axis(out, unknown, best, axis=1)
    return out
