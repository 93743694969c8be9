"""The audit of a manifest: every check, as plain values and as tables on the terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nano4m_audio.audit import checks
from nano4m_audio.audit.lists import Index
from nano4m_audio.audit.manifest import Manifest
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.filters import FILTERS

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = 5
_CELL = 60


def audit(
    manifest: Manifest,
    splits: Sequence[Manifest] = (),
    index: Index | None = None,
    limits: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """All that can be checked, as JSON values: counts by class and source, and ``checks`` with what
    each looked at, how many it found and which. ``limits`` go before the manifest's own thresholds,
    and these before the defaults."""
    used = {row.key: row.default for row in FILTERS}
    used |= {key: v for key, v in manifest.thresholds.items() if key in used}
    used |= dict(limits or {})
    own = {
        name: kept
        for name, told in manifest.per_class.items()
        if (kept := {k: v for k, v in told.items() if k in used and k not in (limits or {})})
    }
    together = splits_together(splits) if splits else manifest
    found = [
        *checks.thresholds(manifest, used, own),
        *checks.repeats(manifest),
        *checks.overlaps(manifest),
        *checks.leaks(together),
        *(checks.membership(manifest, splits) if splits else []),
        *checks.sources(manifest, index or {}),
    ]
    pairs = Counter((r.class_name, "+".join(r.sources)) for r in manifest.rows)
    return {
        "manifest": manifest.name,
        "rows": len(manifest.rows),
        "videos": len(checks.by_video(manifest.rows)),
        "columns": manifest.columns,
        "ignored": manifest.ignored,
        "notes": [*manifest.notes, *(f"{s.name}: {note}" for s in splits for note in s.notes)],
        "splits": {s.name: dict(Counter(r.split for r in s.rows)) for s in splits or [manifest]},
        "counts": [
            {"class": name, "source": source, "rows": n}
            for (name, source), n in sorted(pairs.items())
        ],
        "thresholds": used,
        "per_class": own,
        "checks": [asdict(check) for check in found],
    }


def splits_together(splits: Sequence[Manifest]) -> Manifest:
    """The rows of several split files as those of one."""
    rows = [row for split in splits for row in split.rows]
    columns = {role: name for split in splits for role, name in split.columns.items()}
    return Manifest(", ".join(split.name for split in splits), rows, columns)


def read_limits(texts: Sequence[str]) -> dict[str, float | None]:
    """Thresholds from ``audio_min=0.3``, several of them with commas between; null is off."""
    known = {row.key for row in FILTERS}
    limits: dict[str, float | None] = {}
    for text in (part for item in texts for part in item.split(",") if part.strip()):
        key, _, value = (part.strip() for part in text.partition("="))
        if key not in known:
            raise UserError(f"--thresholds: there is no {key!r}{did_you_mean(key, known)}")
        try:
            limits[key] = None if value in ("null", "none") else float(value)
        except ValueError:
            raise UserError(f"--thresholds {key}: {value!r} is no number") from None
    return limits


def found_any(result: Mapping[str, Any]) -> bool:
    return any(check["found"] and check["fault"] for check in result["checks"])


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the audit: what was read, rows by class and source, every check and what it names."""
    from rich.table import Table

    console.print(
        f"{clean(result['manifest'])}: {result['rows']:,} rows, {result['videos']:,} videos",
        style="bold",
        markup=False,
    )
    used = ", ".join(f"{role} = {clean(c)}" for role, c in result["columns"].items())
    console.print(f"columns: {used}", markup=False)
    if result["ignored"]:
        console.print(f"ignored: {', '.join(map(clean, result['ignored']))}", markup=False)
    for note in result["notes"]:
        console.print(f"note: {clean(note, 200)}", markup=False)
    counts = Table("class", "source", "rows", title="Rows")
    for row in result["counts"]:
        cells = row["class"] or "(not told)", row["source"] or "(not told)"
        counts.add_row(*(escaped(cell) for cell in cells), f"{row['rows']:,}")
    console.print(counts)
    table = Table("check", "looked at", "found", "what", title="Checks")
    for check in result["checks"]:
        table.add_row(*_check_cells(check))
    console.print(table)


def _check_cells(check: Mapping[str, Any]) -> tuple[str, ...]:
    if check["not_checked"]:
        return check["title"], "-", "-", f"not checked: {check['not_checked']}"
    text = escaped(check["text"], 300)
    names = [_named(item) for item in check["items"][:_SHOWN]]
    more = " ..." if len(check["items"]) > _SHOWN else ""
    what = f"{text}: {', '.join(names)}{more}" if names else text
    mark = f"[red]{check['found']:,}[/]" if check["found"] else "[green]0[/]"
    return check["title"], f"{check['checked']:,}", mark, what


def _named(item: Mapping[str, Any]) -> str:
    values = item.get("clips") or [item.get("clip") or item.get("video") or item.get("group") or ""]
    return " & ".join(escaped(value) for value in values)


def clean(text: Any, length: int = _CELL) -> str:
    """Text of unknown origin on one line: no control characters, not too long."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "?", str(text))
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def escaped(text: Any, length: int = _CELL) -> str:
    """``clean`` text that rich shows as it is."""
    from rich.markup import escape

    return escape(clean(text, length))
