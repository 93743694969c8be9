"""What a model is asked to make for people to look at, and how far that is the true one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from nano4m_audio.nano4m.data import TokenData, stream
from nano4m_audio.nano4m.masking import INPUT, UNUSED, Packed, pack

#: Where a sequence has no token.
NOTHING = -1
#: The random stream that says which part of a target is given.
_STREAM = 1 << 33


@dataclass(frozen=True)
class Task:
    """``target`` is made from ``source``, or, where they are the same, the rest of it from this
    ``share`` of it: its ``start``, or random positions."""

    name: str
    source: str
    target: str
    share: float = 1.0
    start: bool = False

    @property
    def partial(self) -> bool:
        return self.source == self.target


TASKS = (
    Task("audio_to_caption", "audio", "caption"),
    Task("rgb_to_depth", "rgb", "depth"),
    Task("rgb_to_normals", "rgb", "normals"),
    Task("caption_to_rgb", "caption", "rgb"),
    Task("audio_to_rgb", "audio", "rgb"),
    Task("rgb_to_audio", "rgb", "audio"),
    Task("rgb_to_semantic", "rgb", "semantic"),
    Task("rgb_filled", "rgb", "rgb", share=0.5),
    Task("audio_continued", "audio", "audio", share=0.8, start=True),
)


def tasks_of(modalities: Collection[str]) -> list[Task]:
    """The tasks of a model that knows these modalities."""
    return [task for task in TASKS if {task.source, task.target} <= set(modalities)]


@dataclass(frozen=True)
class Shown:
    """The tokens of some clips: ``rows`` [clips, width] by modality, NOTHING after their end."""

    names: tuple[str, ...]
    rows: list[np.ndarray]

    @classmethod
    def of(cls, data: TokenData, clips: np.ndarray) -> Shown:
        """The middle keyframe of each clip."""
        keyframes = np.full(len(clips), data.spread_keyframes(1)[0])
        rows = []
        for m, row in enumerate(data.rows(clips, keyframes)):
            tokens = np.full((len(clips), data.modalities[m].max_tokens), NOTHING)
            tokens[:, : row.shape[1]] = row
            tokens[np.arange(tokens.shape[1]) >= data.lengths[clips, m, None]] = NOTHING
            rows.append(tokens)
        return cls(tuple(modality.name for modality in data.modalities), rows)

    def __len__(self) -> int:
        return len(self.rows[0])

    def tokens(self, modality: str) -> np.ndarray:
        return self.rows[self.names.index(modality)]

    def given(self, task: Task, frame: int, seed: int) -> np.ndarray:
        """Which tokens of the source the model gets: bool [clips, width]. Of a part in time these
        are whole frames of ``frame`` tokens."""
        tokens = self.tokens(task.source)
        width = tokens.shape[1]
        if not task.partial:
            return tokens != NOTHING
        if task.start:
            count = int(width / frame * task.share) * frame
            return np.tile(np.arange(width) < count, (len(tokens), 1))
        draws = np.stack([stream(seed, _STREAM, i).random(width) for i in range(len(tokens))])
        return draws.argsort(axis=1).argsort(axis=1) < round(width * task.share)

    def packed(self, task: Task, given: np.ndarray) -> Packed:
        """The inputs of the model."""
        roles = [np.full(row.shape, UNUSED) for row in self.rows]
        roles[self.names.index(task.source)][given] = INPUT
        return pack(np.concatenate(roles, axis=1), self.rows)[0]


def agreement(made: np.ndarray, true: np.ndarray, asked: np.ndarray) -> dict[str, Any]:
    """How many of the ids that were ``asked`` for are the true ones; all [clips, width].

    ``own`` is the mean share, ``others`` that of the same ids held against the other clips' true
    ones. ``nearest`` counts the clips to which theirs came nearer than to any other clip's, and
    ``p`` is how often at least so many would by chance: one clip in ``clips`` is. With one clip
    alone, these are None.
    """
    same = np.empty((len(made), len(true)))
    for i, (ids, wanted) in enumerate(zip(made, asked, strict=True)):
        there = wanted & ((ids != NOTHING) | (true != NOTHING))  # [clips, width]
        same[i] = ((ids == true) & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    own, n = same.diagonal().copy(), len(same)
    facts = {"clips": n, "own": float(own.mean())}
    if n < 2:
        return {**facts, "others": None, "nearest": None, "p": None}
    others = (same.sum(axis=1) - own) / (n - 1)
    np.fill_diagonal(same, -1)
    nearest = int((own > same.max(axis=1)).sum())
    p = sum(comb(n, k) * (1 / n) ** k * (1 - 1 / n) ** (n - k) for k in range(nearest, n + 1))
    return {**facts, "others": float(others.mean()), "nearest": nearest, "p": min(1.0, p)}
