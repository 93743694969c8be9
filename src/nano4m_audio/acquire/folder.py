"""Candidates from a folder of clips: its clips.csv, or one sub-folder per class."""

from __future__ import annotations

import csv
import hashlib
import math
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.list_words import list_lines
from nano4m_audio.acquire.tree import media_files
from nano4m_audio.acquire.video_names import cuts
from nano4m_audio.config.sources import Source
from nano4m_audio.errors import ListError, UserError, did_you_mean, shown
from nano4m_audio.paths import Results
from nano4m_audio.taxonomy import normal, unknown_class

_REQUIRED = ("file", "class")


@dataclass
class Findings:
    """What a reader of any count of the clips must know.

    ``video_ids`` counts clips by what names their video: "list" (a value in the list), "name" (the
    file's name), or "file" (nothing: each is a video of its own). ``left_out`` counts, by kind, the
    files that are in the folder and are no clips. ``lists``, ``sources`` and ``conflicts`` are of
    lists of segments (see ``lists.read_lists``): rows of each list, clips by the lists that name
    them, rows by the two classes between which they are in conflict.
    """

    video_ids: dict[str, int] = field(default_factory=dict)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    lists: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The same for the user, one line each."""
        lines = [
            f"left out: {kind['files']} x {kind['why']} (such as {kind['example']!r})"
            for kind in self.left_out
        ]
        lines += list_lines(self.lists, self.sources, self.conflicts)
        if named := self.video_ids.get("name"):
            lines.append(f"the video of {named} clips is taken from the name of the file")
        if alone := self.video_ids.get("file"):
            lines.append(
                f"{alone} of {sum(self.video_ids.values())} clips count as a video of their own: "
                "cuts of one video need a column video_id, or they may part between splits"
            )
        return lines


def list_folder(
    source: Source, results: Results, classes: Iterable[str]
) -> tuple[list[dict[str, Any]], Findings]:
    """The candidates of a source's folder, by its list or its sub-folders, and what a reader must
    know.

    Raises UserError for a folder that is not there, or without clips.
    """
    settings, class_names = source.folder(results.root), tuple(classes)
    root, findings = Path(settings.root), Findings()
    if not root.is_dir():
        raise UserError(f"folder.root: {settings.root!r} is not a folder")
    if settings.clips_csv is None:
        rows = scan_folder(root, class_names, findings)
    else:
        rows = read_candidates(root, root / settings.clips_csv, class_names, findings)
    if not rows:
        raise UserError(f"folder.root: no clips are listed in {settings.root!r}")
    return rows, findings


def read_candidates(
    root: Path, clips_csv: Path, class_names: Sequence[str], findings: Findings | None = None
) -> list[dict[str, Any]]:
    """Read the clips of a folder from a CSV file with columns file and class.

    Optional columns: video_id and start_s (which video the clip was cut from, and where in it;
    default: what the file's name says, see ``cuts``), end_s (the clip is what lies from start_s to
    end_s in the file, of which there may be many), source (default "folder"; "both" means
    audioset and vggsound). Other columns are ignored. ``file`` is relative to ``root``.

    Returns candidate rows sorted by clip_id: clip_id, video_id, start_s, end_s (None: all of the
    file), class_name, sources (sorted), path, url (""), and fills ``findings``. Raises UserError
    with the first five problems in the file.
    """
    if not root.is_dir():
        raise UserError(f"the source folder {root} does not exist or is no folder")
    problems: list[str] = []
    rows: dict[tuple[str, float | None, float | None], dict[str, Any]] = {}
    records = list(_records(clips_csv))
    named = cuts(record["file"] for _, record in records)
    origins: dict[int, str] = {}
    for line, record in records:
        cut = named[record["file"]]
        by = "list" if record.get("video_id") else cut.by
        record = {**record, "video_id": record.get("video_id") or cut.video_id}
        row = _backslashes(root, record["file"]) or _parse(record, class_names, cut.start_s)
        if isinstance(row, str):
            problems.append(f"line {line}: {row}")
            continue
        segment = (None, None) if row["end_s"] is None else (row["start_s"], row["end_s"])
        known = rows.setdefault((posixpath.normpath(row["path"]), *segment), row)
        # The segments of a file share a video: its name says so.
        origins[id(known)] = "name" if by == "file" and row["end_s"] is not None else by
        conflict = _conflict(known, row)
        if conflict:
            problems.append(f"line {line}: {conflict}")
        known["sources"] = sorted({*known["sources"], *row["sources"]})
    if not rows and not problems:
        problems.append("the file lists no clips")
    _raise(clips_csv, problems)
    if findings:
        findings.video_ids = _origins(origins[id(row)] for row in rows.values())
    return _with_ids(list(rows.values()))


def scan_folder(
    root: Path, class_names: Sequence[str], findings: Findings | None = None
) -> list[dict[str, Any]]:
    """List the media files in the sub-folders of ``root``, each named after a class.

    Nested folders belong to the class above them. Links to folders are followed. A file is taken
    by its ending, or by its first bytes; hidden and other files are left out and counted. Returns
    the same as ``read_candidates``. Raises UserError for media outside a class folder, for file
    names that are not UTF-8 and for folders that cannot be listed.
    """
    if not root.is_dir():
        raise UserError(f"the source folder {root} does not exist or is no folder")
    problems: list[str] = []
    rows = []
    tree = media_files(root)
    named = cuts(tree.files)
    for path in tree.files:
        folder = normal(path.split("/")[0]) if "/" in path else ""
        if not path.isprintable():
            problems.append(f"{path!r}: rename this file, its name is not printable UTF-8")
        elif not folder:
            problems.append(f"{path!r}: move this file into a folder named after its class")
        elif folder not in class_names:
            why = unknown_class(folder, tuple(class_names))
            problems.append(f"{path!r}: its folder is named after an {why}")
        else:
            cut = named[path]
            rows.append(_candidate(path, cut.video_id, cut.start_s, None, folder, ["folder"]))
    left_out = count_by_kind(tree.left_out)
    if not rows and not problems:
        problems.append(f"no media files in its sub-folders ({', '.join(class_names)})")
        problems += [f"{k['files']} x {k['why']}, such as {k['example']!r}" for k in left_out]
    _raise(root, problems)
    if findings:
        findings.video_ids = _origins(named[row["path"]].by for row in rows)
        findings.left_out = left_out
    return _with_ids(rows)


def found_classes(root: Path, clips_csv: str | None) -> list[str]:
    """The classes that are in a folder, sorted: the values of the list's column class, or the names
    of the sub-folders with media. Raises UserError where there is none, or no list."""
    if clips_csv is None:
        named = {path.split("/")[0] for path in media_files(root).files if "/" in path}
    else:
        named = {record["class"] for _, record in _records(root / clips_csv)}
    found = sorted({normal(name) for name in named if name})
    if not found:
        raise UserError(
            f"classes = from_folder: there is no class in {root}: put clips into one sub-folder "
            "per class, or name the class of each in folder.clips_csv"
        )
    return found


def _origins(kinds: Iterable[str]) -> dict[str, int]:
    counts = Counter(kinds)
    return {kind: counts[kind] for kind in ("list", "name", "file")}


def count_by_kind(left_out: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Count what was left out by why, the most frequent first, with one example each."""
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for path, why in left_out:
        counts[why] += 1
        examples.setdefault(why, path if path.isprintable() else ascii(path))
    order = sorted(counts, key=lambda why: (-counts[why], why))
    return [{"why": why, "files": counts[why], "example": examples[why]} for why in order]


def _backslashes(root: Path, path: str) -> str:
    """What is wrong with a path in the style of Windows whose file is there in the other style."""
    other = path.replace("\\", "/")
    if other == path or (root / path).exists() or not (root / other).exists():
        return ""
    return f"file {shown(path)}: write paths with '/': {shown(other)}"


def _records(clips_csv: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, record) of a CSV file; values are stripped."""
    try:
        with open(clips_csv, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            header = [name.strip() for name in next(reader, [])]
            twice = sorted(n for n, times in Counter(header).items() if n and times > 1)
            if twice:
                raise UserError(
                    f"{clips_csv}: line 1 names the column {', '.join(map(repr, twice))} more than "
                    "once: keep one, or rename the others"
                )
            missing = [name for name in _REQUIRED if name not in header]
            if missing:
                hints = [f"{name!r}{did_you_mean(name, header)}" for name in missing]
                raise UserError(
                    f"{clips_csv}: no column {' and no column '.join(hints)}; "
                    f"line 1 must name the columns, it reads {','.join(header)[:200]!r}"
                )
            for values in reader:
                if any(value.strip() for value in values):
                    values += [""] * (len(header) - len(values))
                    record = dict(zip(header, map(str.strip, values), strict=False))
                    extra = len(values) > len(header)
                    yield reader.line_num, {**record, "": "extra" if extra else ""}
    except FileNotFoundError:
        raise UserError(f"{clips_csv} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{clips_csv} cannot be read as UTF-8 CSV: {error}") from error


def _parse(
    record: dict[str, str], class_names: Sequence[str], cut_s: float
) -> dict[str, Any] | str:
    """Return a candidate row, or what is wrong with the record."""
    if record[""]:
        return "more values than columns: put quotes around values that contain commas"
    path, class_name = record["file"], normal(record["class"])
    if not path:
        return "no value in column 'file'"
    if class_name not in class_names:
        return unknown_class(class_name, tuple(class_names))
    times = _times(record, cut_s)
    if isinstance(times, str):
        return times
    source = record.get("source") or "folder"
    sources = ["audioset", "vggsound"] if source == "both" else [source]
    return _candidate(path, record["video_id"], *times, class_name, sources)


def _times(record: dict[str, str], cut_s: float) -> tuple[float, float | None] | str:
    """Return start_s and end_s (None where the file is the clip), or what is wrong with them."""
    start, end = record.get("start_s", ""), record.get("end_s", "")
    if end and not start:
        return "end_s without start_s: a segment of a file needs both"
    start_s, end_s = _seconds(start) if start else cut_s, _seconds(end) if end else None
    for name, text, value in (("start_s", start, start_s), ("end_s", end, end_s)):
        if value is not None and not 0.0 <= value < 1e9:
            return f"{name} {shown(text)} is not a number of seconds (0 or more)"
    if end_s is not None and end_s <= start_s:
        return f"end_s {shown(end)} is not after start_s {shown(start)}"
    return start_s, end_s


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _conflict(known: dict[str, Any], row: dict[str, Any]) -> str:
    """Say how two listings of one file contradict each other ("" where they agree)."""
    one = "a file" if row["end_s"] is None else "a segment"
    for column, name in (("class_name", "class"), ("video_id", "video_id"), ("start_s", "start_s")):
        if known[column] != row[column]:
            return (
                f"file {shown(row['path'])} is listed with {name} {shown(row[column])}, "
                f"and before with {shown(known[column])}; {one} is one clip of one class"
            )
    return ""


def _candidate(
    path: str,
    video_id: str,
    start_s: float,
    end_s: float | None,
    class_name: str,
    sources: list[str],
) -> dict[str, Any]:
    return {
        "clip_id": f"{video_id}@{round(start_s * 1000)}",
        "video_id": video_id,
        "start_s": start_s,
        "end_s": end_s,
        "class_name": class_name,
        "sources": sources,
        "path": path,
        "byte_start": None,
        "byte_count": None,
        "url": "",
    }


def _with_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort, and make ids unique: clips that claim the same one all get a hash of where they lie."""
    for digits in (6, 32):
        claims = Counter(row["clip_id"] for row in rows)
        for row in rows:
            if claims[row["clip_id"]] > 1:
                place = row["path"] if row["end_s"] is None else f"{row['path']}\0{row['end_s']}"
                digest = hashlib.blake2b(place.encode("utf-8", "surrogatepass")).hexdigest()
                row["clip_id"] = f"{row['clip_id']}#{digest[:digits]}"
    return sorted(rows, key=lambda row: row["clip_id"])


def _raise(where: Path, problems: list[str]) -> None:
    if problems:
        raise ListError(where, problems)
