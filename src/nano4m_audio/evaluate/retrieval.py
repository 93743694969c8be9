"""One modality of a clip found among other clips by another modality, with the encoder's output.

Both sides are mean-pooled encodings of one complete modality, every dimension standardised by the
training clips of its modality (otherwise all sounds are nearer to each other than to any picture),
compared by the cosine. The gallery has one clip of every group, as copies cannot be told apart; in
the group of the query it is the query's own clip, so that every clip is a query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nano4m_audio.evaluate.common import ACCURACY, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.embeddings import embeddings
from nano4m_audio.intervals import FLIPS, MIN_GROUPS, holm, statistic_interval

TOP_K = (1, 5, 10)
#: Candidates in the paper's measurement, and of how many neighbours a class precision is a metric.
PAPERS_GALLERY, NEIGHBOURS = 200, 5
#: Cosines that differ by less are equal: networks round differently on other machines.
_DECIMALS = 5
#: Numbers held at once by the permutation test.
_MOST_NUMBERS = 1 << 25

Space = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Gallery:
    """``queries`` int64 [n] and ``candidates`` int64 [N], one per group, are clips; ``own`` [n] is
    the candidate of each query's group, in whose place its own clip stands. ``classes`` int64 are
    those of all clips."""

    queries: np.ndarray
    candidates: np.ndarray
    own: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.candidates)


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<source>_to_<target>_r<k>``, the same among at most 200 groups (``..._of_200_r1``)
    and ``..._class_precision``; "directions" has median ranks and one test per direction.

    Chance is exact: k/N for a clip, the share of the class among the others for a class. The
    baseline of each is a network that has learnt nothing.
    """
    spaces = {name: _space(inputs, name) for name in ("trained", "untrained")}
    names = list(spaces["trained"])
    pairs = [(a, b) for a in names for b in names if a != b]
    full = gallery(inputs, None)
    few = gallery(inputs, PAPERS_GALLERY)
    tests = [permutations(full, by_class, inputs.seed) for by_class in (False, True)]
    metrics: list[dict[str, Any]] = []
    directions: list[dict[str, Any]] = []
    for a, b in pairs:
        cosines = {name: similarities(space, a, b, full) for name, space in spaces.items()}
        some = {name: similarities(space, a, b, few) for name, space in spaces.items()}
        metrics += _found(inputs, f"{a}_to_{b}", cosines, full)
        metrics += _found(inputs, f"{a}_to_{b}_of_{PAPERS_GALLERY}", some, few)
        metrics.append(_class_metric(inputs, f"{a}_to_{b}", cosines, full))
        directions.append(
            {"source": a, "target": b, **_direction(inputs, cosines["trained"], full, tests)}
        )
    for kind in ("p", "p_inside_class"):
        known = [row for row in directions if row[kind] is not None]
        for row, value in zip(known, holm([row[kind] for row in known]), strict=True):
            row[f"{kind}_holm"] = value
    return {"metrics": metrics, "directions": directions, "procedure": _procedure(full, few)}


def _procedure(full: Gallery, few: Gallery) -> str:
    return (
        f"Encoder output averaged over positions and keyframes, each dimension standardised by the "
        f"training clips of its modality, cosine; {len(full.queries)} queries, each among "
        f"{len(full)} clips of as many groups (and among {len(few)}, at most {PAPERS_GALLERY} as "
        f"in the paper, drawn by the seed). A rank is 1 + better + half of those that are equal; "
        f"of equal ones R@k counts the share that lies among the first k. p: one clip per group, "
        f"mean rank against {FLIPS:,} permutations of which clip belongs to which (or of those "
        f"inside each class); Holm over all directions."
    )


def _space(inputs: ProbeInputs, network: str) -> Space:
    """Standardised embeddings of unit length of the clips to evaluate, by modality: [n, D]."""
    found = {}
    for name, features in embeddings(inputs)[network].items():
        x = features.standardised().chosen.astype(np.float64)
        length = np.linalg.norm(x, axis=1, keepdims=True)
        found[name] = x / np.where(length > 0, length, 1)
    return found


def gallery(inputs: ProbeInputs, most: int | None) -> Gallery:
    """One clip of each of at most ``most`` groups; which ones follows from the seed and the ids of
    the clips, not from their order. Clips of other groups are no queries."""
    ids, groups = inputs.chosen.clip_ids, inputs.groups

    def drawn(clip: int) -> bytes:
        return hashlib.blake2b(f"{inputs.seed}:{ids[clip]}".encode()).digest()

    best: dict[int, int] = {}
    for clip in sorted(range(len(ids)), key=drawn):
        best.setdefault(int(groups[clip]), clip)
    chosen = list(best.items())[:most]
    place = {group: i for i, (group, _) in enumerate(chosen)}
    queries = np.array([i for i, group in enumerate(groups.tolist()) if group in place])
    own = np.array([place[group] for group in groups[queries].tolist()])
    classes = np.unique(inputs.chosen.classes, return_inverse=True)[1]
    return Gallery(queries, np.array([clip for _, clip in chosen]), own, classes)


def similarities(space: Space, source: str, target: str, found: Gallery) -> np.ndarray:
    """Cosine of every query with every candidate, float64 [n, N]."""
    a, b = space[source][found.queries], space[target]
    cosines = a @ b[found.candidates].T
    rows = np.arange(len(found.queries))
    cosines[rows, found.own] = (a * b[found.queries]).sum(axis=1)
    return np.round(cosines, _DECIMALS)


def ranks_of(cosines: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The mid-rank of each query's own candidate, float64 [n]."""
    better, equal = _compared(cosines, own)
    return 1 + better + (equal - 1) / 2


def found_among(cosines: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """Whether a query's own candidate is among the first k; of equal ones the share that is, as if
    they were drawn: float64 [n]."""
    better, equal = _compared(cosines, own)
    return np.clip((k - better) / equal, 0, 1)


def _compared(cosines: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    right = cosines[np.arange(len(own)), own][:, None]
    return (cosines > right).sum(axis=1), (cosines == right).sum(axis=1)


def class_precision(cosines: np.ndarray, found: Gallery, k: int) -> np.ndarray:
    """The share of each query's class among its k nearest clips of other groups, float64 [n]; of
    equally near ones, what a draw would have on average."""
    others = np.array(cosines)
    others[np.arange(len(others)), found.own] = -np.inf
    k = min(k, others.shape[1] - 1)
    if k < 1:
        return np.zeros(len(others))
    last = -np.partition(-others, k - 1, axis=1)[:, k - 1 : k]
    same = _same_class(found)
    nearer, equal = others > last, others == last
    in_tie = (same & equal).sum(axis=1) / equal.sum(axis=1)
    return ((same & nearer).sum(axis=1) + (k - nearer.sum(axis=1)) * in_tie) / k


def _same_class(found: Gallery) -> np.ndarray:
    """Whether a candidate of another group has the class of the query, bool [n, N]."""
    same = found.classes[found.queries][:, None] == found.classes[found.candidates]
    same[np.arange(len(same)), found.own] = False
    return same


def _found(
    inputs: ProbeInputs, name: str, cosines: Mapping[str, np.ndarray], found: Gallery
) -> list[dict[str, Any]]:
    """R@k of the trained network beside the untrained one."""
    rows = []
    for k in TOP_K:
        chance = min(1.0, k / len(found))
        note = f"{len(found.queries):,} queries, {len(found):,} candidates, one per group"
        own, other = (
            _measured(inputs, f"{name}{end}_r{k}", found_among(cosines[net], found.own, k), found,
                      note)
            for net, end in (("trained", ""), ("untrained", "_untrained"))
        )  # fmt: skip
        rows.append(metric(own, inputs, unit=ACCURACY, chance=chance, baseline=other))
    return rows


def _measured(
    inputs: ProbeInputs, name: str, values: np.ndarray, found: Gallery, note: str
) -> Measured:
    """Values of the queries as those of all clips; the others do not count."""
    sums, counts = np.zeros(len(inputs.groups)), np.zeros(len(inputs.groups), np.int64)
    sums[found.queries], counts[found.queries] = values, 1
    return Measured(name, sums, counts, note)


def _class_metric(
    inputs: ProbeInputs, name: str, cosines: Mapping[str, np.ndarray], found: Gallery
) -> dict[str, Any]:
    note = f"the share of the query's class among the {NEIGHBOURS} nearest clips of other groups"
    own, other = (
        _measured(inputs, f"{name}{end}_class_precision",
                  class_precision(cosines[net], found, NEIGHBOURS), found, note)
        for net, end in (("trained", ""), ("untrained", "_untrained"))
    )  # fmt: skip
    return metric(own, inputs, unit=ACCURACY, chance=class_chance(found), baseline=other)


def class_chance(found: Gallery) -> float:
    """What a blind draw reaches: the mean share of the query's class among the other groups."""
    return float(_same_class(found).sum(axis=1).mean() / max(1, len(found) - 1))


def _direction(
    inputs: ProbeInputs, cosines: np.ndarray, found: Gallery, tests: list[np.ndarray]
) -> dict[str, Any]:
    """Median rank with its interval, class precision at every k, and the tests."""
    ranks = ranks_of(cosines, found.own)
    options = inputs.confidence, inputs.bootstrap, inputs.seed
    groups = inputs.groups[found.queries]
    interval = statistic_interval(lambda i: float(np.median(ranks[i])), groups, *options)
    low, high = interval or (None, None)
    p, inside = (permutation_p(cosines, found, test) for test in tests)
    return {
        "candidates": len(found),
        "n": len(ranks),
        "groups": len(np.unique(groups)),
        "median_rank": float(np.median(ranks)),
        "low": low,
        "high": high,
        "chance": (len(found) + 1) / 2,
        **{f"r{k}": float(found_among(cosines, found.own, k).mean()) for k in TOP_K},
        **{f"class_precision_{k}": float(class_precision(cosines, found, k).mean()) for k in TOP_K},
        "class_chance": class_chance(found),
        "p": p,
        "p_inside_class": inside,
    }


def permutations(found: Gallery, inside_class: bool, seed: int) -> np.ndarray:
    """Which candidate is said to be each one's own, int32 [draws, N]; only of the same class where
    ``inside_class``."""
    n = len(found)
    kind = found.classes[found.candidates] if inside_class else np.zeros(n, np.int64)
    rng = np.random.default_rng([seed, 37])
    draws = max(1, min(FLIPS, _MOST_NUMBERS // n))
    out = np.empty((draws, n), np.int32)
    places = np.argsort(kind, kind="stable")
    for draw in out:
        draw[places] = np.lexsort((rng.random(n), kind))
    return out


def permutation_p(cosines: np.ndarray, found: Gallery, test: np.ndarray) -> float | None:
    """One-sided p of "which clip belongs to which does not matter", by the mean rank; of every
    group its candidate alone is a query. None for fewer groups than an interval needs."""
    n = len(found)
    if n < MIN_GROUPS:
        return None
    row_of = {clip: row for row, clip in enumerate(found.queries.tolist())}
    table = cosines[[row_of[clip] for clip in found.candidates.tolist()]]
    ranks = np.stack([_mid_ranks(row) for row in table])
    at_once = max(1, (1 << 22) // n)
    parts = [test[start : start + at_once] for start in range(0, len(test), at_once)]
    sums = np.concatenate([ranks[np.arange(n), part].sum(axis=1) for part in parts])
    return float((1 + (sums <= np.trace(ranks) + 1e-6).sum()) / (1 + len(test)))


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    """The mid-rank of every value, the greatest first, float64 [N]."""
    ordered = np.sort(-values)
    first, end = (np.searchsorted(ordered, -values, side) for side in ("left", "right"))
    return (first + 1 + end) / 2
