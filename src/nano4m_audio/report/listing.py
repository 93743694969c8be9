"""What the funnel cannot count: files that became no candidates, clips that were cut, and how far
the videos of the clips are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.list_words import fault_lines
from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import Clip, ReportInputs

_LINES_SHOWN = 10


@dataclass(frozen=True)
class ListRow:
    """A list of segments and what became of its rows: clips, joined, conflicts, others, bad."""

    name: str
    source: str
    rows: int
    counts: list[int]


@dataclass(frozen=True)
class Lists:
    """The lists that the candidates come from, with the total last; ``faults`` as (list, fault,
    rows, lines, example); clips by the lists that name them; conflicts as (two classes, rows)."""

    lists: list[ListRow]
    faults: list[tuple[str, str, int, str, str]]
    sources: list[tuple[str, int]]
    conflicts: list[tuple[str, int]]


def collect(inputs: ReportInputs) -> Lists | None:
    """What the lists of segments say; None where the candidates come from no list of segments."""
    found = read_listing(inputs.results)
    parts = ("clips", "joined", "conflicts", "others", "bad")
    lists = [
        ListRow(e["list"], e["source"], e["rows"], [e[part] for part in parts])
        for e in found["lists"]
    ]
    if not lists:
        return None
    sums = [sum(column) for column in zip(*(row.counts for row in lists), strict=True)]
    return Lists(
        [*lists, ListRow("all lists", "", sum(row.rows for row in lists), sums)],
        [
            (e["list"], f["why"], f["rows"], fault_lines(f, _LINES_SHOWN), f["example"])
            for e in found["lists"]
            for f in e["faults"]
        ],
        [(e["sources"], e["clips"]) for e in found["sources"]],
        [(" and ".join(e["classes"]), e["rows"]) for e in found["conflicts"]],
    )


def read_listing(results: Path) -> dict[str, Any]:
    """What the listing of candidates found; nothing where the tables came without it."""
    path = Results(results).listing
    empty: dict[str, Any] = {
        **{"video_ids": {}, "left_out": []},
        **{"lists": [], "sources": [], "conflicts": []},
    }
    return {**empty, **json.loads(path.read_text("utf-8"))} if path.exists() else empty


def notes(
    clips: Sequence[Clip], listing: Mapping[str, Any], decode: Mapping[str, Any]
) -> list[str]:
    """One sentence for each such fact, none for what did not happen."""
    out = []
    if kinds := listing["left_out"]:
        named = "; ".join(f"{k['files']:,} x {k['why']} (such as {k['example']})" for k in kinds)
        out.append(f"In the folder, but no candidates: {named}.")
    if cut := sum(clip.cut for clip in clips):
        were = "clip was longer than" if cut == 1 else "clips were longer than"
        last = f"{decode['max_clip_s']:g} s"
        out.append(f"{cut:,} {were} {last} and {'was' if cut == 1 else 'were'} cut there.")
    if named_by := listing["video_ids"].get("name"):
        out.append(
            f"The video of {named_by:,} clips is taken from the name of the file (ID_start)."
        )
    return out


def videos_unknown(listing: Mapping[str, Any]) -> str:
    """What to say of videos in the splits when some files count as videos of their own."""
    alone, total = listing["video_ids"].get("file", 0), sum(listing["video_ids"].values())
    if not alone:
        return ""
    if alone == total:
        who = "every clip counts as a video of its own"
    else:
        who = f"{alone:,} of {total:,} clips count as videos of their own"
    return f"{who}: cuts of one video may be in different splits"
