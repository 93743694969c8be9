"""Infer from file names which video a clip was cut from, and where."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

#: Cuts of one video mostly begin at least this far apart [s]; numbers that lie closer count files.
_APART_S = 3.0
#: start_end pairs at least this long are milliseconds, as in AudioSet's own names.
_MILLISECONDS = 1000.0
_ID = r"[A-Za-z0-9_-]{11}"
_NUMBER = r"\d+(?:\.\d+)?"
#: Names that can hardly mean anything else: an 11-character id with a start or with start and end,
#: such an id in brackets, as downloaders write it, or two times of six digits.
_SURE = (
    re.compile(r"(?P<id>.+)_(?P<start>\d{6})_(?P<end>\d{6})"),
    re.compile(rf"(?P<id>{_ID})[_-](?P<start>\d{{6}})"),
    re.compile(rf"(?P<id>{_ID})[_-](?P<start>{_NUMBER})[_-](?P<end>{_NUMBER})"),
    re.compile(rf".*\[(?P<id>{_ID})\](?:[ _-]*(?P<start>{_NUMBER})(?:[_-](?P<end>{_NUMBER}))?)?"),
)
#: What names by people look like, and hardly one in a thousand ids of a video site.
_WORDS = re.compile(r"[a-z_-]+|[A-Z][a-z_-]*|[A-Z_-]+")
#: Names that may also number files: clip_000001, clip_000002.
_LIKELY = (
    re.compile(r"(?P<id>.+)_(?P<start>\d{6})"),
    re.compile(rf"(?P<id>.+?)_(?P<start>{_NUMBER})_(?P<end>{_NUMBER})"),
    re.compile(rf"(?P<id>{_ID})_(?P<start>{_NUMBER})"),
)


@dataclass(frozen=True)
class Cut:
    """A video and where in it a clip begins; ``by`` says whether its name told so: name or file."""

    video_id: str
    start_s: float
    by: str


def cuts(paths: Iterable[str]) -> dict[str, Cut]:
    """Say for each path which video it was cut from.

    Names such as ID_SSSSSS, ID_SSSSSS_EEEEEE and ID_start_end are cuts of the video ID. Where it
    has not the 11 characters of a video site, or is made of words, one number may also count files
    (clip_000001): it does when the numbers of that ID follow each other closely. A file with any
    other name is a video of its own, which has the folder in its id where the name is not enough
    (dog/1.mp4, cat/1.mp4). In doubt files are taken for one video: that is seen, and a leak is not.
    """
    found: dict[str, Cut] = {}
    likely: dict[str, dict[str, Cut]] = defaultdict(dict)
    for path in paths:
        stem = file_stem(path)
        sure = _first(_SURE, stem)
        if sure and not _WORDS.fullmatch(sure.video_id):
            found[path] = sure
        elif cut := sure or _first(_LIKELY, stem):
            likely[cut.video_id][path] = cut
        else:
            found[path] = Cut(stem, 0.0, "file")
    for group in likely.values():
        starts = sorted({cut.start_s for cut in group.values()})
        gaps = [b - a for a, b in pairwise(starts)]
        counted = bool(gaps) and median(gaps) < _APART_S
        for path, cut in group.items():
            found[path] = Cut(file_stem(path), 0.0, "file") if counted else cut
    return _apart(found)


def _apart(found: dict[str, Cut]) -> dict[str, Cut]:
    """Name files that are videos of their own with their folders, where their names are equal."""
    whole = {path: _whole_stem(path) for path, cut in found.items() if cut.by == "file"}
    names = Counter(posixpath.basename(stem) for stem in set(whole.values()))
    for path, stem in whole.items():
        if names[posixpath.basename(stem)] > 1:
            found[path] = replace(found[path], video_id=stem)
    return found


def _whole_stem(path: str) -> str:
    folder = unicodedata.normalize("NFC", posixpath.dirname(path))
    return posixpath.normpath(posixpath.join(folder, file_stem(path)))


def readings(path: str) -> list[tuple[str, float | None]]:
    """Every (video id, start in seconds or None) that a file's name may mean, the likeliest first.

    For names whose ids are listed elsewhere: the list decides. A "Y" before an id of a video site,
    as some copies of AudioSet have it, may be none of it.
    """
    stem = file_stem(path)
    found: list[tuple[str, float | None]] = []
    for name in (stem, stem[1:]) if re.match(rf"Y{_ID}(?![^_-])", stem) else (stem,):
        for pattern in _SURE + _LIKELY:
            match = pattern.fullmatch(name)
            if match and (cut := _cut(match)):
                found.append((cut.video_id, cut.start_s if match["start"] else None))
        found.append((name, None))
    return list(dict.fromkeys(found))


def file_stem(path: str) -> str:
    """The file's name without its ending, in the composed form of Unicode."""
    name = posixpath.basename(path)
    return unicodedata.normalize("NFC", posixpath.splitext(name)[0] or name or path)


def _first(patterns: Iterable[re.Pattern[str]], stem: str) -> Cut | None:
    matches = (pattern.fullmatch(stem) for pattern in patterns)
    return next((cut for match in matches if match and (cut := _cut(match))), None)


def _cut(match: re.Match[str]) -> Cut | None:
    """What a name says that has this form; None where it ends before it starts."""
    numbers = match.groupdict()
    start = float(numbers["start"] or 0)
    length = float(numbers["end"]) - start if numbers.get("end") else None
    if length is not None and length <= 0:
        return None
    if length is not None and length >= _MILLISECONDS:
        start /= 1000
    return Cut(match["id"], start, "name")
