"""Fingerprints of pictures compared each with all, as they are or mirrored: exact, block by block.

Products of matrices in NumPy are ten times as fast here as the search of a flat index of faiss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

#: Pictures compared with so many others at once.
QUERIES, _ROWS = 512, 4096

#: Number of a picture, and those near it: numbers int64 [N] and cosines float32 [N], nearest first.
Near = tuple[int, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """``plain`` and ``mirrored``: float32 [N, D], of unit length or zero."""

    plain: np.ndarray
    mirrored: np.ndarray

    @classmethod
    def of(cls, ids: Sequence[str], fingerprints: Mapping[str, Mapping[str, Any]]) -> Pictures:
        """The pictures of these clips, in order."""
        names = "image", "image_mirror"
        return cls(*(np.array([fingerprints[i][name] for i in ids], np.float32) for name in names))

    def __len__(self) -> int:
        return len(self.plain)

    def cosines(self, other: Pictures, chosen: slice, rows: slice) -> np.ndarray:
        """Cosines of ``chosen`` pictures, as they are or mirrored, with ``rows`` of other ones."""
        table = other.plain[rows].T
        cosines = self.plain[chosen] @ table
        return np.maximum(cosines, self.mirrored[chosen] @ table, out=cosines)


def close_before(pictures: Pictures, start: int, least: float, most: int) -> list[Near]:
    """What is close to each picture i of the block of QUERIES from ``start`` on: at most ``most``
    pictures j < i whose cosine is ``least`` or more. Those without any are left out."""
    stop, found = min(start + QUERIES, len(pictures)), []
    for row in range(0, stop, _ROWS):
        cosines = pictures.cosines(pictures, slice(start, stop), slice(row, min(row + _ROWS, stop)))
        i, j = np.divmod(np.flatnonzero(cosines >= least), cosines.shape[1])
        earlier = j + row < i + start
        i, j = i[earlier], j[earlier]
        found.append((i + start, j + row, cosines[i, j]))
    return _nearest(found, most)


def nearest(pictures: Pictures, start: int, others: Pictures, count: int) -> list[Near]:
    """The ``count`` others that are nearest to each picture of the block from ``start`` on."""
    chosen, found = slice(start, min(start + QUERIES, len(pictures))), []
    least = np.full((chosen.stop - start, 1), -np.inf)
    for row in range(0, len(others), _ROWS):
        cosines = pictures.cosines(others, chosen, slice(row, row + _ROWS))
        if row == 0 and cosines.shape[1] > count:
            least = np.partition(cosines, -count, axis=1)[:, -count, None]
        i, j = np.divmod(np.flatnonzero(cosines >= least), cosines.shape[1])
        found.append((i + start, j + row, cosines[i, j]))
    return _nearest(found, count)


def _nearest(found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], most: int) -> list[Near]:
    """Group pairs (i, j, cosine) by i, and keep the nearest ones; the first j where equal."""
    i, j, cosines = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((j, -cosines, i))
    i, j, cosines = i[order], j[order], cosines[order]
    bounds = pairwise([*np.flatnonzero(np.diff(i, prepend=-1)).tolist(), len(i)])
    ends = ((first, min(last, first + most)) for first, last in bounds)
    return [(int(i[first]), j[first:last], cosines[first:last]) for first, last in ends]
