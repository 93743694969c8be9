"""How many shards a results folder has: recorded where they are made, read everywhere else."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from nano4m_audio import lineage
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json
from nano4m_audio.paths import Results, shard_names
from nano4m_audio.tables import SCHEMAS

RECORD = "shards.json"
_SHARD_NAME = re.compile(r"\d{4}")
_SHARDED = tuple(name for name in SCHEMAS if name != "split")


def set_shards(results: Path, n_shards: int) -> None:
    """Record the number of shards, and remove what a larger number left of every stage: tables, and
    what they cost.

    Nothing is lost but these: finished rows are found in the store whatever their shard.
    """
    names = set(shard_names(n_shards))
    every = (path for name in _SHARDED for path in _present(results / name))
    left = [path for path in every if path.stem not in names]
    for path in left:
        path.unlink()
        (path.parent / lineage.RECORDS / f"{path.name}.json").unlink(missing_ok=True)
    for path in (results / "benchmarks").glob("*/*.tsv"):
        if _SHARD_NAME.fullmatch(path.stem) and path.stem not in names:
            path.unlink()
    if left:
        what = f"{len(left)} table{'s' * (len(left) > 1)} of shards beyond the {n_shards} of now"
        print(f"removed {what}; their rows are still in the store", file=sys.stderr)
    write_json(results / RECORD, {"n_shards": n_shards})


def drop_others(results: Results) -> None:
    """Remove the token tables of modalities that ``results`` is not planned to have: an earlier run
    left them. Their rows stay in the store."""
    for name in (n for n in SCHEMAS if n.startswith("tokens/") and n not in results.token_tables):
        for path in _present(results / name):
            path.unlink()
            (path.parent / lineage.RECORDS / f"{path.name}.json").unlink(missing_ok=True)


def count_shards(results: Path) -> int:
    """The number of shards of ``results``. Raises UserError where there is none, or where nothing
    is recorded and tables are missing in between."""
    known = _recorded(results) or _counted(results)
    if known is None:
        raise UserError(
            f"{results}: there are no tables yet: run the stage `candidates` (or `import tokens`) "
            "first, or name another results folder"
        )
    return known


def _recorded(results: Path) -> int | None:
    path = results / RECORD
    try:
        number = json.loads(path.read_text("utf-8"))["n_shards"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        number = None
    if not isinstance(number, int) or number < 1:
        raise UserError(f"{path} does not say how many shards there are: list the candidates again")
    return number


def _counted(results: Path) -> int | None:
    """The number of shards of a folder without a record, from the tables that are there."""
    for name in ("candidates", *(n for n in _SHARDED if n.startswith("tokens/"))):
        names = sorted(path.stem for path in _present(results / name))
        if names:
            if names != shard_names(len(names)):
                missing = sorted(set(shard_names(int(names[-1]) + 1)) - set(names))
                raise UserError(f"{results / name}: shard {missing[0]} is missing: run it first")
            return len(names)
    return None


def _present(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.parquet") if _SHARD_NAME.fullmatch(path.stem)]
