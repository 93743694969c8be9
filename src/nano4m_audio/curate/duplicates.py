"""Copies of a clip under other ids: found by picture, confirmed by sound, grouped, one kept.

Exact copies share the content key of their clip: the same part of the same bytes. Near copies
(other bitrate, size, cut or mirrored) are pairs whose pictures are close and whose sounds agree at
some shift: neither is enough alone, as many clips share a scene, and some share a recording. Copies
that were cropped by a tenth or more, or got black bars, are not found by their pictures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from nano4m_audio.curate.pictures import QUERIES, Pictures, close_before
from nano4m_audio.curate.screen import Screen
from nano4m_audio.curate.sounds import TOLERANCE, audio_similarity, similarities

#: The most neighbours of one picture whose sounds are compared.
_MAX_NEIGHBOURS = 256
#: Cosines may be off by this much.
_ROUNDING = 1e-6

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

    ``rows`` have clip_id, video_id, clip_key, sha256 and size_bytes; ``fingerprints`` maps clip ids
    to their fingerprints (clips without one are only compared by key). Of copies the one with most
    bytes stays (the least compressed), the smallest clip_id where they have as many; a clip goes
    only for one that it is a copy of, so the ends of a chain of copies both stay. The result does
    not depend on the order of rows.
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
    return Groups(group, _keep_best(ordered, pairs), pairs)


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
    return [Pair(first, other, 1.0, 1.0) for first, other in _same(rows, "clip_key")]


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
    """Pairs whose pictures are close and whose sounds agree. Of the pictures close to one only the
    256 nearest count: that bounds the work on stock footage."""
    if not ids:
        return
    pictures = Pictures.of(ids, fingerprints)
    sounds = [fingerprints[clip_id]["audio"] for clip_id in ids]
    screen = Screen(sounds)

    def confirmed(start: int) -> list[Pair]:
        pairs = []
        for i, close, cosines in close_before(
            pictures, start, picture_min - _ROUNDING, _MAX_NEIGHBOURS
        ):
            for k in _alike(screen, sounds, i, close, sound_min):
                sound = audio_similarity(sounds[i], sounds[close[k]])
                if sound >= sound_min:
                    first, second = sorted((ids[i], ids[close[k]]))
                    pairs.append(Pair(first, second, float(cosines[k]), sound))
        return pairs

    with one_thread_each(), ThreadPoolExecutor(threads) as pool:
        for pairs in pool.map(confirmed, range(0, len(ids), QUERIES)):
            yield from pairs


def _alike(
    screen: Screen, sounds: Sequence[np.ndarray], i: int, others: np.ndarray, least: float
) -> np.ndarray:
    """The places in ``others`` of sounds that are like sound i, or too near to it to tell yet."""
    maybe = np.flatnonzero(screen.may_reach(i, others, least))
    if not len(maybe):
        return maybe
    rough = similarities(sounds[i], [sounds[j] for j in others[maybe]])
    return maybe[rough >= least - TOLERANCE]


def one_thread_each() -> Any:
    """A context in which products of matrices take one thread: the pool's threads are enough."""
    import threadpoolctl

    return threadpoolctl.threadpool_limits(1, "blas")


def _keep_best(rows: Sequence[Mapping[str, Any]], pairs: Sequence[Pair]) -> dict[str, str]:
    """Map every clip that is a copy of one that stays to the best such one."""
    copies = defaultdict(set)
    for pair in pairs:
        copies[pair.first].add(pair.second)
        copies[pair.second].add(pair.first)
    of_file = Counter(sha256 for sha256, _ in {(row["sha256"], row["clip_key"]) for row in rows})
    size = {row["clip_id"]: row["size_bytes"] / of_file[row["sha256"]] for row in rows}
    place: dict[str, int] = {}  # of a clip that stays
    duplicate_of = {}
    for clip_id in sorted(copies, key=lambda name: (-size[name], name)):
        better = copies[clip_id] & place.keys()
        if better:
            duplicate_of[clip_id] = min(better, key=place.__getitem__)
        else:
            place[clip_id] = len(place)
    return duplicate_of
