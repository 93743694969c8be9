"""Count models that are told something beside the position: the token before, or the class.

-log P(id | position, context): counts of an id in its context, mixed with tokens of the position's
own distribution. How many of these is chosen by the cross-entropy of training groups that are held
out of the counts, as everywhere; where the context is not known, the position's distribution is
all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nano4m_audio.evaluate.baselines import CLIPS_AT_ONCE, CountModel, fold_numbers
from nano4m_audio.nano4m.data import TokenData

#: At most so many training clips are counted, evenly spread: counts of pairs do not fit in a table.
MOST_CLIPS = 16_384
#: Tokens of each held-out part that choose the smoothing.
HELD_TOKENS = 50_000
STRENGTHS = (*(10.0**k for k in range(-1, 6)), 1e12)

#: The context of every token of some clips, int64 [clips, keyframes, width] like their ids; -1:
#: not known. Called with the rows of the clips and their ids.
Context = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Counts:
    """How often each of the sorted ``keys`` int64 was seen: float64, of the same length."""

    keys: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, counts: np.ndarray) -> Counts:
        """Equal keys are added up."""
        unique, places = np.unique(keys, return_inverse=True)
        return cls(unique, np.bincount(places, counts, len(unique)))

    def __call__(self, keys: np.ndarray) -> np.ndarray:
        """The counts of these keys, float64; 0 for one that was not seen."""
        if not len(self.keys):
            return np.zeros(len(keys))
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.counts[places], 0.0)


@dataclass(frozen=True)
class ContextModel:
    """Counts of (context, id) and of contexts, both by every ``period``-th position."""

    prior: CountModel
    period: int
    strength: float
    pairs: Counts
    contexts: Counts

    def of(self, positions: np.ndarray, contexts: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """-log probability in nats of these tokens, float64 [n]; ``contexts``: -1, not known."""
        prior = np.exp(-self.prior.of(positions, ids).astype(np.float64))
        keys = _keys(self.prior, self.period, positions, contexts, ids)
        known = contexts >= 0
        own = np.where(known, self.pairs(keys[0]), 0.0)
        seen = np.where(known, self.contexts(keys[1]), 0.0)
        return -np.log((own + self.strength * prior) / (seen + self.strength))


def fit_contexts(
    data: TokenData,
    groups: np.ndarray,
    m: int,
    prior: CountModel,
    context: Context,
    periods: Sequence[int],
    padded: bool = False,
) -> ContextModel:
    """Fit a model of modality ``m`` to the training clips, with the best of ``periods``.
    ``padded`` counts the padding of short sequences, too."""
    clips = np.unique(np.linspace(0, len(data) - 1, min(MOST_CLIPS, len(data))).astype(np.int64))
    folds = fold_numbers(groups[clips])
    fits = []
    for period in periods:
        tokens = (_tokens(data, m, clips[folds == f], context, padded) for f in np.unique(folds))
        parts = [_counted(part, prior, period) for part in tokens]
        fit = _fit(parts, prior, period)
        losses = _held_out(fit, parts)
        best = min(losses, key=lambda strength: (losses[strength], -strength))
        fits.append((losses[best], ContextModel(prior, period, best, fit.pairs, fit.contexts)))
    return min(fits, key=lambda found: found[0])[1]


@dataclass(frozen=True)
class _Part:
    """The counts of a fold, and some of its tokens: positions, contexts and ids."""

    pairs: Counts
    contexts: Counts
    tokens: tuple[np.ndarray, np.ndarray, np.ndarray]


#: Position, context and id of some tokens, int64 [n] each.
_Told = tuple[np.ndarray, np.ndarray, np.ndarray]


def _counted(tokens: Iterable[_Told], prior: CountModel, period: int) -> _Part:
    pairs, seen, some = [], [], [np.zeros((3, 0), np.int64)]
    for told in tokens:
        ones = np.ones(len(told[0]))
        keys = _keys(prior, period, *told)
        pairs.append(Counts.of(keys[0], ones))
        seen.append(Counts.of(keys[1], ones))
        some.append(np.stack(told))
    few = np.concatenate(some, axis=1)
    if few.shape[1] > HELD_TOKENS:
        few = few[:, np.random.default_rng(0).integers(0, few.shape[1], HELD_TOKENS)]
    return _Part(_sum(pairs), _sum(seen), (few[0], few[1], few[2]))


def _tokens(
    data: TokenData, m: int, clips: np.ndarray, context: Context, padded: bool
) -> Iterator[_Told]:
    """Every token of these clips whose context is known."""
    modality = data.modalities[m]
    for start in range(0, len(clips), CLIPS_AT_ONCE):
        some = clips[start : start + CLIPS_AT_ONCE]
        ids = data.arrays[m][some].astype(np.int64)
        known = np.arange(ids.shape[2]) < data.lengths[some, m][:, None, None]
        known = np.broadcast_to(known, ids.shape)
        if padded and modality.pad_id is not None:
            wide = np.full((*ids.shape[:2], modality.max_tokens), modality.pad_id)
            wide[..., : ids.shape[2]][known] = ids[known]
            ids, known = wide, np.ones(wide.shape, bool)
        contexts = context(some, ids)
        known = known & (contexts >= 0)
        positions = np.broadcast_to(np.arange(ids.shape[2]), ids.shape)
        yield positions[known], contexts[known], ids[known]


def _keys(
    prior: CountModel, period: int, positions: np.ndarray, contexts: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of (phase, context, id) and of (phase, context), int64 each."""
    seen = contexts.astype(np.int64) * period + positions % period
    return seen * prior.losses.shape[1] + ids, seen


def _sum(parts: Sequence[Counts]) -> Counts:
    keys = np.concatenate([np.zeros(0, np.int64), *(part.keys for part in parts)])
    return Counts.of(keys, np.concatenate([np.zeros(0), *(part.counts for part in parts)]))


def _fit(parts: Sequence[_Part], prior: CountModel, period: int) -> ContextModel:
    pairs, contexts = (_sum([getattr(p, n) for p in parts]) for n in ("pairs", "contexts"))
    return ContextModel(prior, period, STRENGTHS[-1], pairs, contexts)


def _held_out(fit: ContextModel, parts: Sequence[_Part]) -> dict[float, float]:
    """Loss of the held-out tokens by the counts of all other parts, by strength."""
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for part in parts:
        keys = _keys(fit.prior, fit.period, *part.tokens)
        own = fit.pairs(keys[0]) - part.pairs(keys[0])
        seen = fit.contexts(keys[1]) - part.contexts(keys[1])
        prior = np.exp(-fit.prior.of(part.tokens[0], part.tokens[2]).astype(np.float64))
        for strength in STRENGTHS:
            p = (own + strength * prior) / (seen + strength)
            losses[strength] -= float(np.log(p).sum())
    return losses


def token_before(lag: int, frame: int = 0) -> Context:
    """The token ``lag`` positions earlier; with ``frame``, only within frames of so many tokens."""

    def context(clips: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return shifted(ids, lag, frame)

    return context


def shifted(ids: np.ndarray, lag: int, frame: int = 0) -> np.ndarray:
    """The ids ``lag`` places earlier along the last axis; -1 before its beginning, or before that
    of the frame."""
    before = np.full(ids.shape, -1, np.int64)
    before[..., lag:] = ids[..., :-lag]
    if frame:
        before[..., np.arange(ids.shape[-1]) % frame < lag] = -1
    return before


def class_of(classes: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The number of each clip's class among ``names``, int64 [n]; -1 for one that is not there."""
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(name, -1) for name in classes], np.int64)


def class_context(numbers: np.ndarray) -> Context:
    """The class of the clip, int64 [n], for all of its tokens."""

    def context(clips: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return np.broadcast_to(numbers[clips][:, None, None], ids.shape)

    return context
