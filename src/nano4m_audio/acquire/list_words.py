"""What was found in lists of segments, in lines for the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LINES_SHOWN = 5
_FAULTS_SHOWN = 3


def list_lines(
    lists: Sequence[Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]],
    conflicts: Sequence[Mapping[str, Any]],
) -> list[str]:
    """One line for every list, and what the lists say together."""
    lines = [list_line(entry) for entry in lists]
    if len(sources) > 1:
        counts = ", ".join(f"{entry['clips']:,} by {entry['sources']}" for entry in sources)
        lines.append(f"clips are listed {counts}")
    if conflicts:
        named = ", ".join(f"{' and '.join(c['classes'])} ({c['rows']:,})" for c in conflicts[:5])
        lines.append(f"left out, as their moments are listed under several classes: {named}")
    return lines


def list_line(entry: Mapping[str, Any]) -> str:
    """What became of the rows of a list, and where its bad ones are."""
    counts = {
        "clips": entry["clips"],
        "joined to clips of other rows": entry["joined"],
        "in conflict": entry["conflicts"],
        "of other classes": entry["others"],
        "bad": entry["bad"],
    }
    said = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
    faults = [
        f"{fault['why']}: {fault_lines(fault, _LINES_SHOWN)}, such as {fault['example']}"
        for fault in sorted(entry["faults"], key=lambda fault: -fault["rows"])[:_FAULTS_SHOWN]
    ]
    more = f" ({'; '.join(faults)})" if faults else ""
    return f"{shown_path(entry['list'])}: {entry['rows']:,} rows{': ' if said else ''}{said}{more}"


def fault_lines(fault: Mapping[str, Any], most: int) -> str:
    """The numbers of the first lines with a fault: ``lines 3, 17 and 40 more``."""
    numbers = fault["lines"][:most]
    left = fault["rows"] - len(numbers)
    named = ", ".join(map(str, numbers))
    return f"line{'s' if fault['rows'] > 1 else ''} {named}{f' and {left:,} more' if left else ''}"


def shown_path(path: str) -> str:
    """A path that stays on its line."""
    return path if path.isprintable() else repr(path)
