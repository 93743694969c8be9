"""A digest of a folder's list of files: cheap to compute, and another one after any change."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nano4m_audio.acquire.tree import fingerprints
from nano4m_audio.errors import UserError


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
