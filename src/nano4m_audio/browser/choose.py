"""Which clips get pictures and sounds where not all can have them: those that tell most first."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import FILTERS
from nano4m_audio.generation.shown import over_classes
from nano4m_audio.report.inputs import Clip

#: A quarter each, at most, for mistakes, copies and clips that a threshold decided.
_PARTS = 4


def choose(
    clips: Sequence[Clip],
    most: int | None,
    mistakes: Collection[str],
    copied: Collection[str],
    verdict: Verdict,
) -> list[Clip]:
    """At most ``most`` of the decoded clips (None: all), in their order.

    First mistakes, copies and what they copy (``mistakes`` and ``copied`` are ids), and the
    rejected clips that are closest to the threshold of their reason; then others, spread over
    classes by a digest of their id.
    """
    decoded = [clip for clip in clips if clip.verdict["clip_key"]]
    if most is None or len(decoded) <= most:
        return decoded
    by_digest = sorted(decoded, key=lambda clip: _digest(clip.clip_id))
    chosen: dict[str, Clip] = {}
    for ranked in (
        (clip for clip in by_digest if clip.clip_id in mistakes),
        (clip for clip in by_digest if clip.clip_id in copied or clip.split.get("duplicate_of")),
        _near(decoded, verdict),
    ):
        new = (clip for clip in ranked if clip.clip_id not in chosen)
        chosen.update((clip.clip_id, clip) for clip in islice(_once(new), most // _PARTS))
    others = [clip for clip in by_digest if clip.clip_id not in chosen]
    spread = over_classes([clip.class_name for clip in others], most - len(chosen))
    chosen.update((others[i].clip_id, others[i]) for i in spread)
    return [clip for clip in decoded if clip.clip_id in chosen]


def _near(clips: Sequence[Clip], verdict: Verdict) -> Iterator[Clip]:
    """The nearest clip of each first reason, then the second nearest ..."""
    filters = {row.reason: row for row in FILTERS}
    found = []
    for clip in clips:
        row = filters.get(clip.reasons[0]) if clip.reasons else None
        if row is None:
            continue
        value, limit = clip.verdict[row.column], verdict.threshold(row, clip.class_name)
        if value is not None and limit is not None:
            found.append((abs(value - limit), clip.clip_id, clip))
    found.sort(key=lambda entry: entry[:2])
    yield from (
        found[i][2] for i in over_classes([clip.reasons[0] for _, _, clip in found], len(found))
    )


def _once(clips: Iterable[Clip]) -> Iterator[Clip]:
    return iter({clip.clip_id: clip for clip in clips}.values())


def _digest(clip_id: str) -> str:
    return hashlib.blake2b(clip_id.encode(), digest_size=8).hexdigest()
