"""What lies in the store, how large it is, and which of it is named (names.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nano4m_audio.checked import DamagedError
from nano4m_audio.errors import UserError
from nano4m_audio.files import leftovers
from nano4m_audio.parts import Part
from nano4m_audio.paths import Results
from nano4m_audio.reasons import LIMITS
from nano4m_audio.upkeep.names import FILES, FOLDERS, ROWS, TOKENIZERS, TRAIN, Named

#: The file whose seal says that a folder of the store is finished, for those that go on otherwise.
_FINISHED = {TRAIN: "run.json.sha256", TOKENIZERS: "run.json.sha256"}
#: Small records, never removed.
_RECORDS = ("attempts", "hashes", "report")


@dataclass(frozen=True)
class Rows:
    """A part file of an artifact; ``kept`` are the keys of the rows that stay."""

    kind: str
    part: Part
    kept: frozenset[str]

    @property
    def path(self) -> Path:
        return self.part.path

    @property
    def unnamed(self) -> int:
        """Rows that nothing names."""
        return sum(key not in self.kept for keys in self.part.keys for key in keys)

    @property
    def unnamed_bytes(self) -> int:
        """About what they take: rows of one part are of one size."""
        return self.part.size_bytes * self.unnamed // max(1, self.part.n_rows)


@dataclass(frozen=True)
class Entry:
    """Files of the store that belong to one key, or a file that is left over. ``waiting``: a
    training that nothing names and that could go on."""

    kind: str
    paths: tuple[Path, ...]
    size_bytes: int
    named: bool
    waiting: bool = False


@dataclass
class Survey:
    """Everything that was found; ``notes`` say what was not looked into, and why."""

    rows: list[Rows] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def survey(results: Results, named: Named) -> Survey:
    """Look at the whole store. Reads footers of part files, not rows."""
    found = Survey([], [], [])
    for name, why in sorted(named.unknown.items()):
        found.notes.append(f"all of {name} counts as needed: {why}")
    for name in ROWS:
        found.rows += survey_rows(results, name, named.keys.get(name), found.notes.append)
    for name in (*FOLDERS, *FILES):
        found.entries += survey_files(results, name, named.keys.get(name))
    found.entries += left_behind(results)
    known = {*FOLDERS, *FILES, *_RECORDS, *(name.partition("/")[0] for name in ROWS)}
    for folder in sorted(results.store.glob("*/")):
        if folder.name not in known:
            found.notes.append(f"{folder} is not known here: it is left alone")
    return found


def shard_folders(results: Results, name: str) -> list[Path]:
    """The folders of an artifact in the store, of whatever number of shards."""
    return sorted(path for path in (results.store / name).glob("*/") if path.name.isdecimal())


def survey_rows(
    results: Results, name: str, keys: frozenset[str] | None, note: Callable[[str], None]
) -> Iterator[Rows]:
    """The parts of an artifact; without known ``keys`` all of their rows count as named."""
    for folder in shard_folders(results, name):
        for path in sorted(folder.glob("*.parquet")):
            try:
                part = Part.open(path)
                every = {key for group in part.keys for key in group}
                kept = every if keys is None else every & keys | set(_refusals(part, keys))
            except FileNotFoundError:  # merged meanwhile
                continue
            except DamagedError as error:
                note(f"{error}: it is left to the next run, which sets it aside")
                continue
            except OSError as error:
                raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
            yield Rows(name, part, frozenset(kept))


def _refusals(part: Part, keys: Container[str]) -> Iterator[str]:
    """Rows that no table names, and that save a run from what it was refused once: decoding a file
    that takes more memory or time than is allowed."""
    if part.schema.get_field_index("reason") < 0:
        return
    groups = [i for i, held in enumerate(part.keys) if any(key not in keys for key in held)]
    for table in part.read(groups, ["reason"]):
        for key, reason in zip(*(table[c].to_pylist() for c in ("key", "reason")), strict=True):
            if reason in LIMITS:
                yield key


def survey_files(results: Results, name: str, keys: frozenset[str] | None) -> Iterator[Entry]:
    """What the store holds by key that are no rows."""
    root = results.store / name
    if name in FOLDERS:
        groups: dict[Path, list[Path]] = {path: [path] for path in root.glob("*/")}
    else:
        groups = {}
        for path in root.rglob("*"):
            if path.is_file() and path.name[0] != "." and path.suffix != ".damaged":
                groups.setdefault(path.parent / path.name.split(".")[0], []).append(path)
    for key, paths in sorted(groups.items()):
        gone = key.name.startswith(REMOVED)
        named = not gone and (keys is None or key.name in keys)
        finished = name not in _FINISHED or (key / _FINISHED[name]).exists()
        yield Entry(
            name, tuple(sorted(paths)), size_of(paths), named, not (named or finished or gone)
        )


#: How folders are called while they are removed.
REMOVED = ".removed-"


def left_behind(results: Results) -> Iterator[Entry]:
    """Temp files whose writer is dead, and damaged files that were set aside."""
    for folder, _, names in os.walk(results.root):
        here = Path(folder)
        found = set(leftovers(here)) if any(".tmp." in name for name in names) else set()
        if here.is_relative_to(results.store):
            found |= {here / name for name in names if name.endswith(".damaged")}
            if "new" in names and here.name.isdecimal():  # a part between its end and its name
                found.add(here / "new")
        for path in sorted(found):
            kind = "damaged" if path.suffix == ".damaged" else "temporary"
            yield Entry(kind, (path,), size_of([path]), named=False)


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of files, and of all files in folders; links count as nothing."""
    total = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            total += size_of(Path(entry) for entry in os.scandir(path))
        else:
            try:
                total += path.lstat().st_size
            except FileNotFoundError:
                continue
    return total
