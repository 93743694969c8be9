"""Check listed files without decoding: existence, being inside the source, size, SHA-256."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nano4m_audio.acquire.hashes import Hashes
from nano4m_audio.acquire.source import MediaError, Region, Source, clean_message
from nano4m_audio.reasons import Reason


def find_file(root: Path, path: str, follow_links: bool = False) -> Path | None:
    """Return where the file ``path`` (relative to ``root``) lies, or None where it leaves ``root``.

    Symbolic links are followed first, so a link that points outside is outside unless
    ``follow_links``; ".." and absolute paths never leave. Nor may anything that is no path at all
    (a NUL character, a loop of links). A name is found also under its other Unicode form, if just
    one file has it: a list may be composed ("\u00e9") where the disk is decomposed.
    """
    try:
        as_written = _as_written(root, path)
        real = as_written.resolve()
        parts = PurePosixPath(path)
        linked = follow_links and not parts.is_absolute() and ".." not in parts.parts
        inside = linked or real.is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return None
    return real if inside else None


def _as_written(root: Path, path: str) -> Path:
    """``path`` with each name as the disk writes it."""
    found = root / path
    if path.isascii() or found.exists() or found.is_symlink():
        return found
    found = root
    for name in PurePosixPath(path).parts:
        if not (found / name).exists() and found.is_dir():
            same = [n for n in os.listdir(found) if _composed(n) == _composed(name)]
            name = same[0] if len(same) == 1 else name
        found = found / name
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


#: Which part of its file a clip is: columns of a row of the media table.
_PART = ("byte_start", "byte_count", "file_start_s", "file_end_s")


def with_places(
    candidates: Iterable[Mapping[str, Any]], fetched: Iterable[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """Say of each candidate where its clip lies: its row with ``file_start_s`` and ``file_end_s``.

    By its own columns a clip is the part of its file from ``start_s`` to ``end_s``, or all of it
    where that has no end. What was ``fetched`` lies where the row of that table says; a failed one
    has its ``reason`` and ``message``, and one without a row was not fetched yet.
    """
    if fetched is None:
        return [
            {
                **row,
                "file_start_s": None if row["end_s"] is None else row["start_s"],
                "file_end_s": row["end_s"],
            }
            for row in candidates
        ]
    pieces = {row["clip_id"]: row for row in fetched}
    absent = {
        "reason": Reason.NOT_FETCHED_YET.value,
        "message": "the stage fetch has not come to it",
        "path": "",
        "file_start_s": None,
        "file_end_s": None,
    }
    return [{**row, **pieces.get(row["clip_id"], absent)} for row in candidates]


def region_of(row: Mapping[str, Any]) -> Region | None:
    """The bytes of its file that a clip's own file is; None for all of them."""
    start, count = row.get("byte_start"), row.get("byte_count")
    return None if start is None or count is None else (start, count)


def check_media(
    rows: Iterable[Mapping[str, Any]],
    root: Path,
    follow_links: bool = False,
    hashes: Hashes | None = None,
) -> list[dict[str, Any]]:
    """Check the file of every row (``clip_id``, ``path``; see ``with_places``), in the order given.

    Returns one dict per row: clip_id, status ("ok" or "failed"), reason (a Reason, "" when ok),
    message, path and part of it (as given), size_bytes, sha256 (hex of the content, "" when
    failed). A bad file is a failed row, never an exception; a path outside ``root`` is not even
    opened, unless it leaves by a link and ``follow_links``. A file of many clips is read once, and
    one that ``hashes`` know, as it is now, not at all.
    """
    found: dict[tuple[str, Region | None], dict[str, Any]] = {}
    checked = []
    for row in rows:
        place = row["path"], region_of(row)
        if row.get("reason"):
            result = _failure(row["reason"], row["message"])
        elif not row["path"]:
            result = _failure(Reason.NOT_IN_MIRROR, "no clip of the mirror has its name")
        else:
            if place not in found:
                found[place] = _check_file(root, *place, follow_links, hashes)
            result = found[place]
        part = {name: row.get(name) for name in _PART}
        checked.append({"clip_id": row["clip_id"], "path": row["path"], **part, **result})
    return checked


def _check_file(
    root: Path, path: str, region: Region | None, follow_links: bool, hashes: Hashes | None
) -> dict[str, Any]:
    try:
        real = find_file(root, path, follow_links)
        if real is None:
            raise MediaError(
                Reason.UNSAFE_PATH, "is not inside the source folder" + _hint(root, path)
            )
        with Source(real, region) as source:
            sha256 = hashes.sha256(source, region, real) if hashes else source.sha256()
            source.check()
    except MediaError as error:
        return _failure(error.reason, f"{path!r} {error}{_style(path, error.reason)}")
    return {
        "status": "ok",
        "reason": "",
        "message": "",
        "size_bytes": source.size_bytes,
        "sha256": sha256,
    }


def _hint(root: Path, path: str) -> str:
    by_link = find_file(root, path, follow_links=True)
    return ", but linked to from it: folder.follow_links: true reads such files" if by_link else ""


def _failure(reason: str, message: str) -> dict[str, Any]:
    return {
        "status": "failed",
        "reason": str(reason),
        "message": clean_message(message),
        "size_bytes": 0,
        "sha256": "",
    }


def _style(path: str, reason: Reason) -> str:
    windows = reason == Reason.MISSING_FILE and "\\" in path
    return f": paths are written with '/', as in {path.replace(chr(92), '/')!r}" if windows else ""
