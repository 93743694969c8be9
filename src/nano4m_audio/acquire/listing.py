"""What is in a folder, when a workflow is read: a digest of all of it, and the classes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from nano4m_audio.acquire.folder import found_classes
from nano4m_audio.acquire.tree import fingerprints
from nano4m_audio.config.sources import Candidates
from nano4m_audio.errors import UserError
from nano4m_audio.taxonomy import FROM_FOLDER, classes_named

_Config = TypeVar("_Config", bound=Candidates)


def with_folder_classes(config: _Config, begun: Path | None = None) -> _Config:
    """The config with the classes that its folder has, if it asks for them (``from_folder``).

    ``begun`` is what the stage ``candidates`` was told by a run in progress: its classes are taken,
    whatever has come into the folder meanwhile. Raises UserError, in one line, where there is no
    folder, no class, or a name that is none.
    """
    if config.classes:
        return config
    if config.source != "folder":
        raise UserError(
            f"classes = {FROM_FOLDER} needs source: folder; source is {config.source!r}"
        )
    section = config.folder
    try:
        classes = classes_named(
            json.loads(begun.read_text("utf-8"))["classes"]
            if begun
            else found_classes(Path(section.root), section.clips_csv)
        )
    except ValueError as error:
        raise UserError(f"classes = {FROM_FOLDER}: {section.root}: {error}") from None
    return config.model_copy(update={"classes": classes})


def folder_digest(root: str, clips_csv: str | None) -> str:
    """Digest of the names, sizes and times of change of all files below ``root``, also behind
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
