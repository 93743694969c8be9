"""Digests beside finished files of the store that are not Parquet: weights, JSON, pictures, arrays.

A file without its digest is not finished, and one that its digest does not fit is damaged: it is
set aside and made again, never published.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nano4m_audio.files import sha256, user_errors, write_bytes, write_json

_SUFFIX = ".sha256"


def kept(paths: Sequence[Path], make: Callable[[], None], what: str = "") -> bool:
    """Have finished files in the store: ``make`` writes them, unless they are there and intact.

    Says of ``what`` that it is known, where it is. Returns whether ``make`` was called.
    """
    if intact(*paths):
        if what:
            print(f"{what} is known, nothing to compute", file=sys.stderr)
        return False
    make()
    seal(*paths)
    return True


def publish_json(stored: Path, out: Path, **head: Any) -> None:
    """Write ``head`` and what a JSON file of the store says."""
    write_json(out, {**head, **json.loads(stored.read_text("utf-8"))})


def seal(*paths: Path) -> None:
    """Mark files as finished, the last thing to be done to them."""
    for path in paths:
        write_bytes(_beside(path), sha256(path).encode())


def intact(*paths: Path) -> bool:
    """Whether all files are there, finished and what they were. Sets damaged ones aside.

    Raises UserError for a file that cannot be read.
    """
    return all([_is_intact(path) for path in paths])


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
