"""Digests beside finished files of the store that are not Parquet: weights, JSON, pictures, arrays.

A file without its digest is not finished, and one that its digest does not fit is damaged: it is
set aside and made again, never published.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from nano4m_audio.files import user_errors, write_bytes

_SUFFIX = ".sha256"


def seal(*paths: Path) -> None:
    """Mark files as finished, the last thing to be done to them."""
    for path in paths:
        write_bytes(_beside(path), sha256(path).encode())


def intact(*paths: Path) -> bool:
    """Whether all files are there, finished and what they were. Sets damaged ones aside.

    Raises UserError for a file that cannot be read.
    """
    return all([_is_intact(path) for path in paths])


def sha256(path: Path) -> str:
    """The digest of a file, in hex. Raises OSError."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _is_intact(path: Path) -> bool:
    with user_errors(path):
        try:
            if _beside(path).read_bytes() == sha256(path).encode():
                return True
        except FileNotFoundError:
            return False
        print(f"warning: {path} is damaged: it is set aside and made again", file=sys.stderr)
        path.replace(path.with_name(f"{path.name}.damaged"))
        return False


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _SUFFIX)
