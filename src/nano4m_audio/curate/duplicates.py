"""Copies of a clip under other ids: found by picture, confirmed by sound, grouped, one kept.

Exact copies share the SHA-256 of their file. Near copies (other bitrate, size, cut or mirrored)
are pairs whose pictures are close and whose sounds agree at some shift: neither is enough alone,
as many clips share a scene, and some share a recording. Copies that were cropped by a tenth or
more, or got black bars, are not found by their pictures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nano4m_audio.curate.fingerprints import SOUND_HZ

#: Two cuts of the same footage are recognised up to this shift.
MAX_SHIFT_S = 3.0
#: Least share of the shorter sound that must lie under the other one.
_OVERLAP = 0.6
#: Mean square below which a stretch of an audio fingerprint has nothing to compare (about 0.4 dB).
_STEADY = 1e-4
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
    for pair in _near_pairs(ids, fingerprints, picture_min, sound_min):
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


def audio_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of audio fingerprints [T, B] and [U, B] at the best shift of up to 3 s: -1..1.

    Shifts go in half columns. Each band is compared with its own mean, so steady noise and equal
    loudness say nothing; 0 where one of them is silent or steady.
    """
    a, b = (np.asarray(x, np.float64) for x in (one, other))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    between = (b[1:] + b[:-1]) / 2
    return max(_best_correlation(a, b), _best_correlation(a, between))


def _best_correlation(a: np.ndarray, b: np.ndarray) -> float:
    n_fft = 1 << (len(a) + len(b)).bit_length()
    spectrum = np.fft.rfft(a, n_fft, axis=0) * np.fft.rfft(b, n_fft, axis=0).conj()
    products = np.fft.irfft(spectrum.sum(axis=1), n_fft)
    reach = round(MAX_SHIFT_S * SOUND_HZ)
    shifts = np.arange(-reach, reach + 1)
    # At shift s, columns first..last of a lie over columns first-s..last-s of b.
    first, last = np.maximum(0, shifts), np.minimum(len(a), len(b) + shifts)
    enough = last - first >= max(1.0, _OVERLAP * min(len(a), len(b)))
    shifts, first, last = shifts[enough], first[enough], last[enough]
    energy_a = _energy(a, first, last)
    energy_b = _energy(b, first - shifts, last - shifts)
    steady = np.minimum(energy_a, energy_b) < _STEADY * a.shape[1] * (last - first)
    norm = np.sqrt(np.where(steady, 1.0, energy_a * energy_b))
    return float(np.where(steady, 0.0, products[shifts] / norm).max(initial=-1.0))


def _energy(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum((values**2).sum(axis=1))])
    return total[last] - total[first]


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
    ids: Sequence[str], fingerprints: Fingerprints, picture_min: float, sound_min: float
) -> Iterator[Pair]:
    for i, j, cosine in _close_pictures(ids, fingerprints, picture_min):
        sound = audio_similarity(fingerprints[ids[i]]["audio"], fingerprints[ids[j]]["audio"])
        if sound >= sound_min:
            yield Pair(min(ids[i], ids[j]), max(ids[i], ids[j]), cosine, sound)


def _close_pictures(
    ids: Sequence[str], fingerprints: Fingerprints, picture_min: float
) -> Iterator[tuple[int, int, float]]:
    """Yield (i, j, cosine) of clips j < i whose pictures are close, as they are or mirrored."""
    import faiss

    if not ids:
        return
    picture, mirror = image_matrix(ids, fingerprints)
    index = faiss.IndexFlatIP(picture.shape[1])
    for start in range(0, len(ids), _BATCH):
        stop = min(start + _BATCH, len(ids))
        index.add(picture[start:stop])
        best: dict[tuple[int, int], float] = defaultdict(float)
        for queries in (picture, mirror):
            limits, cosines, found = index.range_search(queries[start:stop], picture_min - 1e-6)
            rows = np.repeat(np.arange(start, stop), np.diff(limits).astype(np.int64))
            for i, j, cosine in zip(rows, found, cosines, strict=True):
                if j < i:
                    best[int(i), int(j)] = max(best[int(i), int(j)], float(cosine))
        yield from _nearest_only(best)


def _nearest_only(best: Mapping[tuple[int, int], float]) -> Iterator[tuple[int, int, float]]:
    """At most 256 neighbours for each clip, nearest first: bounds the work on stock footage."""
    count: dict[int, int] = defaultdict(int)
    for (i, j), cosine in sorted(best.items(), key=lambda item: (-item[1], item[0])):
        count[i] += 1
        if count[i] <= _MAX_NEIGHBOURS:
            yield i, j, cosine


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
