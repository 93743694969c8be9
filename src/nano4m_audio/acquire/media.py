"""Is the listed file there, inside its folder and not empty? Its size and hash, undecoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.source import MediaError, Source, clean_message
from nano4m_audio.reasons import Reason


def resolve_inside(root: Path, path: str) -> Path | None:
    """Return the real path of ``path`` (relative to ``root``), or None where it leaves ``root``.

    Symbolic links are followed first, so a link that points outside is outside; so is anything
    that is no path at all (a NUL character, a loop of links).
    """
    try:
        real = (root / path).resolve()
        inside = real.is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return None
    return real if inside else None


def check_media(rows: Iterable[Mapping[str, Any]], root: Path) -> list[dict[str, Any]]:
    """Check the file of every candidate row (``clip_id``, ``path``), in the order given.

    Returns one dict per row: clip_id, status ("ok" or "failed"), reason (a Reason, "" when ok),
    message, path (as given), size_bytes, sha256 (hex of the content, "" when failed). A bad file
    is a failed row, never an exception; a path outside ``root`` is not even opened.
    """
    return [{"clip_id": row["clip_id"], **_check_file(root, row["path"])} for row in rows]


def _check_file(root: Path, path: str) -> dict[str, Any]:
    try:
        real = resolve_inside(root, path)
        if real is None:
            raise MediaError(Reason.UNSAFE_PATH, "is not inside the source folder")
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


def _failed(path: str, error: MediaError) -> dict[str, Any]:
    return {
        "status": "failed",
        "reason": error.reason.value,
        "message": clean_message(f"{path!r} {error}"),
        "path": path,
        "size_bytes": 0,
        "sha256": "",
    }
