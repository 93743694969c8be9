"""Cheap checks of the source: that it exists, and a digest of its file list."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nano4m_audio.acquire.tree import fingerprints
from nano4m_audio.config.schema import Config
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
    """Digest of the names, sizes and modification times of all files below ``root``, also behind
    links to folders: of whatever a scan would list.

    The list itself is left out: it is an input of its own. Returns "missing" for an absent folder,
    and what is wrong with one that cannot be listed (its candidates will say so).
    """
    if not Path(root).is_dir():
        return "missing"
    digest = hashlib.blake2b(digest_size=16)
    try:
        for name, state in fingerprints(Path(root)):
            if name != clips_csv:
                digest.update(f"{name}\0{state}\n".encode("utf-8", "surrogateescape"))
    except UserError as error:
        return str(error)
    return digest.hexdigest()
