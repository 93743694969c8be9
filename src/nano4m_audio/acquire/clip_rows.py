"""Rows of the clips table: each file is decoded in a child process, and every failure is a row."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.child import Child, Died, Limits
from nano4m_audio.acquire.source import MediaError, clean_message
from nano4m_audio.reasons import PASSING, Reason


def decode_row(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Decode one file with ``decode_clip``; a file that cannot be used is a row with its reason.

    Raises MemoryError where memory, not the file, is at fault.
    """
    from nano4m_audio.acquire.decode import decode_clip  # for the child alone

    try:
        clip = decode_clip(path, **options)
    except MediaError as error:
        if error.reason == Reason.OUT_OF_MEMORY:
            raise MemoryError from error
        return failed_row(error.reason, str(error))
    columns = asdict(clip)
    columns["frame_times_s"] = list(columns["frame_times_s"])
    columns["n_frames"] = len(columns["frames"])
    return {"status": "ok", "reason": "", "message": "", **columns}


def failed_row(reason: Reason, message: str) -> dict[str, Any]:
    """The row of a failure; one that passes is marked as ``transient``, so that no one keeps it."""
    row = {"status": "failed", "reason": str(reason), "message": clean_message(message)}
    return {**row, "transient": True} if reason in PASSING else row


def decode_rows(
    files: Sequence[Mapping[str, Any]], options: Mapping[str, Any], limits: Limits
) -> Iterator[dict[str, Any]]:
    """Yield the row of each file, in order, decoded within limits.

    Files are given by ``file`` (where it lies), ``path`` (its name for messages), ``sha256`` and,
    for a part of one, ``region`` and ``window`` (see ``decode_clip``).
    """
    with Child(decode_row, limits) as decode:
        for file in files:
            part = {name: file[name] for name in ("region", "window") if file.get(name)}
            wanted = {**options, "sha256": file["sha256"], **part}
            try:
                yield decode(file["file"], wanted)
            except Died as death:
                message = f"{file['path']}: {death.message}"
                print(f"warning: {message}", file=sys.stderr)
                yield failed_row(death.reason, message)
