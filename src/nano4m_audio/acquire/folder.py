"""Candidates from a folder of clips: its clips.csv, or one sub-folder per class."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nano4m_audio.errors import UserError, did_you_mean

# fmt: off
MEDIA_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg",
    ".ts", ".ogv",
})
# fmt: on
_REQUIRED = ("file", "class")
_SHOWN_PROBLEMS = 5


def read_candidates(
    root: Path, clips_csv: Path, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Read the clips of a folder from a CSV file with columns file and class.

    Optional columns: video_id (default: the file's stem), start_s (where in its video the clip
    was cut, default 0), source (default "folder"; "both" means audioset and vggsound). Other
    columns are ignored. ``file`` is relative to ``root`` and only kept as text here.

    Returns candidate rows sorted by clip_id: clip_id, video_id, start_s, end_s (None), class_name,
    sources (sorted), path, url (""). Raises UserError with the first five problems in the file.
    """
    if not root.is_dir():
        raise UserError(f"the source folder {root} does not exist or is no folder")
    problems: list[str] = []
    rows: dict[str, dict[str, Any]] = {}
    for line, record in _records(clips_csv):
        row = _parse(record, class_names)
        if isinstance(row, str):
            problems.append(f"line {line}: {row}")
            continue
        known = rows.setdefault(posixpath.normpath(row["path"]), row)
        conflict = _conflict(known, row)
        if conflict:
            problems.append(f"line {line}: {conflict}")
        known["sources"] = sorted({*known["sources"], *row["sources"]})
    if not rows and not problems:
        problems.append("the file lists no clips")
    _raise(clips_csv, problems)
    return _with_ids(list(rows.values()))


def scan_folder(root: Path, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """List the media files in the sub-folders of ``root``, each named after a class.

    Nested folders belong to the class above them; hidden files and files without a media suffix
    are skipped. Returns the same rows as ``read_candidates``. Raises UserError for media outside a
    class folder and for file names that are not UTF-8.
    """
    if not root.is_dir():
        raise UserError(f"the source folder {root} does not exist or is no folder")
    problems: list[str] = []
    rows = []
    for path in _media_files(root):
        folder = path.split("/")[0] if "/" in path else ""
        if not path.isprintable():
            problems.append(f"{path!r}: rename this file, its name is not printable UTF-8")
        elif not folder:
            problems.append(f"{path!r}: move this file into a folder named after its class")
        elif folder not in class_names:
            hint = did_you_mean(folder, class_names)
            problems.append(f"{path!r}: the folder {folder!r} is not a class{hint}")
        else:
            rows.append(_candidate(path, Path(path).stem, 0.0, folder, ["folder"]))
    if not rows and not problems:
        problems.append(f"no media files in its sub-folders ({', '.join(class_names)})")
    _raise(root, problems)
    return _with_ids(rows)


def _records(clips_csv: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, record) of a CSV file; values are stripped."""
    try:
        with open(clips_csv, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            header = [name.strip() for name in next(reader, [])]
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


def _parse(record: dict[str, str], class_names: Sequence[str]) -> dict[str, Any] | str:
    """Return a candidate row without clip_id, or what is wrong with the record."""
    if record[""]:
        return "more values than columns: put quotes around values that contain commas"
    path, class_name = record["file"], record["class"]
    if not path:
        return "no value in column 'file'"
    if class_name not in class_names:
        hint = did_you_mean(class_name, class_names)
        return f"class {class_name!r} is not one of the classes{hint}"
    try:
        start_s = float(record.get("start_s") or 0.0)
    except ValueError:
        start_s = math.nan
    if not 0.0 <= start_s < 1e9:
        return f"start_s {record['start_s']!r} is not a number of seconds (0 or more)"
    source = record.get("source") or "folder"
    sources = ["audioset", "vggsound"] if source == "both" else [source]
    video_id = record.get("video_id") or posixpath.splitext(posixpath.basename(path))[0] or path
    return _candidate(path, video_id, start_s, class_name, sources)


def _conflict(known: dict[str, Any], row: dict[str, Any]) -> str:
    """Say how two listings of one file contradict each other ("" where they agree)."""
    for column, name in (("class_name", "class"), ("video_id", "video_id"), ("start_s", "start_s")):
        if known[column] != row[column]:
            return (
                f"file {row['path']!r} is listed with {name} {row[column]!r}, "
                f"and before with {known[column]!r}; a file is one clip of one class"
            )
    return ""


def _candidate(
    path: str, video_id: str, start_s: float, class_name: str, sources: list[str]
) -> dict[str, Any]:
    return {
        "clip_id": f"{video_id}@{round(start_s * 1000)}",
        "video_id": video_id,
        "start_s": start_s,
        "end_s": None,
        "class_name": class_name,
        "sources": sources,
        "path": path,
        "url": "",
    }


def _with_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort, and make ids unique: files that claim the same one all get a hash of their path."""
    for digits in (6, 32):
        claims = Counter(row["clip_id"] for row in rows)
        for row in rows:
            if claims[row["clip_id"]] > 1:
                digest = hashlib.blake2b(row["path"].encode("utf-8", "surrogatepass")).hexdigest()
                row["clip_id"] = f"{row['clip_id']}#{digest[:digits]}"
    return sorted(rows, key=lambda row: row["clip_id"])


def _media_files(root: Path) -> list[str]:
    """Paths (relative, with "/") of all visible media files below ``root``, sorted."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in MEDIA_SUFFIXES:
                found.append(Path(folder, name).relative_to(root).as_posix())
    return sorted(found)


def _raise(where: Path, problems: list[str]) -> None:
    if not problems:
        return
    shown = problems[:_SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    raise UserError(f"{where}: " + "\n  ".join(["please correct:", *shown]))
