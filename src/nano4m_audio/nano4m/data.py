"""Token arrays in memory and the batches drawn from them.

Batch k is a function of (data, settings, seed, k) alone, so a resumed run needs no random state.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nano4m_audio.nano4m.masking import Packed, mask_batch
from nano4m_audio.nano4m.settings import MaskingConfig, Modality

#: Names of the independent random streams of one seed.
EPOCH_STREAM, BATCH_STREAM, FIXED_STREAM = 1, 2, 3


def spread_keyframes(count: int, of: int = 10) -> list[int]:
    """The middles of ``count`` equal parts of ``of`` keyframes: 3 of 10 are 1, 5 and 8."""
    return [(2 * i + 1) * of // (2 * count) for i in range(count)]


@dataclass(frozen=True)
class Batch:
    """The inputs of the encoder, the targets of the decoder, and the row of each sample's clip."""

    inputs: Packed
    targets: Packed
    clips: np.ndarray


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths end to end: sequence i is ``ids[offsets[i]:offsets[i + 1]]``.

    ``ids`` are integers [total], ``offsets`` int64 [n + 1].
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Ragged:
        lengths = [len(sequence) for sequence in sequences]
        ids = np.array([i for sequence in sequences for i in sequence], np.int64)
        return cls(ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, chosen: slice) -> Ragged:
        """The sequences ``start:stop``, without copying ids."""
        start, stop, _ = chosen.indices(len(self))
        first, last = self.offsets[start], self.offsets[max(start, stop)]
        return Ragged(self.ids[first:last], self.offsets[start : max(start, stop) + 1] - first)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]."""
        return np.diff(self.offsets)

    def padded(self) -> np.ndarray:
        """[n, longest] of the dtype of ``ids``; the rest of a row is 0."""
        lengths = self.lengths
        out = np.zeros((len(self), lengths.max(initial=1)), self.ids.dtype)
        out[np.arange(out.shape[1]) < lengths[:, None]] = self.ids
        return out


def stream(seed: int, name: int, counter: int) -> np.random.Generator:
    """A generator keyed by (seed, stream, counter): equal keys give equal numbers."""
    return np.random.Generator(np.random.Philox(key=[seed, name], counter=[0, 0, 0, counter]))


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order in which an epoch visits its ``n`` clips, int64 [n]; drawn once per epoch."""
    order = stream(seed, EPOCH_STREAM, epoch).permutation(n)
    order.flags.writeable = False
    return order


class TokenData:
    """The tokens of N clips.

    ``tokens`` maps a modality to integers [N, K, L] (K keyframes, or 1), in memory or mapped from a
    file: only the rows of a batch are read. ``captions`` is modality ``caption``, at least one id
    per clip. All modalities with K > 1 share K, and a sample takes the same keyframe of each.
    Raises ValueError naming the modality and row of a wrong value; ``check=False`` skips the pass
    over all ids, for tokens that were checked when they were read.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        tokens: Mapping[str, np.ndarray],
        captions: Ragged | Sequence[Sequence[int]],
        *,
        check: bool = True,
    ) -> None:
        self.modalities = tuple(modalities)
        ragged = captions if isinstance(captions, Ragged) else Ragged.of(captions)
        arrays, lengths = [], []
        for modality in self.modalities:
            if modality.name == "caption":
                array, length = _caption_array(ragged, modality), ragged.lengths
            else:
                array = _checked_array(tokens, modality)
                length = np.full(len(array), array.shape[2], np.int64)
            if check:
                _check_range(array, modality)
            arrays.append(array)
            lengths.append(length)
        counts = {m.name: len(a) for m, a in zip(self.modalities, arrays, strict=True)}
        if len(set(counts.values())) != 1:
            raise ValueError(f"modalities have different numbers of clips: {counts}")
        frames = {a.shape[1] for a in arrays} - {1}
        if len(frames) > 1:
            raise ValueError(f"modalities have different numbers of keyframes: {sorted(frames)}")
        self.arrays: list[np.ndarray] = arrays
        self.lengths: np.ndarray = np.stack(lengths, axis=1)
        self._lookup: np.ndarray | None = None
        self.n_keyframes: int = frames.pop() if frames else 1

    def __len__(self) -> int:
        return len(self.lengths)

    def renamed(self, modalities: Sequence[Modality], lookup: np.ndarray) -> TokenData:
        """The same clips with other ids: ``lookup`` [vocab_size] has the new one of every id."""
        other = copy.copy(self)
        other.modalities, other._lookup = tuple(modalities), lookup
        return other

    def rows(self, clips: np.ndarray, keyframes: np.ndarray) -> list[np.ndarray]:
        """Tokens of ``clips`` [batch] at ``keyframes`` [batch]: one [batch, width] per modality."""
        chosen = []
        for array in self.arrays:
            width, frames = array.shape[2], array.shape[1]
            places = clips * frames + keyframes if frames > 1 else clips
            ids = array.reshape(-1, width)[places]
            chosen.append(ids if self._lookup is None else self._lookup[ids])
        return chosen

    def spread_keyframes(self, wanted: int | None) -> np.ndarray:
        """At most ``wanted`` keyframes (None: all), evenly spread over those of a clip: int64."""
        number = min(wanted or self.n_keyframes, self.n_keyframes)
        return np.array(spread_keyframes(number, self.n_keyframes))

    def batch(self, step: int, batch_size: int, masking: MaskingConfig, seed: int) -> Batch:
        """Training batch number ``step``: the next clips of a fresh permutation per epoch."""
        if not len(self):
            raise ValueError("there is no clip to draw from")
        numbers = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, places = np.divmod(numbers, len(self))
        clips = np.empty(batch_size, np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            clips[here] = epoch_order(seed, epoch, len(self))[places[here]]
        return self.masked(clips, masking, stream(seed, BATCH_STREAM, step))

    def fixed_batches(self, batch_size: int, masking: MaskingConfig, seed: int) -> list[Batch]:
        """Every clip once, in order, under masks that depend on ``seed`` only."""
        clips = np.arange(len(self))
        parts = [clips[i : i + batch_size] for i in range(0, len(clips), batch_size)]
        return [self.masked(p, masking, stream(seed, FIXED_STREAM, i)) for i, p in enumerate(parts)]

    def masked(self, clips: np.ndarray, masking: MaskingConfig, rng: np.random.Generator) -> Batch:
        """Some clips, each at one of its usable keyframes, under masks of their own."""
        usable = self.spread_keyframes(masking.keyframes)
        keyframes = usable[rng.integers(0, len(usable), len(clips))]
        tokens, lengths = self.rows(clips, keyframes), self.lengths[clips]
        return Batch(*mask_batch(rng, self.modalities, masking, tokens, lengths), clips)


def whole(modality: int, tokens: np.ndarray, lengths: np.ndarray) -> Packed:
    """Pack complete sequences of one modality: ``tokens`` [batch, width], ``lengths`` [batch]."""
    valid = np.arange(tokens.shape[1]) < lengths[:, None]
    positions = np.nonzero(valid)[1]
    return Packed(
        tokens[valid].astype(np.int64), positions, np.full(len(positions), modality), lengths
    )


def _checked_array(tokens: Mapping[str, np.ndarray], modality: Modality) -> np.ndarray:
    if modality.name not in tokens:
        raise ValueError(f"{modality.name}: no tokens given, only {sorted(tokens)}")
    array = np.asarray(tokens[modality.name])
    if array.ndim != 3 or array.shape[2] != modality.max_tokens:
        raise ValueError(
            f"{modality.name}: tokens have shape {list(array.shape)}, not [clips, keyframes, "
            f"{modality.max_tokens}]"
        )
    return array


def smallest_dtype(vocab_size: int) -> type[np.unsignedinteger | np.signedinteger]:
    """The smallest dtype that holds every id below ``vocab_size``: uint16 or int32."""
    return np.uint16 if vocab_size <= np.iinfo(np.uint16).max + 1 else np.int32


def _caption_array(captions: Ragged, modality: Modality) -> np.ndarray:
    lengths = captions.lengths
    wrong = np.flatnonzero((lengths < 1) | (lengths > modality.max_tokens))
    if len(wrong):
        row = wrong[0]
        raise ValueError(f"caption row {row}: {lengths[row]} ids, not 1..{modality.max_tokens}")
    return captions.padded()[:, None]


def _check_range(array: np.ndarray, modality: Modality) -> None:
    if not array.size or (array.min() >= 0 and array.max() < modality.vocab_size):
        return
    row, keyframe, position = np.argwhere((array < 0) | (array >= modality.vocab_size))[0]
    raise ValueError(
        f"{modality.name} row {row}, keyframe {keyframe}, position {position}: id "
        f"{array[row, keyframe, position]} is outside 0..{modality.vocab_size - 1}"
    )
