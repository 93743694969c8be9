"""Check listed files without decoding: existence, being inside the source, size, SHA-256."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nano4m_audio.acquire.source import MediaError, Source, clean_message
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


def check_media(
    rows: Iterable[Mapping[str, Any]], root: Path, follow_links: bool = False
) -> list[dict[str, Any]]:
    """Check the file of every candidate row (``clip_id``, ``path``), in the order given.

    Returns one dict per row: clip_id, status ("ok" or "failed"), reason (a Reason, "" when ok),
    message, path (as given), size_bytes, sha256 (hex of the content, "" when failed). A bad file
    is a failed row, never an exception; a path outside ``root`` is not even opened, unless it
    leaves by a link and ``follow_links``.
    """
    return [{"clip_id": r["clip_id"], **_check_file(root, r["path"], follow_links)} for r in rows]


def _check_file(root: Path, path: str, follow_links: bool) -> dict[str, Any]:
    try:
        real = find_file(root, path, follow_links)
        if real is None:
            raise MediaError(
                Reason.UNSAFE_PATH, "is not inside the source folder" + _hint(root, path)
            )
        with Source(real) as source:
            sha256 = source.sha256()
            source.check()
    except MediaError as error:
        return _failed(path, error)
    return {
        "status": "ok",
        "reason": "",
        "message": "",
        "path": path,
        "size_bytes": source.size_bytes,
        "sha256": sha256,
    }


def _hint(root: Path, path: str) -> str:
    by_link = find_file(root, path, follow_links=True)
    return ", but linked to from it: folder.follow_links: true reads such files" if by_link else ""


def _failed(path: str, error: MediaError) -> dict[str, Any]:
    return {
        "status": "failed",
        "reason": error.reason.value,
        "message": clean_message(f"{path!r} {error}{_style(path, error.reason)}"),
        "path": path,
        "size_bytes": 0,
        "sha256": "",
    }


def _style(path: str, reason: Reason) -> str:
    windows = reason == Reason.MISSING_FILE and "\\" in path
    return f": paths are written with '/', as in {path.replace(chr(92), '/')!r}" if windows else ""
