"""What the funnel cannot count: files that became no candidates, clips that were cut, and how far
the videos of the clips are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import Clip


def read_listing(results: Path) -> dict[str, Any]:
    """What the listing of candidates found; nothing where the tables came without it."""
    path = Results(results).listing
    empty: dict[str, Any] = {"video_ids": {}, "left_out": []}
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
