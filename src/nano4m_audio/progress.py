"""Progress of long work: a live bar on a terminal, a line every few seconds in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")
_LOG_EVERY_S = 10.0
#: Which part of how many this process is at.
_part: tuple[int, int] = (1, 1)


def parts(items: Sequence[_T]) -> Iterator[_T]:
    """Yield parts of a work that take about as long; lines of ``track`` say meanwhile which of how
    many it is."""
    global _part
    for number, item in enumerate(items, start=1):
        _part = (number, len(items))
        yield item
    _part = (1, 1)


def track(
    items: Iterable[_T], total: int, label: str, status: Callable[[], str] = lambda: ""
) -> Iterator[_T]:
    """Yield ``items`` while showing on stderr how many of ``total`` are done, and ``status()``."""
    shown = _bar if sys.stderr.isatty() else _lines
    yield from shown(items, total, label, status)


def _bar(items: Iterable[_T], total: int, label: str, status: Callable[[], str]) -> Iterator[_T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, "{task.fields[status]}", console=console, transient=True) as bar:
        task = bar.add_task(label, total=total, status="")
        for item in items:
            yield item
            bar.update(task, advance=1, status=status())


def _lines(items: Iterable[_T], total: int, label: str, status: Callable[[], str]) -> Iterator[_T]:
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last > _LOG_EVERY_S:
            rate = done / (now - started)
            said = [
                f"{done}/{total}",
                f"{rate:.1f}/s",
                f"{max(0, total - done) / rate:.0f} s left",
                f"part {_part[0]} of {_part[1]}" if _part[1] > 1 else "",
                status(),
            ]
            print(f"{label}: {', '.join(filter(None, said))}", file=sys.stderr)
            last = now


def chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield consecutive slices of at most ``size`` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
