"""What of a finished results folder is published, under which names, with size and digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nano4m_audio.errors import UserError
from nano4m_audio.files import sha256, write_json
from nano4m_audio.lineage import is_outdated
from nano4m_audio.paths import Results

#: Says of every other file how long it is and what its digest is; the last to be uploaded.
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Upload:
    """A file here, and its name there (parts divided by "/")."""

    path: Path
    name: str

    @cached_property
    def size(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        return sha256(self.path)

    @cached_property
    def git_id(self) -> str:
        """What git calls this content."""
        head = f"blob {self.size}\0".encode()
        return hashlib.sha1(head + self.path.read_bytes(), usedforsecurity=False).hexdigest()


def gather(results: Results, staging: Path, frames: bool, sound: bool, clips: bool) -> list[Upload]:
    """The files of a publication, the manifest last.

    The dataset (data/*.parquet and its card, README.md; ``frames`` and ``sound`` as in ``export
    dataset``) and the manifest are written to ``staging``; the pages are where they are. Without
    ``clips`` the page of clips, its pictures and its sounds are left out, and always a page of
    other tables than those of now. Raises UserError for a folder without a finished dataset or a
    report of it.
    """
    from nano4m_audio.dataset.write import export_dataset

    if not results.report.is_file():
        raise UserError(f"{results.report} does not exist: finish the run first")
    if is_outdated(results.report):
        raise UserError(f"{results.report} is not of the tables of now: finish the run first")
    export_dataset(results, "hf", staging / "dataset", frames, sound)
    found = [*_below(staging / "dataset", staging / "dataset"), *_pages(results, clips)]
    found.sort(key=lambda upload: upload.name)
    write_json(staging / MANIFEST, manifest(found))
    return [*found, Upload(staging / MANIFEST, MANIFEST)]


def manifest(files: Sequence[Upload]) -> dict[str, list[dict[str, Any]]]:
    """Name, size in bytes and SHA-256 of every file."""
    rows = [{"path": file.name, "size": file.size, "sha256": file.sha256} for file in files]
    return {"files": rows}


def _pages(results: Results, clips: bool) -> Iterator[Upload]:
    pages = [results.report, results.experiments, *([results.clips_page] if clips else [])]
    pages = [page for page in pages if page.is_file() and not is_outdated(page)]
    yield from (Upload(page, page.name) for page in pages)
    if results.clips_page in pages:
        media = results.clip_media("0000").parent
        yield from _below(media, results.root, suffixes_not=(".json",))


def _below(folder: Path, root: Path, suffixes_not: tuple[str, ...] = ()) -> Iterator[Upload]:
    """Every file below ``folder``, named from ``root`` on; none that begins with a dot."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and path.suffix not in suffixes_not:
            yield Upload(path, "/".join(parts))
