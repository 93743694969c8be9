"""Claims of several lists about the same moments: which become clips, and what becomes of the rest.

A claim says that a window of a video is of a class. Windows overlap when they share any time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

#: What becomes of a claim: it is a clip; it joins the clip of another source (or is the same row
#: once more); other claims name another class; its row is decided by a row with one class.
KEPT, JOINED, CONFLICT, DECIDED = range(4)


class Claim(NamedTuple):
    """A claim about one video; ``place`` is where it stands in the table of claims, ``rank`` the
    place of its source among the sources, ``row`` the row of a list that makes it."""

    place: int
    start: int
    end: int
    class_number: int
    core: bool
    rank: int
    row: int


@dataclass
class Settled:
    """``fate`` and ``joined`` (the clip's claim) of every claim; ``contests``: rows and the two
    classes between which they are in conflict."""

    fate: np.ndarray
    joined: np.ndarray
    contests: Counter[tuple[int, int]] = field(default_factory=Counter)


class Windows:
    """Claims in which to look for one that overlaps."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        self.starts: list[int] = []
        self.latest: list[Claim] = []  # the one that ends last, of those up to here
        for claim in sorted(claims, key=lambda c: c.start):
            last = self.latest[-1] if self.latest else claim
            self.starts.append(claim.start)
            self.latest.append(claim if claim.end > last.end else last)

    def touching(self, claim: Claim) -> Claim | None:
        """One of them that overlaps ``claim``, or None."""
        before = bisect_left(self.starts, claim.end)
        found = self.latest[before - 1] if before else None
        return found if found and found.end > claim.start else None


def settle(
    video: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    class_number: np.ndarray,
    core: np.ndarray,
    rank: np.ndarray,
    row: np.ndarray,
) -> Settled:
    """Decide about all claims, which are sorted by video, and in it as ties are to be broken.

    - A row of several classes is decided by an overlapping row of one of these and no other.
    - Where overlapping claims name different classes, none is kept; but a core label is stronger
      than an ambiguous one.
    - What is left of one class is a clip unless it overlaps a clip of an earlier source, which it
      then joins. Windows of one source are clips of their own unless they begin together.

    So no two clips have one video and start, and overlapping clips have one class.
    """
    n = len(video)
    out = Settled(np.zeros(n, np.int8), np.arange(n))
    borders = np.flatnonzero(video[1:] != video[:-1]) + 1
    for first, after in pairwise([0, *borders.tolist(), n]):
        if after - first > 1:
            span = slice(first, after)
            columns = (start, end, class_number, core, rank, row)
            values = (column[span].tolist() for column in columns)
            _settle_video(list(map(Claim, range(span.start, span.stop), *values)), out)
    return out


def _settle_video(claims: Sequence[Claim], out: Settled) -> None:
    left = _undecided(claims, out)
    everything, core = _by_class(left), _by_class(c for c in left if c.core)
    contests: dict[int, set[tuple[int, int]]] = defaultdict(set)
    standing = defaultdict(list)
    for claim in left:
        rivals = core if claim.core else everything
        found = [
            number
            for number, windows in rivals.items()
            if number != claim.class_number and windows.touching(claim)
        ]
        if found:
            out.fate[claim.place] = CONFLICT
            pairs = (sorted((claim.class_number, number)) for number in found)
            contests[claim.row] |= {(a, b) for a, b in pairs}
        else:
            standing[claim.class_number].append(claim)
    for same in standing.values():
        _join(same, out)
        for claim in same:
            contests.pop(claim.row, None)
    for pairs_of_row in contests.values():
        out.contests.update(pairs_of_row)


def _undecided(claims: Sequence[Claim], out: Settled) -> Sequence[Claim]:
    """Without the claims of rows of several classes that a row of one class refutes."""
    of_row = Counter(claim.row for claim in claims)
    if max(of_row.values()) == 1 or min(of_row.values()) > 1:
        return claims
    single = _by_class(claim for claim in claims if of_row[claim.row] == 1)
    several = [claim for claim in claims if of_row[claim.row] > 1]
    agreed = {
        claim.place
        for claim in several
        if claim.class_number in single and single[claim.class_number].touching(claim)
    }
    decided = {claim.row for claim in several if claim.place in agreed}
    refuted = {c.place for c in several if c.row in decided and c.place not in agreed}
    out.fate[sorted(refuted)] = DECIDED
    return [claim for claim in claims if claim.place not in refuted]


def _by_class(claims: Iterable[Claim]) -> dict[int, Windows]:
    groups: dict[int, list[Claim]] = defaultdict(list)
    for claim in claims:
        groups[claim.class_number].append(claim)
    return {number: Windows(group) for number, group in sorted(groups.items())}


def _join(claims: Sequence[Claim], out: Settled) -> None:
    """Find the clips among claims of one video and class, and who joins whom."""
    kept: list[Claim] = []
    for _, of_source in groupby(sorted(claims, key=lambda c: c.rank), key=lambda c: c.rank):
        earlier, own = Windows(kept), dict[int, Claim]()
        for claim in of_source:
            clip = earlier.touching(claim) or own.setdefault(claim.start, claim)
            if clip is not claim:
                out.fate[claim.place], out.joined[claim.place] = JOINED, clip.place
        kept += own.values()
