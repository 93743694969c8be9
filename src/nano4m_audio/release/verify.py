"""What of a release is still to be had: files, members of archives and tokens with its hashes.

A release comes from others: its names are looked up among those that are there, and never opened.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nano4m_audio.acquire.video_names import cuts
from nano4m_audio.audit.audit import clean, escaped
from nano4m_audio.errors import UserError
from nano4m_audio.files import read_json, sha256
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.release.build import CLIPS, FACTS
from nano4m_audio.release.rows import TOKEN_COLUMNS, read_release, token_digests
from nano4m_audio.tables import read_table

if TYPE_CHECKING:
    from rich.console import Console

STATES = ("same", "other", "missing", "unknown")
#: Published names round starts down to whole seconds.
_SAME_S = 1.0
_COLUMNS = (
    *("clip_id", "video_id", "start_s", "class_name", "file", "media_bytes", "media_sha256"),
    *("accepted", *TOKEN_COLUMNS.values()),
)


@dataclass
class Found:
    """What is there: hash -> name, names of files, starts by video, and what could not be read."""

    hashes: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    starts: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def verify(
    release: Path,
    folder: Path | None = None,
    mirror: Path | None = None,
    results: Results | None = None,
    every: bool = False,
) -> dict[str, Any]:
    """Compare a release with a folder of media, a mirror (also with tar archives) or a results
    folder. Of its accepted clips (``every``: of all) the state is "same" (a file has the hash),
    "other" (name or id are there, with other bytes), "missing", or "unknown" (it has no hash).

    Returns JSON values: ``classes``, ``tokens`` by modality (for results), ``clips`` and ``notes``.
    """
    given = [what for what in (folder, mirror, results) if what is not None]
    if len(given) != 1:
        raise UserError("verify: name one of --folder, --mirror and --results to look in")
    rows = [row for row in read_release(release, _COLUMNS) if every or row["accepted"]]
    if results is not None:
        found = _in_results(results)
    else:
        root = folder or mirror
        assert root is not None
        sizes = {row["media_bytes"] for row in rows}
        found = _in_folder(root, sizes, archives=mirror is not None)
    clips = [_clip(row, found) for row in rows]
    counts = Counter((clip["class"], clip["state"]) for clip in clips)
    return {
        "release": release.name,
        "against": str(given[0]),
        "notes": [*_integrity(release), *found.notes],
        "classes": [
            {"class": name, "clips": sum(counts[name, s] for s in STATES)}
            | {state: counts[name, state] for state in STATES}
            for name in sorted({name for name, _ in counts})
        ],
        "tokens": _token_states(rows, found) if results is not None else {},
        "clips": clips,
    }


def _integrity(release: Path) -> list[str]:
    """What release.json says of the lists beside it, and they are not."""
    if not (release / FACTS).is_file():
        return [f"there is no {FACTS}: nothing vouches for the list itself"]
    known = read_json(release / FACTS, "fetch the release again")
    known = known.get("sha256") if isinstance(known, dict) else None
    if not isinstance(known, dict):
        return [f"{FACTS} names no hashes: nothing vouches for the list itself"]
    return [
        f"{name} is not the file that {FACTS} describes"
        for name in CLIPS
        if (release / name).is_file() and sha256(release / name) != known.get(name)
    ]


def _clip(row: dict[str, Any], found: Found) -> dict[str, Any]:
    wanted = row["media_sha256"] or ""
    at = found.hashes.get(wanted, "")
    state = "same" if wanted and at else "unknown" if not wanted else ""
    if not state:
        at = found.names.get(row["file"] or "", "") or found.ids.get(row["clip_id"], "")
        at = at or _near(found, row["video_id"], row["start_s"])
        state = "other" if at else "missing"
    return {"clip_id": row["clip_id"], "class": row["class_name"], "state": state, "at": at}


def _near(found: Found, video: str, start_s: float | None) -> str:
    """A file that is named after this clip's video and start."""
    if start_s is None:
        return ""
    near = (name for start, name in found.starts.get(video, ()) if abs(start - start_s) < _SAME_S)
    return next(near, "")


def _token_states(rows: Sequence[dict[str, Any]], found: Found) -> dict[str, dict[str, int]]:
    states: dict[str, dict[str, int]] = {}
    for modality, column in TOKEN_COLUMNS.items():
        counts = dict.fromkeys(("same", "other", "missing"), 0)
        for row in rows:
            if row[column]:
                here = found.tokens[modality].get(row["clip_id"])
                counts[
                    "missing" if here is None else "same" if here == row[column] else "other"
                ] += 1
        states[modality] = counts
    return states


def _in_results(results: Results) -> Found:
    found = Found(tokens={name: {} for name in MODALITIES})
    for shard in results.shards:
        table = read_table(results.table("media", shard), "media", ["clip_id", "sha256"])
        for row in table.to_pylist():
            if row["sha256"]:
                found.ids[row["clip_id"]] = row["clip_id"]
                found.hashes.setdefault(row["sha256"], row["clip_id"])
        for name in results.modalities:
            found.tokens[name].update(token_digests(results, shard, name))
    return found


def _in_folder(root: Path, sizes: set[int | None], archives: bool) -> Found:
    """Hash what has the size of a file of the release; note the names of all."""
    if not root.is_dir():
        raise UserError(f"{root} is no folder: name the one with the media")
    found = Found()
    for name, path in _files(root):
        try:
            if archives and ".tar" in path.name:
                _in_archive(found, name, path, sizes)
                continue
            with open(path, "rb") as handle:
                _note(found, name, name, os.fstat(handle.fileno()).st_size, sizes, handle)
        except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
            found.notes.append(f"{clean(name)} cannot be read ({clean(error)})")
    told = cuts(sorted(found.names))
    for name, cut in told.items():
        if cut.by == "name":
            found.starts.setdefault(cut.video_id, []).append((cut.start_s, found.names[name]))
    return found


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Regular files below a folder, by name; links are not followed."""
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = Path(folder, name)
            try:
                regular = stat.S_ISREG(path.lstat().st_mode)
            except OSError:
                continue
            if regular:
                yield path.relative_to(root).as_posix(), path


def _in_archive(found: Found, name: str, path: Path, sizes: set[int | None]) -> None:
    """Look at the members of a tar archive; nothing is unpacked."""
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.isreg() and (handle := archive.extractfile(member)):
                at = f"{name}: {member.name}"
                _note(found, member.name.removeprefix("./"), at, member.size, sizes, handle)


def _note(found: Found, name: str, at: str, size: int, sizes: set[int | None], handle: Any) -> None:
    found.names.setdefault(name, at)
    if size in sizes:
        found.hashes.setdefault(_hash(handle), at)


def _hash(handle: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := handle.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def show(result: dict[str, Any], console: Console) -> None:
    """Print what is there, class by class."""
    from rich.table import Table

    for note in result["notes"]:
        console.print(f"note: {clean(note, 200)}", markup=False)
    table = Table("class", "clips", "same bytes", "other bytes", "missing", "no hash")
    for row in result["classes"]:
        table.add_row(escaped(row["class"]), str(row["clips"]), *(str(row[s]) for s in STATES))
    console.print(table)
    if result["tokens"]:
        tokens = Table("tokens", "same", "other", "missing")
        for name, counts in result["tokens"].items():
            tokens.add_row(name, *map(str, counts.values()))
        console.print(tokens)
