"""Retry of failures that may pass: a table that holds one is made again by the next run.

Snakemake takes a table that is there for finished. So the number of the attempt at it is a param of
its rule: one more than that of the last attempt while something in it is worth another try.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nano4m_audio.acquire.media import find_file
from nano4m_audio.config.sources import Files
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_bytes
from nano4m_audio.paths import Results
from nano4m_audio.reasons import PASSING, Reason
from nano4m_audio.tables import read_rows

Stage = Literal["media", "clips"]


def attempt(results: Results, stage: Stage, shard: str, files: Files) -> int:
    """The number of the attempt that the next job at this table makes; 0 is the first."""
    again = _worth_another(results.table(stage, shard), stage, files)
    return last_attempt(results, stage, shard) + again


def last_attempt(results: Results, stage: str, shard: str) -> int:
    """The number of the attempt that was made last."""
    record = _record(results, stage, shard)
    return int(record.read_text()) if record.exists() else 0


def record_attempt(results: Results, stage: str, shard: str, number: int) -> None:
    """Note that this attempt was made."""
    if number:
        write_bytes(_record(results, stage, shard), str(number).encode())


def _record(results: Results, stage: str, shard: str) -> Path:
    return results.store / "attempts" / stage / shard


def _worth_another(table: Path, stage: Stage, files: Files) -> bool:
    """Whether the table has a failure that passes. A file that is still missing is none."""
    if not table.exists():
        return False
    columns = ["reason", "path"] if stage == "media" else ["reason"]
    try:
        rows = read_rows(table, stage, columns)
    except UserError:
        return False  # whoever reads it next says what is wrong with it
    for row in rows:
        if row["reason"] == Reason.MISSING_FILE and stage == "media":
            found = find_file(Path(files.root), row["path"], files.follow_links)
            if found and found.exists():
                return True
        elif row["reason"] in PASSING:
            return True
    return False
