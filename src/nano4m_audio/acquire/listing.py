"""Cheap looks at the source: is it there, and has anything in it changed?"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nano4m_audio.config import Config
from nano4m_audio.errors import UserError


def check_source(config: Config) -> None:
    """Raise UserError, in one line, for a source that is not there."""
    root = config.folder.root
    if config.source == "folder" and not Path(root).is_dir():
        raise UserError(
            f"folder.root: {root!r} is not a folder: put your clips there, "
            "or name yours with --config folder.root=PATH"
        )


def check_runnable(config: Config) -> None:
    """Raise UserError, in one line, for a source that can be planned but not yet read."""
    if config.source == "web":
        raise UserError(
            "source = 'web': fetching is not part of this version yet; "
            "use 'barnyard' or 'folder' (your own clips)"
        )


def folder_digest(root: str, clips_csv: str | None) -> str:
    """Digest of the names, sizes and modification times of all files below ``root``.

    The list itself is left out: it is an input of its own. Returns "missing" for an absent folder.
    """
    if not Path(root).is_dir():
        return "missing"
    digest = hashlib.blake2b(digest_size=16)
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if relative == clips_csv or path.is_symlink() and not path.exists():
                continue
            stat = path.stat()
            line = f"{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
