"""Progress of long work: a live bar on a terminal, a line every few seconds in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")
_LOG_EVERY_S = 10.0


def track(items: Iterable[_T], total: int, label: str) -> Iterator[_T]:
    """Yield ``items`` while showing how many of ``total`` are done on stderr."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, label, total, console=Console(stderr=True), transient=True)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last > _LOG_EVERY_S:
            rate = done / (now - started)
            left_s = (total - done) / rate
            print(f"{label}: {done}/{total}, {rate:.1f}/s, {left_s:.0f} s left", file=sys.stderr)
            last = now


def chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield consecutive slices of at most ``size`` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
