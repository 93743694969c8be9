"""What the same targets of a clip cost under different inputs: its own, another clip's, or none.

The targets of a clip are drawn once, from the seed and its id, and stay the same under every input.
Random positions of a picture and a contiguous span of sound, as in training; the pieces of a
caption each by itself, since a caption's length is known from which pieces are asked for together.
What captions of all clips begin with ([SOS], or a common phrase) says nothing of a clip, and is
input under every condition: alone it is what "without a source" means, as no training sample is
without any input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nano4m_audio.evaluate.baselines import CountModel
from nano4m_audio.evaluate.common import BATCH_SIZE, ProbeInputs
from nano4m_audio.intervals import count_groups, mean_interval, paired_p
from nano4m_audio.nano4m.masking import INPUT, TARGET, Packed, pack
from nano4m_audio.nano4m.objective import token_losses
from nano4m_audio.training.token_sets import TokenSet

#: Targets of a clip in a modality, and pieces of a caption.
TARGETS, PIECES = 64, 8
#: Samples decoded at once: bounds the memory of whole clips as context.
DECODED_AT_ONCE = 4 * BATCH_SIZE


@dataclass(frozen=True)
class Shown:
    """What is input beside what is always there: so much of each of these modalities."""

    modalities: tuple[int, ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class Encoded:
    """Inputs of some clips and what the encoder makes of them, float [inputs, dim]."""

    seen: Packed
    features: Tensor


class FixedTargets:
    """The targets of every evaluated clip; ``numbers`` uint64 [n] identify the clips by id and
    seed, so that nothing depends on their order."""

    def __init__(self, inputs: ProbeInputs) -> None:
        self.inputs, self.data = inputs, inputs.data
        self.numbers = clip_numbers(inputs.chosen.clip_ids, inputs.seed)
        self.frame = int(self.data.spread_keyframes(1)[0])
        names = [modality.name for modality in self.data.modalities]
        self.text = names.index("caption") if "caption" in names else None
        self.begun = 0 if self.text is None else common_beginning(inputs, self.text)
        self._orders = [self._order(m) for m in range(len(names))]

    def codebooks(self, m: int) -> int:
        """How many codebooks are interleaved in a modality."""
        return self.data.modalities[m].span_stride or 1

    def losses(
        self, shown: Shown, sources: Mapping[str, np.ndarray], targets: Sequence[int]
    ) -> dict[tuple[int, str], np.ndarray]:
        """Mean cross-entropy [nats] of each clip's targets, by target modality and condition:
        float64 [n, codebooks].

        ``sources`` maps a condition to the clip, int64 [n], whose tokens are shown in place of each
        clip's own; NaN where that is -1 or nothing can be asked for.
        """
        n = len(self.data)
        found = {
            (m, name): np.full((n, self.codebooks(m)), np.nan) for m in targets for name in sources
        }
        for start in range(0, n, BATCH_SIZE):
            clips = np.arange(start, min(start + BATCH_SIZE, n))
            donors = np.stack([source[clips] for source in sources.values()])
            needed = np.unique(donors[donors >= 0])
            if not len(needed):
                continue
            encoded = self._encode(needed, shown)
            for name, source in sources.items():
                asked = clips[source[clips] >= 0]
                given = np.searchsorted(needed, source[asked])
                for m in targets:
                    found[m, name][asked] = self._decode(m, asked, encoded, given)
        return found

    def _order(self, m: int) -> np.ndarray:
        """The place of every position in the order in which a source is shown, int32 [n, width]:
        random, or from the beginning for spans and text."""
        modality, width = self.data.modalities[m], self.data.arrays[m].shape[2]
        if modality.span_stride or m == self.text:
            return np.broadcast_to(np.arange(width, dtype=np.int32), (len(self.data), width))
        places = [self._rng(clip, m).permutation(width) for clip in range(len(self.data))]
        return np.array(places, np.int32).reshape(len(self.data), width)

    def _rng(self, clip: int, m: int) -> np.random.Generator:
        return np.random.default_rng([int(self.numbers[clip]), m])

    def _shown(self, m: int, clips: np.ndarray, shown: Shown) -> np.ndarray:
        """Which positions are input, bool [clips, width]."""
        units = self.codebooks(m)
        lengths = self.data.lengths[clips, m]
        counts = np.zeros_like(lengths)
        if m in shown.modalities:
            counts = np.round(shown.share * lengths / units).astype(np.int64) * units
        if m == self.text:
            counts = np.maximum(counts, self.begun)
        counts = np.minimum(counts, lengths)
        return self._orders[m][clips] < counts[:, None]

    @torch.inference_mode()
    def _encode(self, clips: np.ndarray, shown: Shown) -> Encoded:
        rows = self.data.rows(clips, np.full(len(clips), self.frame))
        roles = [INPUT * self._shown(m, clips, shown) for m in range(len(rows))]
        seen = pack(np.concatenate(roles, axis=1), rows)[0]
        return Encoded(seen, self.inputs.model.encode(self.inputs.tokens(seen)))

    @torch.inference_mode()
    def _decode(self, m: int, clips: np.ndarray, encoded: Encoded, given: np.ndarray) -> np.ndarray:
        """Mean loss by codebook of each clip given the encoded inputs number ``given``."""
        targets, owner = self.asked(m, clips)
        model, losses = self.inputs.model, [np.zeros(0)]
        for start in range(0, len(owner), DECODED_AT_ONCE):
            owners = owner[start : start + DECODED_AT_ONCE]
            part = targets.samples(start, start + len(owners))
            rows, seen = take(encoded.seen, given[owners])
            asked = self.inputs.tokens(part)
            context = encoded.features[torch.from_numpy(rows).to(encoded.features.device)]
            features = model.decode(context, self.inputs.tokens(seen), asked)
            found = token_losses(model, features, asked, self.inputs.settings.objective)[m]
            losses.append(found.cpu().double().numpy())
        return self._means(m, targets, owner, len(clips), np.concatenate(losses))

    def counted(self, m: int, model: CountModel) -> np.ndarray:
        """Mean loss by codebook of each clip's targets by a count model: float64 [n, codebooks]."""
        clips = np.arange(len(self.data))
        targets, owner = self.asked(m, clips)
        losses = model.of(targets.positions, targets.tokens).astype(np.float64)
        return self._means(m, targets, owner, len(clips), losses)

    def _means(
        self, m: int, targets: Packed, owner: np.ndarray, clips: int, losses: np.ndarray
    ) -> np.ndarray:
        """The mean of its targets' losses by clip and codebook, NaN where there is none."""
        books = self.codebooks(m)
        places = np.repeat(owner, targets.lengths) * books + targets.positions % books
        sums = np.bincount(places, losses, clips * books)
        counts = np.bincount(places, minlength=clips * books)
        means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
        return means.reshape(clips, books)

    def asked(self, m: int, clips: np.ndarray) -> tuple[Packed, np.ndarray]:
        """The samples of these clips' targets in modality ``m``, and the place in ``clips`` of each
        sample, int64 [samples]."""
        rows = self.data.rows(clips, np.full(len(clips), self.frame))[m]
        if m == self.text:
            place = np.arange(rows.shape[1])
            last = np.minimum(self.data.lengths[clips, m], self.begun + PIECES)
            owner, positions = np.nonzero((place >= self.begun) & (place < last[:, None]))
            ids = rows[owner, positions].astype(np.int64)
            return Packed(ids, positions, np.full(len(ids), m), np.ones(len(ids), int)), owner
        chosen = self._orders[m][clips] < TARGETS
        if stride := self.data.modalities[m].span_stride:
            length = rows.shape[1] // stride
            units = min(length, max(1, TARGETS // stride))
            last = length - units
            starts = np.array([self._rng(c, m).integers(0, last, endpoint=True) for c in clips])
            ahead = np.arange(rows.shape[1]) - stride * starts[:, None]
            chosen = (ahead >= 0) & (ahead < units * stride)
        packed = pack(TARGET * chosen, [rows])[1]
        of_m = np.full(len(packed.tokens), m)
        return Packed(packed.tokens, packed.positions, of_m, packed.lengths), np.arange(len(clips))


def clip_numbers(clip_ids: Sequence[str], seed: int) -> np.ndarray:
    """A random number per clip that depends on its id and the seed alone: uint64 [n]."""
    digests = (hashlib.blake2b(f"{seed}:{c}".encode(), digest_size=8).digest() for c in clip_ids)
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def common_beginning(inputs: ProbeInputs, m: int) -> int:
    """How many ids the captions of all training and evaluated clips begin with alike."""
    first = inputs.data.arrays[m][0, 0]
    return min(_alike(clips, m, first) for clips in (inputs.train, inputs.chosen))


def _alike(clips: TokenSet, m: int, first: np.ndarray) -> int:
    captions, lengths = clips.data.arrays[m][:, 0], clips.data.lengths[:, m]
    shortest = min(int(lengths.min(initial=len(first))), len(first), captions.shape[1])
    same = (captions[:, :shortest] == first[:shortest]).all(axis=0)
    return shortest if same.all() else int(same.argmin())


def mean(values: np.ndarray) -> float | None:
    """The mean of the known values; None: there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def difference(values: np.ndarray, inputs: ProbeInputs) -> dict[str, Any]:
    """The mean of paired differences [n], NaN where there is none: interval over groups, and the
    p of "no difference" by random signs of groups."""
    counts = np.isfinite(values).astype(np.int64)
    sums = np.where(counts > 0, values, 0.0)
    interval = mean_interval(
        sums, counts, inputs.groups, inputs.confidence, inputs.bootstrap, inputs.seed
    )
    # Where all groups differ by the same, how far that may be off is not known.
    low, high = interval if interval and interval[0] < interval[1] else (None, None)
    return {
        "value": mean(values),
        "low": low,
        "high": high,
        "p": paired_p(sums, counts, inputs.groups, inputs.seed),
        "n": int(counts.sum()),
        "groups": count_groups(counts, inputs.groups),
    }


def take(packed: Packed, chosen: np.ndarray) -> tuple[np.ndarray, Packed]:
    """Samples ``chosen``, in that order and as often as they are named: their rows, int64, and the
    packed samples."""
    lengths = packed.lengths[chosen]
    ends = np.cumsum(lengths)
    firsts = (np.cumsum(packed.lengths) - packed.lengths)[chosen]
    rows = np.arange(lengths.sum()) + np.repeat(firsts - (ends - lengths), lengths)
    return rows, Packed(
        packed.tokens[rows], packed.positions[rows], packed.modalities[rows], lengths
    )
