"""All candidate clips as one table: where each is from, its scores, and what became of it.

Only columns that are shown are read, and they are joined as columns: a hundred thousand clips take
a second. Whatever stands in an id or a path is text for the reader: control characters are written
out, and what a spreadsheet would run stands behind an apostrophe.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.audit.manifest import FORMULA
from nano4m_audio.config.curate import Verdict
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.filters import CATALOGUE, COLUMNS, FILTERS, Filter
from nano4m_audio.modalities import LABELS
from nano4m_audio.paths import Results
from nano4m_audio.reasons import Reason
from nano4m_audio.tables import read_table

KEPT, REJECTED, COPY = "kept", "rejected", "copy"
#: Short names of the numbers that filters compare -> their columns.
SCORES = {
    c.removesuffix("_score").removesuffix("_dbfs").removesuffix("_fraction"): c for c in COLUMNS
}
_TEXTS = ("clip_id", "class", "source", "file", "state", "reasons", "split", "copy_of", "message")
#: What clips can be sorted by.
SORTS = (*_TEXTS[:-1], *SCORES)
_LABELS = tuple(f"labels/{name}" for name in LABELS)
_WIDEST = {"clip_id": 32, "class": 16, "source": 20, "reasons": 32, "copy_of": 32, "file": 60}


@dataclass(frozen=True)
class Wanted:
    """Which clips are listed, and in which order. Empty: all, in the order of the tables.

    ``near`` names a filter: the clips on both sides of its threshold come, the closest first.
    """

    kept: bool = False
    rejected: bool = False
    reasons: Sequence[str] = ()
    classes: Sequence[str] = ()
    splits: Sequence[str] = ()
    sort: str = ""
    reverse: bool = False
    near: str = ""


def read_clip_list(results: Results) -> pa.Table:
    """One row per candidate: texts, then scores by their short names (null: no model ran).

    What has not run yet is left empty: without the split no copies are known, and without labels
    and tokens nothing that failed there. Raises UserError where verdicts are missing.
    """
    parts = [_read_shard(results, shard) for shard in results.shards]
    table = pa.concat_tables(parts)
    split, copy_of = _of_split(results, table["clip_id"])
    accepted, late = table["accepted"], _late(results)
    reasons = table["reasons"].to_pylist()
    messages = table["message"].to_pylist()
    states = []
    rows = zip(table["clip_id"].to_pylist(), accepted.to_pylist(), copy_of.to_pylist(), strict=True)
    for place, (clip_id, passed, original) in enumerate(rows):
        state = KEPT if passed else REJECTED
        if passed and original:
            state, reasons[place] = COPY, str(Reason.DUPLICATE)
        elif passed and clip_id in late:
            state, (reasons[place], messages[place]) = REJECTED, late[clip_id]
        states.append(state)
    texts = {
        **{name: table[name] for name in ("clip_id", "class", "source", "file")},
        "state": pa.array(states, pa.string()),
        "reasons": pa.array(reasons, pa.string()),
        "split": split,
        "copy_of": copy_of,
        "message": pa.array(messages, pa.string()),
    }
    return pa.table({**texts, **{short: table[column] for short, column in SCORES.items()}})


def _read_shard(results: Results, shard: str) -> pa.Table:
    columns = ["clip_id", "class_name", "sources", "path", "url"]
    found = read_table(results.table("candidates", shard), "candidates", columns)
    names = ["clip_id", "accepted", "reasons", "message", *COLUMNS]
    verdicts = read_table(results.table("verdicts", shard), "verdicts", names)
    places = pc.index_in(found["clip_id"], verdicts["clip_id"].combine_chunks())
    if places.null_count:
        clip_id = found["clip_id"].filter(pc.is_null(places))[0].as_py()
        raise UserError(f"verdicts: there is no row for clip {clip_id!r}: run that stage again")
    verdicts = verdicts.take(places)
    columns_of = {
        "clip_id": found["clip_id"],
        "class": found["class_name"],
        "source": pc.binary_join(found["sources"], "+"),
        "file": pc.if_else(pc.equal(found["path"], ""), found["url"], found["path"]),
        "accepted": verdicts["accepted"],
        "reasons": pc.binary_join(verdicts["reasons"], "+"),
        "message": verdicts["message"],
    }
    return pa.table({**columns_of, **{name: verdicts[name] for name in COLUMNS}})


def _of_split(results: Results, ids: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Split and original of every clip, empty where there is none."""
    names = ("split", "duplicate_of")
    if not results.split.exists():
        empty = pa.chunked_array([pa.array([""] * len(ids), pa.string())])
        return empty, empty
    table = read_table(results.split, "split", ["clip_id", *names])
    places = pc.index_in(ids, table["clip_id"].combine_chunks())
    split, original = (pc.fill_null(table[name].take(places), "") for name in names)
    return split, original


def _late(results: Results) -> dict[str, tuple[str, str]]:
    """Reason and message of the clips that failed after the split, by the first stage that did."""
    failed: dict[str, tuple[str, str]] = {}
    columns = ["clip_id", "status", "reason", "message"]
    for name in (*_LABELS, *results.token_tables):
        for path in results.tables(name):
            if not path.exists():
                continue
            table = read_table(path, name, columns)
            for row in table.filter(pc.not_equal(table["status"], "ok")).to_pylist():
                failed.setdefault(row["clip_id"], (row["reason"], row["message"]))
    return failed


def select(table: pa.Table, wanted: Wanted, limits: Verdict) -> pa.Table:
    """The clips that are wanted, in order. Raises UserError for a word that is not known."""
    known = sorted(set(table["class"].to_pylist()))
    _check("class", wanted.classes, known)
    _check("reason", wanted.reasons, CATALOGUE)
    _check("split", wanted.splits, ("train", "val", "test"))
    masks = []
    if wanted.kept != wanted.rejected:
        is_kept = pc.equal(table["state"], KEPT)
        masks.append(is_kept if wanted.kept else pc.invert(is_kept))
    if wanted.reasons:
        marked = pc.binary_join_element_wise("", table["reasons"], "", "+")
        has = [pc.match_substring(marked, f"+{reason}+") for reason in wanted.reasons]
        masks.append(_any(has))
    for column, words in (("class", wanted.classes), ("split", wanted.splits)):
        if words:
            masks.append(pc.is_in(table[column], pa.array(list(words), pa.string())))
    for mask in _together(masks):
        table = table.filter(mask)
    if wanted.near:
        table = _near(table, wanted.near, limits)
    if wanted.sort:
        _check("--sort", [wanted.sort], SORTS)
        order = pc.sort_indices(table, sort_keys=[(wanted.sort, "ascending")])
        table = table.take(order)
    return table.take(pa.array(range(len(table) - 1, -1, -1))) if wanted.reverse else table


def _any(masks: Sequence[Any]) -> Any:
    first, *others = masks
    for mask in others:
        first = pc.or_(first, mask)
    return first


def _together(masks: Sequence[Any]) -> Iterator[Any]:
    """One mask of all, or none."""
    if masks:
        first, *others = masks
        for mask in others:
            first = pc.and_(first, mask)
        yield first


def _check(what: str, words: Iterable[str], known: Iterable[str]) -> None:
    names = list(known)
    for word in words:
        if word not in names:
            hint = did_you_mean(word, names) or f"; known: {', '.join(names)[:300]}"
            raise UserError(f"{what}: there is no {word!r}{hint}")


def _near(table: pa.Table, name: str, limits: Verdict) -> pa.Table:
    """The clips with a number for this filter, by their distance from the threshold of their
    class."""
    row = _filter(name)
    short = next(s for s, column in SCORES.items() if column == row.column)
    classes = table["class"].to_pylist()
    of_class = {name: limits.threshold(row, name) for name in set(classes)}
    if all(limit is None for limit in of_class.values()):
        raise UserError(f"--near: verdict.{row.key} is null, so that nothing is near it")
    threshold = pa.array([of_class[name] for name in classes], pa.float64())
    distance = pc.subtract(table[short].cast(pa.float64()), threshold)
    table = table.append_column(f"over {row.key}", distance)
    table = table.filter(pc.is_valid(distance))
    size = pc.abs(table[f"over {row.key}"])
    return table.take(pc.sort_indices(size))


def _filter(name: str) -> Filter:
    """A filter by its threshold, its reason, or its number, long or short."""
    names: dict[str, Filter] = {}
    for row in FILTERS:
        short = next(s for s, column in SCORES.items() if column == row.column)
        for word in (row.key, row.reason, row.column, short):
            names.setdefault(word, row)
    _check("--near", [name], [row.key for row in FILTERS] if name not in names else names)
    return names[name]


def harmless(value: Any) -> str:
    """Text without anything that a terminal would obey or that would hide or reorder letters."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def write_csv(table: pa.Table, out: TextIO) -> None:
    """Write all columns as CSV; nothing in it is a formula to a spreadsheet."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    for batch in table.to_batches(4096):
        columns = [_cells(column) for column in batch.columns]
        writer.writerows(zip(*columns, strict=True))


def _cells(column: pa.Array) -> list[Any]:
    if pa.types.is_floating(column.type):
        return ["" if v is None else f"{v:.6g}" for v in column.to_pylist()]
    texts = [harmless(value) for value in column.to_pylist()]
    return [f"'{text}" if text.startswith(FORMULA) else text for text in texts]


def lines(table: pa.Table, width: int) -> Iterator[str]:
    """The rows aligned for a terminal of so many columns, without messages and empty columns."""
    from rich.cells import cell_len, set_cell_size

    names = [name for name in table.column_names if name != "message" and _has_any(table[name])]
    names.sort(key=lambda name: name == "file")  # the longest comes last
    cells: Mapping[str, list[str]] = {name: _short_cells(name, table[name]) for name in names}
    widths = {
        name: min(_WIDEST.get(name, 40), max(map(cell_len, [name, *cells[name]]))) for name in names
    }
    heads = [name.replace("_", " ") for name in names]
    for row in [heads, *zip(*cells.values(), strict=True)]:
        shown = [
            text if len(text) == widths[name] and text.isascii() else
            _fitted(text, widths[name], cell_len, set_cell_size)
            for name, text in zip(names, row, strict=True)
        ]  # fmt: skip
        line = "  ".join(shown).rstrip()
        yield line if cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"


def _fitted(text: str, width: int, cell_len: Any, set_cell_size: Any) -> str:
    if cell_len(text) > width:
        return str(set_cell_size(text, width - 1)) + "…"
    return text + " " * (width - cell_len(text))


def _has_any(column: pa.ChunkedArray) -> bool:
    if pa.types.is_floating(column.type):
        return column.null_count < len(column)
    return bool(pc.any(pc.not_equal(column, "")).as_py())


def _short_cells(name: str, column: pa.ChunkedArray) -> list[str]:
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        return ["" if v is None else f"{v:.3f}" for v in values]
    return [harmless(value) for value in values]
