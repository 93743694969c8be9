"""Train, val and test: stratified by class and source, never parting what belongs together."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Literal

import numpy as np

from nano4m_audio.curate.duplicates import Fingerprints, connected, one_thread_each
from nano4m_audio.curate.pictures import QUERIES, Pictures, nearest
from nano4m_audio.curate.sounds import TOLERANCE, audio_similarity, similarities

SPLITS = ("train", "val", "test")
#: How many clips one class may leave over for the next ones to balance.
_CARRY = 1.0
#: So many nearest pictures in train are compared by sound when looking for leaks.
_NEIGHBOURS = 16


@dataclass(frozen=True)
class _Unit:
    """Clips that stay together: the class and source that most of them have, and their number."""

    name: str
    class_name: str
    source: str
    clip_ids: tuple[str, ...]


def assign_splits(
    rows: Sequence[Mapping[str, Any]],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    unit: Literal["group", "clip"] = "group",
) -> dict[str, str]:
    """Assign every clip to "train", "val" or "test": {clip_id: split}.

    ``rows`` have clip_id, video_id, class_name, source and group. With unit "group" all clips of a
    video or a group share a split, transitively; with "clip" each goes where it falls. Every class
    with at least three units is in every split whose fraction is not 0, one with two in the largest
    of them. The result depends on the set of rows and the seed, not on the order of rows.
    """
    by_class: dict[str, list[_Unit]] = defaultdict(list)
    for item in _units(rows, unit):
        by_class[item.class_name].append(item)
    splits: dict[str, str] = {}
    carry = np.zeros(len(SPLITS))
    for class_name in sorted(by_class):
        units = sorted(by_class[class_name], key=lambda u: (u.source, _draw(seed, u.name), u.name))
        chosen, carry = _deal(units, np.asarray(fractions, np.float64), carry)
        for item, split in zip(units, chosen, strict=True):
            splits.update(dict.fromkeys(item.clip_ids, SPLITS[split]))
    return dict(sorted(splits.items()))


def _units(rows: Sequence[Mapping[str, Any]], unit: str) -> list[_Unit]:
    ids = sorted(row["clip_id"] for row in rows)
    links: list[tuple[str, str]] = []
    if unit == "group":
        first: dict[tuple[str, str], str] = {}
        for row in rows:
            for column in ("video_id", "group"):
                other = first.setdefault((column, row[column]), row["clip_id"])
                links.append((other, row["clip_id"]))
    members = defaultdict(list)
    component = connected(ids, links)
    for row in sorted(rows, key=lambda row: row["clip_id"]):
        members[component[row["clip_id"]]].append(row)
    return [
        _Unit(name, *_stratum(group), tuple(row["clip_id"] for row in group))
        for name, group in members.items()
    ]


def _stratum(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The most frequent (class, source) of a unit; the first by name where counts are equal."""
    counts = Counter((row["class_name"], row["source"]) for row in rows)
    return min(counts, key=lambda stratum: (-counts[stratum], stratum))


def _draw(seed: int, name: str) -> bytes:
    text = f"{seed}:{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _deal(
    units: Sequence[_Unit], fractions: np.ndarray, carry: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Split the units of a class, source by source: of each test takes the first ones in the order
    of their draws, val the next, and train the rest.

    So every source is dealt in the same proportions, and units that are added later move those
    whose draws lie where a split ends: a few of their class, and of the classes after it where what
    is left over for them is another now. Returns the index of each unit's split, and what is left
    over (clips missing in each split).
    """
    rest = int(np.argmax(fractions))
    chosen = [rest] * len(units)
    left = carry.copy()
    for _, places in groupby(range(len(units)), key=lambda i: units[i].source):
        free = list(places)
        left += fractions * sum(len(units[i].clip_ids) for i in free)
        for split in (s for s in reversed(range(len(SPLITS))) if fractions[s] and s != rest):
            taken = _take([len(units[i].clip_ids) for i in free], left[split])
            for k in taken:
                chosen[free[k]] = split
                left[split] -= len(units[free[k]].clip_ids)
            free = np.delete(free, taken).tolist()
    _fill_empty(units, chosen, fractions)
    sizes = np.zeros(len(SPLITS))
    for item, split in zip(units, chosen, strict=True):
        sizes[split] += len(item.clip_ids)
    return chosen, np.clip(carry + fractions * sizes.sum() - sizes, -_CARRY, _CARRY)


def _take(sizes: Sequence[int], wanted: float) -> list[int]:
    """Which units to take, from the first on, to have about so many clips: those that fit."""
    taken: list[int] = []
    for i, size in enumerate(sizes):
        if wanted < 0.5:
            break
        if size / 2 <= wanted:
            taken.append(i)
            wanted -= size
    return taken


def _fill_empty(units: Sequence[_Unit], chosen: list[int], fractions: np.ndarray) -> None:
    """Give a split without a unit the smallest one of the split that has most units; where there
    are not enough for all, the largest split only, which is to be learned from."""
    wanted = [split for split in range(len(fractions)) if fractions[split] > 0]
    if len(units) < 2:
        return
    for split in wanted if len(units) >= len(wanted) else [int(np.argmax(fractions))]:
        if split not in chosen:
            donor = max(wanted, key=lambda s: (chosen.count(s), -s))
            given = [i for i, s in enumerate(chosen) if s == donor]
            chosen[min(given, key=lambda i: (len(units[i].clip_ids), i))] = split


def measure_leak(
    rows: Sequence[Mapping[str, Any]],
    fingerprints: Fingerprints,
    splits: Mapping[str, str],
    threads: int = 1,
) -> dict[str, dict[str, Any]]:
    """For each val and test clip the training clip most like it: what a leak would look like.

    Of the 16 training clips with the nearest pictures (or mirrored pictures) it is the one for
    which the smaller of picture cosine and sound correlation is largest. Returns, by clip_id:
    nearest_train (clip_id), nearest_picture, nearest_sound. A pair is a leak where both reach the
    thresholds of a copy.
    """
    ids = sorted(row["clip_id"] for row in rows if row["clip_id"] in fingerprints)
    train = [clip_id for clip_id in ids if splits[clip_id] == "train"]
    held = [clip_id for clip_id in ids if splits[clip_id] != "train"]
    if not train or not held:
        return {}
    pictures, others = (Pictures.of(names, fingerprints) for names in (held, train))
    sounds = {clip_id: fingerprints[clip_id]["audio"] for clip_id in ids}

    def most_alike(start: int) -> list[dict[str, Any]]:
        found = nearest(pictures, start, others, _NEIGHBOURS)
        return [
            _most_alike(sounds, held[i], [train[k] for k in near], cosines.tolist())
            for i, near, cosines in found
        ]

    with one_thread_each(), ThreadPoolExecutor(threads) as pool:
        blocks = pool.map(most_alike, range(0, len(held), QUERIES))
        return dict(zip(held, chain.from_iterable(blocks), strict=True))


def _most_alike(
    sounds: Mapping[str, np.ndarray], clip_id: str, others: Sequence[str], cosines: Sequence[float]
) -> dict[str, Any]:
    own = sounds[clip_id]
    alike = np.minimum(cosines, similarities(own, [sounds[name] for name in others]))
    likely = np.flatnonzero(alike >= alike.max() - 2 * TOLERANCE).tolist()
    exact = {k: audio_similarity(own, sounds[others[k]]) for k in likely}
    best = min(likely, key=lambda k: (-min(cosines[k], exact[k]), others[k]))
    return {
        "nearest_train": others[best],
        "nearest_picture": cosines[best],
        "nearest_sound": exact[best],
    }
