"""Is the listed file there, inside its folder and not empty? Its size and hash, undecoded."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nano4m_audio.reasons import Reason

MESSAGE_CHARS = 300


def clean_message(text: str) -> str:
    """Return ``text`` as one printable line of at most 300 characters, safe for tables and logs."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(line.split())[:MESSAGE_CHARS]


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
    real = resolve_inside(root, path)
    if real is None:
        return _failed(path, Reason.UNSAFE_PATH, f"{path!r} is not inside the source folder")
    try:
        info = real.stat()
        if not stat.S_ISREG(info.st_mode):
            return _failed(path, Reason.NOT_MEDIA, f"{path!r} is not a regular file")
        if info.st_size == 0:
            return _failed(path, Reason.EMPTY_FILE, f"{path!r} has zero bytes")
        with open(real, "rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
            size_bytes = handle.tell()
    except (FileNotFoundError, NotADirectoryError):
        return _failed(path, Reason.MISSING_FILE, f"{path!r} does not exist")
    except OSError as error:
        return _failed(path, Reason.MISSING_FILE, f"{path!r} cannot be read: {error.strerror}")
    return {
        "status": "ok",
        "reason": "",
        "message": "",
        "path": path,
        "size_bytes": size_bytes,
        "sha256": sha256,
    }


def _failed(path: str, reason: Reason, message: str) -> dict[str, Any]:
    return {
        "status": "failed",
        "reason": reason.value,
        "message": clean_message(message),
        "path": path,
        "size_bytes": 0,
        "sha256": "",
    }
