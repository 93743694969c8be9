"""Copies of a clip under other ids: found by picture, confirmed by sound, grouped, one kept.

Exact copies share the SHA-256 of their file. Near copies (other bitrate, size, cut or mirrored)
are pairs whose pictures are close and whose sounds agree at some shift: neither is enough alone,
as many clips share a scene, and some share a recording. Copies that were cropped by a tenth or
more, or got black bars, are not found by their pictures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from nano4m_audio.curate.sounds import TOLERANCE, Sounds

#: Pictures compared at once, and the most neighbours of one picture whose sound is compared.
_BATCH, _MAX_NEIGHBOURS = 1024, 256

#: Clip id -> name of a fingerprint -> its values, as read_fingerprints gives them.
Fingerprints = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Pair:
    """Two copies; ``first`` < ``second``. Exact copies have picture and sound 1."""

    first: str
    second: str
    picture: float
    sound: float


@dataclass(frozen=True)
class Groups:
    """``group``: for every clip the smallest clip_id it is linked to (same video or copy).

    ``duplicate_of``: for every copy that should go, the clip that stays. ``pairs``: the evidence.
    """

    group: dict[str, str]
    duplicate_of: dict[str, str]
    pairs: list[Pair]


def find_groups(
    rows: Sequence[Mapping[str, Any]],
    fingerprints: Fingerprints,
    picture_min: float,
    sound_min: float,
    threads: int = 1,
) -> Groups:
    """Group clips that must not be parted, and choose the one to keep of each set of copies.

    ``rows`` have clip_id, video_id, sha256 and size_bytes; ``fingerprints`` maps clip ids to their
    fingerprints (clips without one are only compared by hash). Of a set of copies the largest file
    stays (the least compressed), the smallest clip_id where sizes are equal. The result does not
    depend on the order of rows.
    """
    ordered = sorted(rows, key=lambda row: row["clip_id"])
    pairs = _exact_pairs(ordered)
    known = {frozenset((pair.first, pair.second)) for pair in pairs}
    ids = [row["clip_id"] for row in ordered if row["clip_id"] in fingerprints]
    for pair in _near_pairs(ids, fingerprints, picture_min, sound_min, threads):
        if frozenset((pair.first, pair.second)) not in known:
            pairs.append(pair)
    copies = connected([row["clip_id"] for row in ordered], [(p.first, p.second) for p in pairs])
    videos = [(first, clip_id) for first, clip_id in _same(ordered, "video_id")]
    group = connected(list(copies), [*copies.items(), *videos])
    return Groups(group, _keep_one(ordered, copies), pairs)


def connected(nodes: Sequence[str], links: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Map each node to the smallest node of its connected component (union-find)."""
    parent = {node: node for node in nodes}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in links:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {node: root(node) for node in nodes}


def _exact_pairs(rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    return [Pair(first, other, 1.0, 1.0) for first, other in _same(rows, "sha256")]


def _same(rows: Sequence[Mapping[str, Any]], column: str) -> Iterator[tuple[str, str]]:
    """Pair every clip with the first one that has the same value in ``column``."""
    first: dict[str, str] = {}
    for row in rows:
        known = first.setdefault(row[column], row["clip_id"])
        if known != row["clip_id"]:
            yield known, row["clip_id"]


def _near_pairs(
    ids: Sequence[str],
    fingerprints: Fingerprints,
    picture_min: float,
    sound_min: float,
    threads: int,
) -> Iterator[Pair]:
    sounds = Sounds(ids, fingerprints)

    def confirmed(close: tuple[int, np.ndarray, np.ndarray]) -> list[Pair]:
        """What is far from the threshold need not be compared exactly."""
        i, others, cosines = close
        rough = sounds.compare(ids[i], [ids[j] for j in others])
        pairs = []
        for k in np.flatnonzero(rough >= sound_min - TOLERANCE):
            first, second = sorted((ids[i], ids[others[k]]))
            sound = sounds.exact(ids[i], ids[others[k]])
            if sound >= sound_min:
                pairs.append(Pair(first, second, float(cosines[k]), sound))
        return pairs

    with ThreadPoolExecutor(threads) as pool:
        for batch in _close_pictures(ids, fingerprints, picture_min, threads):
            for pairs in pool.map(confirmed, batch):
                yield from pairs


def _close_pictures(
    ids: Sequence[str], fingerprints: Fingerprints, picture_min: float, threads: int
) -> Iterator[list[tuple[int, np.ndarray, np.ndarray]]]:
    """Yield, batch by batch, (i, j [N], cosines [N]): clips j < i whose pictures are close to that
    of i, as they are or mirrored. At most 256, nearest first: bounds the work on stock footage."""
    import faiss

    faiss.omp_set_num_threads(threads)
    if not ids:
        return
    picture, mirror = image_matrix(ids, fingerprints)
    index = faiss.IndexFlatIP(picture.shape[1])
    for start in range(0, len(ids), _BATCH):
        stop = min(start + _BATCH, len(ids))
        index.add(picture[start:stop])
        found = []
        for queries in (picture, mirror):
            limits, cosines, j = index.range_search(queries[start:stop], picture_min - 1e-6)
            i = np.repeat(np.arange(start, stop), np.diff(limits).astype(np.int64))
            found.append((i[j < i], j[j < i], cosines[j < i]))
        yield list(_nearest(*(np.concatenate(columns) for columns in zip(*found, strict=True))))


def _nearest(
    i: np.ndarray, j: np.ndarray, cosines: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Group pairs by i; of a pair that is there twice the nearer counts."""
    order = np.lexsort((j, -cosines, i))
    i, j, cosines = i[order], j[order], cosines[order]
    for start, stop in pairwise([*np.flatnonzero(np.diff(i, prepend=-1)), len(i)]):
        _, first = np.unique(j[start:stop], return_index=True)
        first = np.sort(first)[:_MAX_NEIGHBOURS] + start
        yield int(i[start]), j[first], cosines[first]


def image_matrix(ids: Sequence[str], fingerprints: Fingerprints) -> tuple[np.ndarray, np.ndarray]:
    """Stack the image fingerprints and the mirrored ones: two float32 [N, D]."""
    picture, mirror = (
        np.array([fingerprints[clip_id][name] for clip_id in ids], np.float32)
        for name in ("image", "image_mirror")
    )
    return picture, mirror


def _keep_one(rows: Sequence[Mapping[str, Any]], copies: Mapping[str, str]) -> dict[str, str]:
    """Map every copy that is not the largest file of its component to the one that is."""
    members = defaultdict(list)
    for row in rows:
        members[copies[row["clip_id"]]].append(row)
    duplicate_of = {}
    for group in members.values():
        kept = min(group, key=lambda row: (-row["size_bytes"], row["clip_id"]))["clip_id"]
        duplicate_of.update({r["clip_id"]: kept for r in group if r["clip_id"] != kept})
    return duplicate_of
