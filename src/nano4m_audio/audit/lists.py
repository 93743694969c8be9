"""The public lists of AudioSet and VGGSound as an index: which data set has which clip."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from nano4m_audio.acquire.video_names import cuts
from nano4m_audio.errors import UserError

#: Data set -> video -> the starts [s] of its clips.
Index = dict[str, dict[str, set[float]]]
_MID = re.compile(r'\s*"?/[a-z]/\w+')
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")


def read_lists(paths: Sequence[Path]) -> Index:
    """Read lists of segments. A list whose labels are ids such as /m/068hy is AudioSet's, any other
    VGGSound's (id,start,label or id_start.mp4,label). Raises UserError where a file is neither."""
    index: Index = {}
    for path in paths:
        starts: dict[str, set[float]] = defaultdict(set)
        kind = "vggsound"
        try:
            with open(path, encoding="utf-8-sig", errors="replace", newline="") as handle:
                for cells in csv.reader(handle, skipinitialspace=True):
                    if cells and not cells[0].startswith("#"):
                        kind = "audioset" if _MID.match(cells[-1]) else kind
                        _add(starts, cells)
        except (OSError, csv.Error) as error:
            raise UserError(f"--lists {path} cannot be read ({error})") from None
        if not starts:
            raise UserError(f"--lists {path}: no line names a video, as AudioSet or VGGSound do")
        known = index.setdefault(kind, {})
        for video, found in starts.items():
            known.setdefault(video, set()).update(found)
    return index


def _add(starts: dict[str, set[float]], cells: Sequence[str]) -> None:
    """Note the clip of one line; a line that names none is no clip."""
    if len(cells) > 1 and _VIDEO.fullmatch(cells[0]):
        try:
            starts[cells[0]].add(float(cells[1]))
        except ValueError:
            return
    elif cells[0].endswith(".mp4"):
        cut = cuts(cells[:1])[cells[0]]
        if cut.by == "name":
            starts[cut.video_id].add(cut.start_s)
