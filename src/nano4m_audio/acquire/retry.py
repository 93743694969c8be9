"""Retry of failures that may pass: a table that holds one is made again by the next run.

Snakemake takes a table that is there for finished. So the number of the attempt at it is a param of
its rule: one more than that of the last attempt while something in it is worth another try.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nano4m_audio.acquire.media import find_file
from nano4m_audio.config.schema import Folder
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_bytes
from nano4m_audio.reasons import PASSING, Reason
from nano4m_audio.tables import read_rows

Stage = Literal["media", "clips"]


def attempt(results: Path, stage: Stage, shard: str, folder: Folder) -> int:
    """The number of the attempt that the next job at this table makes; 0 is the first."""
    record = _record(results / "store", stage, shard)
    last = int(record.read_text()) if record.exists() else 0
    return last + _worth_another(results / stage / f"{shard}.parquet", stage, folder)


def record_attempt(store: Path, stage: Stage, shard: str, number: int) -> None:
    """Note that this attempt was made."""
    if number:
        write_bytes(_record(store, stage, shard), str(number).encode())


def _record(store: Path, stage: Stage, shard: str) -> Path:
    return store / "attempts" / stage / shard


def _worth_another(table: Path, stage: Stage, folder: Folder) -> bool:
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
            found = find_file(Path(folder.root), row["path"], folder.follow_links)
            if found and found.exists():
                return True
        elif row["reason"] in PASSING:
            return True
    return False
