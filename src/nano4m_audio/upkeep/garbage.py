"""Remove from the store what nothing names any more: old rows, trainings, packed tokens, leftovers.

It needs the folder for itself. A workflow holds the lock of the store while it runs (``in_use``),
and a stage that is run by hand that of its shard. Nothing is removed before what replaces it is
there: a part with rows that stay is written anew first, a folder is renamed before it is emptied,
so that a kill at any moment leaves a store that reads.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nano4m_audio.checked import DamagedError
from nano4m_audio.errors import UserError
from nano4m_audio.files import user_errors
from nano4m_audio.locks import try_locked
from nano4m_audio.parts import keep_rows
from nano4m_audio.paths import Results
from nano4m_audio.shards import count_shards
from nano4m_audio.tables import read_any
from nano4m_audio.upkeep.names import FOLDERS, ROWS, Named, find_named
from nano4m_audio.upkeep.survey import REMOVED, Entry, Rows, Survey, shard_folders, size_of, survey

PIECES = "web pieces"


@dataclass(frozen=True)
class Freed:
    """What of one kind is, or was, removed. ``count`` are rows for an artifact, else files or
    folders."""

    kind: str
    count: int
    size_bytes: int


@dataclass(frozen=True)
class Options:
    """``unfinished``: also trainings that could go on. ``pieces``: also fetched films that no
    candidate of now is cut from."""

    unfinished: bool = False
    pieces: bool = False


def collect(
    results: Results, delete: bool, options: Options = Options()
) -> tuple[list[Freed], Survey]:
    """Find what is not named and, with ``delete``, remove it.

    Returns what of every kind that is, and all that was found. Raises UserError while anything is
    at work in the folder, and for a folder without tables.
    """
    if not delete:
        found = _look(results, find_named(results), options)
        return _sum(found, options), found
    count_shards(results.root)  # before anything is locked, which makes folders
    with _alone(results):
        found = _look(results, find_named(results), options)
        freed = _sum(found, options)
        for rows in found.rows:
            if rows.unnamed:
                with user_errors(rows.path):
                    _shrink(rows)
        for entry in found.entries:
            if _goes(entry, options):
                for path in entry.paths:
                    with user_errors(path):
                        _remove(path)
    return freed, found


def _look(results: Results, named: Named, options: Options) -> Survey:
    found = survey(results, named)
    if options.pieces:
        found.entries += _unclaimed_pieces(results)
    waiting = [entry for entry in found.entries if entry.waiting]
    if waiting and not options.unfinished:
        size = sum(entry.size_bytes for entry in waiting) / 1e6
        found.notes.append(
            f"{len(waiting)} unfinished training(s), {size:,.1f} MB, could go on and are kept: "
            "--unfinished counts them too"
        )
    return found


def _goes(entry: Entry, options: Options) -> bool:
    return not entry.named and (options.unfinished or not entry.waiting)


def _sum(found: Survey, options: Options) -> list[Freed]:
    totals: dict[str, list[int]] = {}
    for rows in found.rows:
        if rows.unnamed:
            total = totals.setdefault(rows.kind, [0, 0])
            total[0] += rows.unnamed
            total[1] += rows.unnamed_bytes
    for entry in found.entries:
        if _goes(entry, options):
            total = totals.setdefault(entry.kind, [0, 0])
            total[0] += 1
            total[1] += entry.size_bytes
    return [Freed(kind, *total) for kind, total in totals.items()]


def _shrink(rows: Rows) -> None:
    try:
        keep_rows(rows.path.parent, rows.part, rows.kept)
    except FileNotFoundError:
        return
    except DamagedError as error:
        print(f"warning: {error}: it is left as it is", file=sys.stderr)


def _remove(path: Path) -> None:
    """A file, or a folder, which nobody takes for whole from the first moment on."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    gone = path
    if not path.name.startswith(REMOVED):
        gone = path.with_name(f"{REMOVED}{path.name}")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(path, gone)
    shutil.rmtree(gone)


@contextmanager
def _alone(results: Results) -> Iterator[None]:
    """Hold every lock that a run, or a stage that is run by hand, would hold."""
    check_idle(results)
    with user_errors(results.store):
        results.store.mkdir(exist_ok=True)
    folders = [results.store]
    folders += [folder for name in ROWS for folder in shard_folders(results, name)]
    for name in FOLDERS:
        folders += [
            path for path in sorted((results.store / name).glob("*/"))
            if (path / ".lock").exists() and not path.name.startswith(REMOVED)
        ]  # fmt: skip
    with ExitStack() as stack:
        for folder in folders:
            if not stack.enter_context(try_locked(folder)):
                raise UserError(
                    f"{folder} is in use by a run, or cannot be written: nothing was removed; "
                    "do it again when the run is over"
                )
        yield


def check_idle(results: Results) -> None:
    """Raise UserError while Snakemake says that a run is at work on the folder."""
    locks = results.root.resolve().parent / ".snakemake" / "locks"
    if any(locks.glob("*")):
        raise UserError(
            f"a run is at work here ({locks}): wait for its end; if it was killed, "
            "`snakemake --unlock` says so"
        )


def _unclaimed_pieces(results: Results) -> Sequence[Entry]:
    """Fetched films, each with its note, that no candidate is cut from."""
    root = results.root / "web" / "pieces"
    claimed: set[Path] = set()
    for table in results.tables("candidates"):
        claimed.update(root / path for path in read_any(table, ["path"])["path"].to_pylist())
    films = sorted(
        path for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path not in claimed
        and not (path.suffix == ".json" and path.with_suffix("").exists())
    )  # fmt: skip
    return [
        Entry(PIECES, (note, film) if note.exists() else (film,), size_of([film, note]), False)
        for film in films
        for note in [film.with_name(f"{film.name}.json")]
    ]
