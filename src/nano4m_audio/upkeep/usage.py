"""What a results folder takes on the disk, by what it is for."""

from __future__ import annotations

from dataclasses import dataclass

from nano4m_audio.paths import Results
from nano4m_audio.tables import SCHEMAS
from nano4m_audio.upkeep.names import find_named
from nano4m_audio.upkeep.survey import size_of, survey

_TABLES = {name.partition("/")[0] for name in SCHEMAS} | {"split.parquet", ".made_from"}


@dataclass
class Use:
    """Bytes of one kind, those of them that nothing names, and rows where there are some."""

    what: str
    size_bytes: int = 0
    unnamed_bytes: int = 0
    rows: int = 0
    unnamed_rows: int = 0


def usage(results: Results) -> tuple[list[Use], list[str]]:
    """Every kind, the largest first, and notes on what was not looked into.

    Raises UserError for a folder without tables.
    """
    found = survey(results, find_named(results))
    uses: dict[str, Use] = {}

    def at(what: str) -> Use:
        return uses.setdefault(what, Use(what))

    for rows in found.rows:
        use = at(f"store/{rows.kind}")
        use.size_bytes += rows.part.size_bytes
        use.rows += rows.part.n_rows
        use.unnamed_rows += rows.unnamed
        use.unnamed_bytes += rows.unnamed_bytes
    for entry in found.entries:
        use = at(f"store/{entry.kind}")
        use.size_bytes += entry.size_bytes
        use.unnamed_bytes += 0 if entry.named else entry.size_bytes
    for path in sorted(results.root.iterdir()):
        if path == results.store:
            rest = size_of([path]) - sum(use.size_bytes for use in uses.values())
            at("store/other").size_bytes += max(0, rest)
        else:
            at("tables" if path.name in _TABLES else path.name).size_bytes += size_of([path])
    ordered = sorted(uses.values(), key=lambda use: (-use.size_bytes, use.what))
    return ordered, found.notes
