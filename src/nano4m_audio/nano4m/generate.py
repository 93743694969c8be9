"""Generation of a modality from given tokens, for a batch of samples at once.

One loop for all schemes: a pass asks the model for positions that are not known yet, draws their
ids and keeps some or all of them, which are inputs of the next pass. What is made of a sample
depends on its number, the seed and its inputs alone. So every sample draws from a stream of its
own, and the model only sees batches of one shape: other shapes may round otherwise, and a near tie
would be another id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import stream
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.objective import own_table
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.nano4m.unmasking import (
    draw_ids,
    halton_order,
    positions_per_pass,
    temperatures,
)

#: Where there is no token, in arrays of ids.
NOTHING = -1
#: The random streams of generated modalities: this, plus the index of the modality.
_STREAMS = 1 << 32
#: The most numbers in one activation and in the scores of a chunk, and the most samples in it.
_LIMITS = {"cpu": (1 << 18, 1 << 22, 8), "gpu": (1 << 25, 1 << 27, 64)}

#: Shows how far an iteration is, given its items, how many there are and what they are.
Track = Callable[[Iterable[None], int, str], Iterable[None]]


def silent(items: Iterable[None], total: int, label: str) -> Iterable[None]:
    """Shows nothing."""
    return items


@dataclass(frozen=True)
class Marks:
    """The ids that begin and end the sequences of a modality of variable length."""

    start: int
    end: int


def generate(
    model: FourM,
    given: Packed,
    modality: int,
    sampling: Sampling,
    samples: np.ndarray,
    *,
    marks: Mapping[int, Marks] | None = None,
    order: np.ndarray | None = None,
    track: Track = silent,
) -> np.ndarray:
    """All tokens of ``modality`` from ``given``: int64 [batch, max_tokens], ids of its own only.

    Tokens of ``modality`` itself that are in ``given`` stay as they are, and only its other
    positions are generated. ``samples`` int64 [batch] number the samples: what is drawn for one
    depends on its number, the seed and its inputs alone, not on the batch.

    ``marks`` names the modalities of variable length, by index: these begin with the start id, are
    written from left to right, one token per pass whatever the scheme, and end with the first end
    id, at the latest in the last place; then NOTHING follows. Ids of a modality with a
    ``span_stride`` stay in the codebook of their position. With ``guidance`` g, scores are uncond +
    (1 + g) (cond - uncond); the input of uncond is what is known of ``modality``, and no source.

    ``order`` int64 [batch, max_tokens] is the order of positions in place of the scheme's.
    ``track`` may show the passes. Raises ValueError for samples, marks or an order that do not fit.
    """
    job = _Job(model, modality, sampling, (marks or {}).get(modality), order is None)
    known = known_ids(given, modality, job.modality.max_tokens)
    samples = np.asarray(samples, np.int64)
    if samples.shape != (len(known),) or (samples < 0).any():
        raise ValueError(f"{len(known)} samples need as many numbers, of 0 or more")
    if order is not None and not np.array_equal(np.sort(order), np.indices(known.shape)[1]):
        raise ValueError("order does not name every position of every sample once")
    if job.marks:
        if max(job.marks.start, job.marks.end) >= job.modality.vocab_size:
            raise ValueError(f"{job.modality.name} has no ids {job.marks}")
        known[:, 0] = np.where(known[:, 0] == NOTHING, job.marks.start, known[:, 0])
    chunks = _chunks(job, without(given, modality), known, samples, order)
    passes = (step for chunk in chunks for step in _fill(job, chunk, known))
    for _ in track(passes, sum(len(chunk.passes) for chunk in chunks), job.modality.name):
        pass
    return known


def generate_chain(
    model: FourM,
    given: Packed,
    modalities: Sequence[int],
    sampling: Sampling,
    samples: np.ndarray,
    *,
    marks: Mapping[int, Marks] | None = None,
    track: Track = silent,
) -> dict[int, np.ndarray]:
    """``generate`` one modality after the other, each an input of the next: ids by index."""
    made = {}
    for m in modalities:
        made[m] = generate(model, given, m, sampling, samples, marks=marks, track=track)
        given = with_ids(without(given, m), m, made[m])
    return made


def known_ids(given: Packed, modality: int, width: int) -> np.ndarray:
    """The tokens of one modality by position: int64 [batch, width], NOTHING where there is none."""
    own = given.modalities == modality
    known = np.full((len(given.lengths), width), NOTHING, np.int64)
    known[_samples_of(given)[own], given.positions[own]] = given.tokens[own]
    return known


def without(given: Packed, modality: int) -> Packed:
    """All tokens but those of one modality."""
    kept = given.modalities != modality
    lengths = np.bincount(_samples_of(given)[kept], minlength=len(given.lengths))
    return Packed(given.tokens[kept], given.positions[kept], given.modalities[kept], lengths)


def with_ids(given: Packed, modality: int, ids: np.ndarray) -> Packed:
    """Add to every sample tokens of one modality: ``ids`` [batch, width] by position, where they
    are not NOTHING."""
    rows, positions = np.nonzero(ids != NOTHING)
    order = np.argsort(np.concatenate([_samples_of(given), rows]), kind="stable")
    added = ids[rows, positions], positions, np.full(len(rows), modality)
    columns = zip((given.tokens, given.positions, given.modalities), added, strict=True)
    tokens, positions, modalities = (np.concatenate(pair)[order] for pair in columns)
    lengths = given.lengths + np.bincount(rows, minlength=len(ids))
    return Packed(tokens, positions, modalities, lengths)


def _samples_of(packed: Packed) -> np.ndarray:
    """The sample of each token, by place."""
    return np.repeat(np.arange(len(packed.lengths)), packed.lengths)


@dataclass(frozen=True)
class _Job:
    """What is the same for all samples."""

    model: FourM
    index: int
    sampling: Sampling
    marks: Marks | None
    in_own_order: bool

    @property
    def modality(self) -> Modality:
        return self.model.config.modalities[self.index]

    @property
    def device(self) -> torch.device:
        return self.model.to_logits.weight.device

    @property
    def surest_first(self) -> bool:
        """Whether the order of positions follows from what is drawn."""
        by_scheme = self.in_own_order and self.sampling.order == "scheme"
        return self.marks is None and by_scheme and self.sampling.scheme == "maskgit"

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """The order of all positions, as far as it does not follow from what is drawn."""
        width = self.modality.max_tokens
        if self.marks or self.surest_first:
            return np.arange(width)
        if self.sampling.order == "halton":
            return halton_order(width, line=self.modality.span_stride is not None)
        return rng.permutation(width)

    def passes(self, unknown: int) -> list[tuple[int, float]]:
        """How many positions each pass fills, and at which temperature."""
        if self.marks:
            return [(1, self.sampling.temperature)] * unknown
        counts = positions_per_pass(unknown, self.sampling)
        return list(zip(counts, temperatures(len(counts), self.sampling), strict=True))

    def chunk_size(self, longest: int, asked: int) -> int:
        """How many samples the model sees at once: a function of their shape and the device."""
        activations, scores, most = _LIMITS["cpu" if self.device.type == "cpu" else "gpu"]
        asked = asked if self.marks is None else 1
        fitting = activations // (longest * self.model.config.dim)
        return max(1, min(fitting, scores // (asked * self.modality.vocab_size), most))


@dataclass
class _Chunk:
    """Samples of one shape: as many tokens are given, known and left to generate.

    ``rows`` are their places in the batch; where they are too few to fill the chunk, some of them
    are in it more than once. ``source`` int64 [n, 3, S] holds tokens, positions and modalities of
    the other modalities, ``own`` [n, 3, K] those of what is known; ``left`` [n, U] are the
    positions to be generated, in their order.
    """

    rows: np.ndarray
    source: np.ndarray
    own: np.ndarray
    left: np.ndarray
    streams: list[np.random.Generator]
    passes: list[tuple[int, float]]


def _chunks(
    job: _Job, source: Packed, known: np.ndarray, samples: np.ndarray, order: np.ndarray | None
) -> list[_Chunk]:
    """The samples that are not complete, sorted by shape, in chunks of one size per shape."""
    ends = np.concatenate([[0], np.cumsum(source.lengths)])
    columns = np.stack([source.tokens, source.positions, source.modalities])
    shapes: dict[tuple[int, int, int], list[int]] = {}
    unknown = known == NOTHING
    for i, row in enumerate(known):
        if job.marks and len(last := np.flatnonzero(row == job.marks.end)):
            unknown[i, last[0] :] = False
        if count := int(unknown[i].sum()):
            shape = int(source.lengths[i]), int((row != NOTHING).sum()), count
            shapes.setdefault(shape, []).append(i)

    def chunk(rows: list[int], size: int) -> _Chunk:
        every = np.resize(rows, size)
        streams = [stream(job.sampling.seed, _STREAMS + job.index, int(samples[i])) for i in every]
        own, left = [], []
        for i, rng in zip(every, streams, strict=True):
            places = np.flatnonzero(known[i] != NOTHING)
            own.append([known[i, places], places, np.full(len(places), job.index)])
            wanted = job.order(rng) if order is None else order[i]
            left.append(wanted[unknown[i, wanted]])
        given = np.stack([columns[:, ends[i] : ends[i + 1]] for i in every])
        passes = job.passes(len(left[0]))
        return _Chunk(np.array(rows), given, np.array(own), np.stack(left), streams, passes)

    chunks = []
    for (length, own, left), rows in shapes.items():
        size = job.chunk_size(length + own + left, left)
        chunks += [chunk(rows[i : i + size], size) for i in range(0, len(rows), size)]
    return chunks


def _fill(job: _Job, chunk: _Chunk, known: np.ndarray) -> Iterator[None]:
    """Generate what is left of the samples of a chunk into ``known``, yielding after each pass."""
    n = len(chunk.left)
    ended = np.zeros(n, bool)
    for count, temperature in chunk.passes:
        if ended.all():
            break
        asked = chunk.left if job.surest_first else chunk.left[:, :count]
        ids, sure = _draw(job, chunk, asked, temperature)
        if job.surest_first:
            ranked = np.argsort(-sure, axis=1, kind="stable")
        else:
            ranked = np.tile(np.arange(chunk.left.shape[1]), (n, 1))
        chosen, rest = ranked[:, :count], np.sort(ranked[:, count:], axis=1)
        places, drawn = (np.take_along_axis(values, chosen, axis=1) for values in (asked, ids))
        chunk.left = np.take_along_axis(chunk.left, rest, axis=1)
        new = np.stack([drawn, places, np.full_like(places, job.index)], axis=1)
        chunk.own = np.concatenate([chunk.own, new], axis=2)
        for row, at, values, over in zip(chunk.rows, places, drawn, ended, strict=False):
            if not over:
                known[row, at] = values
        if job.marks:
            ended |= drawn[:, 0] == job.marks.end
        yield


@torch.inference_mode()
def _draw(
    job: _Job, chunk: _Chunk, asked: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ids for the positions ``asked`` [n, U], int64 [n, U], and how sure the model is of them."""
    options = job.sampling
    scores = _scores(job, np.concatenate([chunk.source, chunk.own], axis=2), asked)
    if options.guidance:
        scores += options.guidance * (scores - _scores(job, chunk.own, asked))
    scores = scores.masked_fill(_forbidden(job, chunk, asked), -torch.inf)
    if scores.device.type == "mps":
        scores = scores.cpu()  # it has no float64, in which the draw is made
    uniform = np.stack([rng.random(asked.shape[1]) for rng in chunk.streams])
    device_uniform = torch.from_numpy(uniform).to(scores.device)
    ids, sure = draw_ids(scores, device_uniform, temperature, options.top_k, options.top_p)
    return ids.cpu().numpy(), sure.cpu().numpy()


def _scores(job: _Job, inputs: np.ndarray, asked: np.ndarray) -> Tensor:
    """Scores of the modality's ids at positions ``asked`` [n, U], given ``inputs`` [n, 3, K]:
    float32 [n, U, ids]."""
    blank = np.zeros_like(asked)
    targets = np.stack([blank, asked, blank + job.index], axis=1)
    sides = []
    for columns in (inputs, targets):
        n, _, length = columns.shape
        tokens, positions, modalities = columns.transpose(1, 0, 2).reshape(3, -1)
        packed = Packed(tokens, positions, modalities, np.full(n, length))
        sides.append(Tokens.of(packed).to(job.device))
    features = job.model(*sides)
    return (features @ own_table(job.model, job.index).T).float().unflatten(0, asked.shape)


def _forbidden(job: _Job, chunk: _Chunk, asked: np.ndarray) -> Tensor:
    """Ids that may not be at the positions ``asked`` [n, U]: bool, to be broadcast to [n, U, ids].

    An id of another codebook; of a sequence of variable length its start and padding, its end
    before a known position, and in the last place all but the end.
    """
    size, stride = job.modality.vocab_size, job.modality.span_stride or 1
    places = torch.from_numpy(asked).to(job.device)[..., None]
    ids = torch.arange(size, device=job.device)
    if job.marks is None:
        if stride > 1 and size % stride == 0:
            return ids // (size // stride) != places % stride
        return torch.zeros((1, 1, size), dtype=torch.bool, device=job.device)
    never = (ids == job.marks.start) | (ids == job.modality.pad_id)
    is_end = ids == job.marks.end
    last_known = torch.from_numpy(chunk.own[:, 1].max(axis=1)).to(job.device)[:, None, None]
    forbidden = never | (is_end & (places < last_known))
    return forbidden | (~is_end & (places == job.modality.max_tokens - 1))
