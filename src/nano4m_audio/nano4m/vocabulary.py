"""Training without a row for every id that never occurs.

All rows of the output table start at zero. Those of ids that are never a target, and that compete
for the same targets, get the same gradients, so they stay equal; rows of the input table that are
never looked up only decay. One row can thus stand for all such ids between two vocabulary sizes:
the weights that come out are the same, up to rounding, and the tables that are scored, updated and
kept in train states are as long as the ids that occur. Of the 50,304 ids of GPT-2, the captions of
a few classes use some hundreds.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nano4m_audio.nano4m.data import TokenData, smallest_dtype
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import Modality, ModelConfig, TrainSettings

INPUT_TABLE, OUTPUT_TABLE = "enc_tok_emb.weight", "to_logits.weight"
#: Tables of this share of the rows or more stay as they are.
WORTHWHILE = 0.75
#: Clips whose ids are looked at together, which bounds the memory for tokens mapped from a file.
CLIPS = 4096


@dataclass(frozen=True)
class SharedRows:
    """Rows of the output table that stand for several ids: their ``places``, rising, the same as a
    tensor, ``rows`` int64 [n], and for how many ids each stands, ``copies`` float32 [n]."""

    places: tuple[int, ...]
    rows: Tensor
    copies: Tensor

    def to(self, device: torch.device) -> SharedRows:
        """A copy on a device."""
        return SharedRows(self.places, self.rows.to(device), self.copies.to(device))

    def below(self, size: int) -> SharedRows:
        """Those among the first ``size`` rows."""
        n = bisect_left(self.places, size)
        return SharedRows(self.places[:n], self.rows[:n], self.copies[:n])

    def shift(self, size: int) -> Tensor:
        """What ``raise_scores`` adds to each of ``size`` columns, float32 [size]."""
        return self.copies.new_zeros(size).index_copy(0, self.rows, self.copies.log())

    def raise_scores(self, scores: Tensor) -> None:
        """Add log(copies) to columns of float32 scores, in place: in a softmax each then has the
        weight of all that it stands for."""
        scores.index_add_(1, self.rows, self.copies.log().expand(len(scores), -1))

    def part_gradient(self, table: Tensor) -> None:
        """Turn the gradient of all ids of a shared row into that of one of them, in place."""
        table[self.rows] = table[self.rows] / self.copies[:, None].to(table.dtype)

    def missing_square(self, gradient: Tensor) -> Tensor:
        """What the squared norm of ``gradient`` [rows, dim] lacks of that of the whole table."""
        rows = gradient[self.rows].float()
        return ((self.copies - 1)[:, None] * rows.square()).sum()


@dataclass(frozen=True)
class Vocabulary:
    """Which ids have a row of their own. ``row_of`` int64 [vocab_size]: the row of every id, in an
    order that leaves the ids of every modality the first rows; ``shared`` bool [rows]: whether a
    row stands for the ids that never occur; ``sizes``: rows by vocabulary size."""

    row_of: np.ndarray
    shared: np.ndarray
    sizes: Mapping[int, int]

    @classmethod
    def of(cls, modalities: Sequence[Modality], occurs: np.ndarray) -> Vocabulary:
        """Rows for the ids that occur, bool [vocab_size], and for the others in groups."""
        row_of = np.empty(len(occurs), np.int64)
        sizes: dict[int, int] = {}
        shared: list[bool] = []
        first = 0
        for size in sorted({m.vocab_size for m in modalities}):
            own = occurs[first:size]
            start, n = len(shared), int(own.sum())
            row_of[first:size] = np.where(own, start + np.cumsum(own) - 1, start + n)
            shared += [False] * n + [True] * (n < len(own))
            first, sizes[size] = size, len(shared)
        return cls(row_of, np.array(shared), sizes)

    @classmethod
    def of_run(cls, settings: TrainSettings, *sets: TokenData) -> Vocabulary | None:
        """The rows that a run with these clips needs; None where all are to be kept: there is not
        much to save, weights are sharded, or it computes as the reference does."""
        if settings.numerics.mode == "reference" or settings.hardware.shard_weights:
            return None
        found = cls.of(settings.model.modalities, _occurring(settings, sets))
        return found if len(found.shared) < WORTHWHILE * len(found.row_of) else None

    @property
    def copies(self) -> np.ndarray:
        """For how many ids each row stands, int64 [rows]."""
        return np.bincount(self.row_of)

    @property
    def ids(self) -> np.ndarray:
        """The first id of each row, int64 [rows]."""
        return np.unique(self.row_of, return_index=True)[1]

    def shared_rows(self) -> SharedRows:
        """The shared rows, on the host."""
        rows = np.flatnonzero(self.shared)
        copies = torch.from_numpy(self.copies[rows].astype(np.float32))
        return SharedRows(tuple(rows.tolist()), torch.from_numpy(rows), copies)

    def modality(self, modality: Modality) -> Modality:
        """A modality as it is in terms of rows."""
        pad = None if modality.pad_id is None else int(self.row_of[modality.pad_id])
        return dataclasses.replace(modality, vocab_size=self.sizes[modality.vocab_size], pad_id=pad)

    def settings(self, settings: TrainSettings) -> TrainSettings:
        """Settings whose modalities are those of the shorter tables."""
        return settings.model_copy(update={"model": self._config(settings.model)})

    def _config(self, config: ModelConfig) -> ModelConfig:
        modalities = tuple(map(self.modality, config.modalities))
        return config.model_copy(update={"modalities": modalities})

    def rows(self, data: TokenData) -> TokenData:
        """The same clips, with rows in place of ids."""
        lookup = self.row_of.astype(smallest_dtype(len(self.shared)))
        return data.renamed(tuple(map(self.modality, data.modalities)), lookup)

    def short_model(self, settings: TrainSettings) -> FourM:
        """The model at the start of a run, with short tables. A shared row of the input table is
        one, so that it later says what decay has left."""
        short = FourM(self._config(settings.model))
        state, ids = dict(starting_model(settings).state_dict()), torch.from_numpy(self.ids)
        for name in (INPUT_TABLE, OUTPUT_TABLE):
            state[name] = state[name][ids]
        state[INPUT_TABLE][torch.from_numpy(self.shared)] = 1.0
        short.load_state_dict(state)
        return short

    def whole_model(self, settings: TrainSettings, weights: Mapping[str, Tensor]) -> FourM:
        """The model of short ``weights`` with a row for every id, on the host."""
        row_of = torch.from_numpy(self.row_of)
        unused = torch.from_numpy(self.shared[self.row_of])
        state = {name: value.to("cpu") for name, value in weights.items()}
        for name in (INPUT_TABLE, OUTPUT_TABLE):
            state[name] = state[name][row_of]
        model = starting_model(settings)
        state[INPUT_TABLE][unused] *= model.enc_tok_emb.weight.detach()[unused]
        model.load_state_dict(state)
        return model


def starting_model(settings: TrainSettings) -> FourM:
    """A run's model before its first step."""
    return FourM(settings.model, settings.optim.seed)


def _occurring(settings: TrainSettings, sets: Sequence[TokenData]) -> np.ndarray:
    """Which ids may be in a batch, bool [vocab_size]."""
    occurs = np.zeros(settings.model.vocab_size, bool)
    for data in sets:
        for array in data.arrays:
            for first in range(0, len(array), CLIPS):
                occurs[np.asarray(array[first : first + CLIPS]).ravel()] = True
    if settings.masking.padded_captions:
        occurs[[m.pad_id for m in settings.model.modalities if m.pad_id is not None]] = True
    return occurs
