"""Pieces of videos that lie finished in the folder of a source, each with what is known of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json


@dataclass(frozen=True)
class Piece:
    """A file with a segment of a video, and where in it the segment lies.

    ``file_start_s`` and ``file_end_s`` [s] are None where the file is the segment. ``route`` says
    how it was read: "range" or "whole".
    """

    size_bytes: int
    file_start_s: float | None
    file_end_s: float | None
    route: str
    format_id: str
    bytes_read: int


def _note(file: Path) -> Path:
    return file.with_name(file.name + ".json")


def keep(file: Path, piece: Piece) -> None:
    """Note that the piece is finished: from now on it is there."""
    write_json(_note(file), asdict(piece))


def kept(file: Path) -> Piece | None:
    """What is known of a piece that is finished, and as large as it was."""
    try:
        piece = Piece(**json.loads(_note(file).read_bytes()))
        return piece if file.stat().st_size == piece.size_bytes else None
    except (FileNotFoundError, ValueError, TypeError):
        return None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def kept_at(file: Path) -> datetime:
    """When a piece that is finished was."""
    return datetime.fromtimestamp(_note(file).stat().st_mtime, UTC)
