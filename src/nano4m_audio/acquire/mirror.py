"""Candidates from a mirror: clips that somebody has cut already, in folders or tar archives, found
by the lists that name them."""

from __future__ import annotations

import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nano4m_audio.acquire.folder import Findings, count_by_kind
from nano4m_audio.acquire.lists import read_lists
from nano4m_audio.acquire.media import find_file
from nano4m_audio.acquire.source import Region
from nano4m_audio.acquire.tree import MEDIA_SUFFIXES, media_files
from nano4m_audio.acquire.video_names import readings
from nano4m_audio.config.sources import Mirror
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.taxonomy import SoundClass

#: A name may have the start of a segment in whole seconds, rounded or cut.
_NEAR_S = 1.0
_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_UNLISTED, _TWICE = "clip that no list names", "second clip of a segment"


@dataclass(frozen=True, order=True)
class Clip:
    """A clip of a mirror: the file or archive in which it lies, where in it, and its own name."""

    path: str
    region: Region | None
    name: str


def list_mirror(
    source: Mirror, results: Results, classes: Mapping[str, SoundClass]
) -> tuple[list[dict[str, Any]], Findings]:
    """The candidates of a mirror: a row for each segment of its lists, and what a reader must know.

    A segment that the mirror does not have is a row without a path. Nothing is unpacked. Raises
    UserError for a mirror that is not there, archives that are compressed or damaged, and as
    ``read_lists`` does.
    """
    source.check()
    segments, findings = read_lists(source, classes)
    rows = [
        {"clip_id": f"{row['video_id']}@{round(row['start_s'] * 1000)}", **row}
        for row in segments.to_pylist()
    ]
    clips, left_out = find_clips(Path(source.root), source.follow_links)
    matched, unused = match(rows, clips)
    findings.left_out = [*findings.left_out, *count_by_kind([*left_out, *unused])]
    return [_candidate(row, matched.get(row["clip_id"])) for row in rows], findings


def _candidate(row: Mapping[str, Any], clip: Clip | None) -> dict[str, Any]:
    """A clip whose name has its start is all of its file, whatever the list says of its end. One
    that is named by its video alone may be all of that: its segment keeps its end."""
    if clip is None:
        return {**row, "path": "", "byte_start": None, "byte_count": None}
    start, count = clip.region or (None, None)
    starts = {start_s for name, start_s in readings(clip.name) if name == row["video_id"]}
    end_s = row["end_s"] if starts == {None} else None
    return {**row, "end_s": end_s, "path": clip.path, "byte_start": start, "byte_count": count}


def match(
    segments: Sequence[Mapping[str, Any]], clips: Iterable[Clip]
) -> tuple[dict[str, Clip], list[tuple[str, str]]]:
    """Find for each segment (clip_id, video_id, start_s) its clip, by what the clip's name says.

    The start in a name may be rounded to whole seconds; of several near ones the nearest counts. A
    name without a start is a clip of the only segment of its video. Returns clips by clip_id, and
    (name, why) of the clips that are left over.
    """
    listed: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for segment in segments:
        listed[segment["video_id"]].append(segment)
    offers: list[tuple[float, Clip, str]] = []
    for clip in sorted(set(clips)):
        offers += [(off_s, clip, clip_id) for off_s, clip_id in _offers(clip, listed)]
    matched: dict[str, Clip] = {}
    used: set[Clip] = set()
    for _, clip, clip_id in sorted(offers):
        if clip_id not in matched and clip not in used:
            matched[clip_id] = clip
            used.add(clip)
    wanted = {clip for _, clip, _ in offers}
    return matched, [
        (clip.name, _TWICE if clip in wanted else _UNLISTED)
        for clip in sorted(set(clips))
        if clip not in used
    ]


def _offers(
    clip: Clip, listed: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[tuple[float, str]]:
    """(how far its start is off, clip_id) of the segments that a clip may be."""
    for video_id, start_s in readings(clip.name):
        segments = listed.get(video_id, ())
        if start_s is None and len(segments) == 1:
            yield _NEAR_S, segments[0]["clip_id"]
        for segment in segments:
            if start_s is not None and abs(segment["start_s"] - start_s) < _NEAR_S:
                yield abs(segment["start_s"] - start_s), segment["clip_id"]
        if segments:
            return


def find_clips(root: Path, follow_links: bool = False) -> tuple[list[Clip], list[tuple[str, str]]]:
    """All clips below ``root``, in folders and in tar archives; and (name, why) of other files.

    Raises UserError for an archive that is compressed or damaged.
    """
    tree = media_files(root)
    clips = [Clip(path, None, path) for path in tree.files]
    left_out: list[tuple[str, str]] = []
    for path, why in tree.left_out:
        name = path.lower()
        inside = why != "hidden" and find_file(root, path, follow_links) is not None
        if inside and name.endswith(_COMPRESSED):
            raise UserError(
                f"mirror.root: {path!r} is a compressed archive, in which no clip can be found "
                "without unpacking all before it: decompress it to a .tar first"
            )
        if inside and name.endswith(".tar"):
            for clip, why_not in _members(root, path):
                if why_not:
                    left_out.append((clip.name, why_not))
                else:
                    clips.append(clip)
        else:
            left_out.append((path, why))
    return clips, left_out


def _members(root: Path, path: str) -> Iterator[tuple[Clip, str]]:
    """The members of a tar archive, and why one is no clip (empty for those that are).

    A member's name says which clip it is, and is never used as a path.
    """
    try:
        with tarfile.open(root / path, "r:", errors="surrogateescape") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # a million would fill the memory
                if not member.isdir():
                    name = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                    region = member.offset_data, member.size
                    yield Clip(path, region, name), _not_a_clip(member, name)
            _check_end(archive)
    # The values are those of damaged headers.
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise UserError(
            f"mirror.root: the archive {path!r} cannot be read ({error}): fetch it again"
        ) from None


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise tarfile.ReadError for an archive without its end, a block of zeros, or with more than
    zeros after it: a cut one, a damaged header, or several archives in one file."""
    file, end = archive.fileobj, archive.offset  # type: ignore[attr-defined]
    assert file is not None
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    while block:
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"no member and no end at byte {end}")
        block = file.read(1 << 20)
    if file.tell() < end + tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it is cut off after byte {end}")


def _not_a_clip(member: tarfile.TarInfo, name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if member.issparse():
        return "sparse member of an archive"
    if not member.isreg():
        return "link or device in an archive"
    return "" if suffix in MEDIA_SUFFIXES else f"{suffix or 'unnamed'} member of an archive"
