"""What differs between two results folders: artifact by artifact, column by column, row by row.

Example: python benchmarks/compare_results.py before/results results --ignore key clip_key
Prints one line per difference, and ends with status 1 if there is one. The shards of a table are
read as one, rows are matched by clip_id, numbers are equal when they print the same (NaN equals
NaN). The values of a JSON file are columns with dotted names; other files are compared byte by
byte. Store, logs, settings and measured times are left out, and so is the report's page.

--rename OLD=NEW     an artifact that had another name before: scores/prints=scores/fingerprints
--rename IN:OLD=NEW  a column of the artifact IN (its new name), or of all: :voiced=speech
--ignore PATTERN     columns, alone or after their artifact: key 'runs/*:settings.*'
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: Folders and files that say how a run went, not what it found.
LEFT_OUT = {
    *("store", "logs", "benchmarks", "settings", "tensorboard", "samples", ".made_from"),
    *("report.html", "timing.json", "run_start.json"),
}


def artifacts(results: Path) -> dict[str, list[Path]]:
    """The files of each artifact: all shards of a table, or one file. Names have no suffix."""
    found: dict[str, list[Path]] = {}
    for path in sorted(results.rglob("*")):
        place = path.relative_to(results)
        if path.is_dir() or LEFT_OUT & set(place.parts) or path.suffix in (".lock", ".digest"):
            continue
        shard = path.suffix == ".parquet" and path.stem.isdigit()
        table = path.suffix in (".parquet", ".json")
        name = place.parent if shard else place.with_suffix("") if table else place
        found.setdefault(name.as_posix(), []).append(path)
    return found


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The plain values inside a JSON value, with dotted names."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        if isinstance(item, (dict, list)) and item:
            yield from leaves(item, f"{name}{key}.")
        else:
            yield f"{name}{key}", json.dumps(item)


def read(paths: Sequence[Path]) -> pa.Table:
    """An artifact as a table."""
    if paths[0].suffix == ".parquet":
        tables = [pq.read_table(path).replace_schema_metadata(None) for path in paths]
        return pa.concat_tables(tables, promote_options="default").combine_chunks()
    data = paths[0].read_bytes()
    if paths[0].suffix == ".json":
        return pa.table({name: [value] for name, value in leaves(json.loads(data))})
    return pa.table({"bytes": [hashlib.sha256(data).hexdigest()]})


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def differing_rows(before: pa.Table, after: pa.Table) -> Iterator[str]:
    """Lines about the common columns of two tables with the same rows in the same order."""
    names = before["clip_id"].to_pylist() if "clip_id" in before.column_names else None
    for column in before.column_names:
        ours, theirs = before[column], after[column]
        if ours.type != theirs.type:
            yield f"{column}: type {ours.type} became {theirs.type}"
        if ours.equals(theirs):
            continue
        pairs = zip(ours.to_pylist(), theirs.to_pylist(), strict=True)
        rows = [(i, a, b) for i, (a, b) in enumerate(pairs) if repr(a) != repr(b)]
        if rows:
            i, a, b = rows[0]
            where = f"{len(rows)} of {len(before)} rows, first {names[i] if names else i}: "
            yield f"{column}: {where if len(before) > 1 else ''}{shown(a)} became {shown(b)}"


def differences(before: pa.Table, after: pa.Table) -> Iterator[str]:
    """One line for each column, and each set of rows, that differs."""
    old, new = before.column_names, after.column_names
    yield from (f"{name}: column is gone" for name in old if name not in new)
    yield from (f"{name}: column is new" for name in new if name not in old)
    common = [name for name in old if name in new]
    before, after = before.select(common), after.select(common)
    if "clip_id" in common:
        ours, theirs = before["clip_id"].to_pylist(), after["clip_id"].to_pylist()
        gone, added = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
        if gone:
            yield f"{len(gone)} of {len(ours)} rows are gone, first {gone[0]}"
        if added:
            yield f"{len(added)} of {len(theirs)} rows are new, first {added[0]}"
        place = {name: i for i, name in enumerate(theirs)}
        both = [(i, place[name]) for i, name in enumerate(ours) if name in place]
        before, after = before.take([i for i, _ in both]), after.take([i for _, i in both])
    elif len(before) != len(after):
        yield f"{len(before)} rows became {len(after)}"
        return
    yield from differing_rows(before, after)


def renamed(text: str) -> tuple[str | None, str, str]:
    """``OLD=NEW`` or ``IN:OLD=NEW`` as (artifact, old, new); for an artifact itself the first is
    None. Raises ValueError."""
    old, new = text.split("=")
    artifact, colon, column = old.rpartition(":")
    return (artifact, column, new) if colon else (None, old, new)


def compare(
    before: Path,
    after: Path,
    renames: Sequence[tuple[str | None, str, str]] = (),
    ignored: Sequence[str] = (),
) -> Iterator[str]:
    """Lines that say what differs between two results folders."""
    tables = {old: new for artifact, old, new in renames if artifact is None}
    old = {tables.get(name, name): paths for name, paths in artifacts(before).items()}
    new = artifacts(after)
    yield from (f"{name}: only in {before}" for name in sorted(set(old) - set(new)))
    yield from (f"{name}: only in {after}" for name in sorted(set(new) - set(old)))
    for name in sorted(set(old) & set(new)):
        columns = {a: b for artifact, a, b in renames if artifact in ("", name)}
        first, second = read(old[name]), read(new[name])
        first = first.rename_columns([columns.get(c, c) for c in first.column_names])
        lines = differences(_without(first, name, ignored), _without(second, name, ignored))
        yield from (f"{name}: {line}" for line in lines)


def _without(table: pa.Table, artifact: str, ignored: Sequence[str]) -> pa.Table:
    names = {column: (column, f"{artifact}:{column}") for column in table.column_names}
    drop = [c for c in names if any(fnmatch(n, p) for n in names[c] for p in ignored)]
    return table.drop_columns(drop)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rename", type=renamed, nargs="+", default=[], metavar="OLD=NEW")
    parser.add_argument("--ignore", nargs="+", default=[], metavar="PATTERN")
    options = parser.parse_args()
    for folder in (options.before, options.after):
        if not folder.is_dir():
            parser.error(f"{folder} is not a folder of results")
    found = list(compare(options.before, options.after, options.rename, options.ignore))
    print("\n".join(found) or "no difference")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
