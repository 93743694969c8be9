"""The proof of a dataset: what its tables claim together, put to every row. A claim that does not
hold stops the run in one line.

Thresholds are put to the numbers of the score tables, not to what verdicts say of themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.audit.checks import crossing
from nano4m_audio.config.curate import ProofSettings, Verdict
from nano4m_audio.curate.verdict import failed_filters, has_numbers, limits_of
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json
from nano4m_audio.filters import CATALOGUE, COLUMNS, FILTERS, Filter
from nano4m_audio.modalities import LABELS
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_batches, read_table

_SCORES = ("scores/audio", "scores/visual", "scores/speech", "scores/fingerprints")
_LABELS = tuple(f"labels/{name}" for name in LABELS)
_INPUTS = ("candidates", "media", "clips", *_SCORES, "verdicts", "selected", *_LABELS)
_TOKENS = "tokens/"
_SHOWN = 5


@dataclass
class Claim:
    """A sentence about rows: of how many it was checked (``unit``), and of which it is wrong.

    ``tables`` are those to blame. ``waived`` says why the config does not claim it.
    """

    name: str
    text: str
    unit: str
    tables: str
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    waived: str = ""

    def put(self, checked: int, wrong: Iterable[str]) -> None:
        self.checked += checked
        self.wrong += wrong


def proof_files(results: Results, n_shards: int | None = None) -> list[Path]:
    """Every file that the proof reads."""
    tables = [
        path
        for name in (*_INPUTS, *results.token_tables)
        for path in results.tables(name, n_shards)
    ]
    return [results.split, *tables]


def prove(results: Results, settings: ProofSettings) -> None:
    """Write proof.json: every claim and how many rows it was checked on.

    Raises UserError, in one line that names the clips, where a claim does not hold.
    """
    claims = check_claims(results, settings)
    wrong = [claim for claim in claims if claim.wrong and not claim.waived]
    if wrong:
        raise UserError(_line(wrong[0], len(wrong) - 1))
    rows = [
        {"name": c.name, "text": c.text, "unit": c.unit, "checked": c.checked, "waived": c.waived}
        for c in claims
    ]
    write_json(results.proof, {"claims": rows})


def _line(claim: Claim, others: int) -> str:
    names = ", ".join(ascii(name)[1:-1] for name in claim.wrong[:_SHOWN])
    more = f" and {len(claim.wrong) - _SHOWN} more" if len(claim.wrong) > _SHOWN else ""
    also = f" ({others} other claims are wrong, too)" if others else ""
    return (
        f"proof: it is not true that {claim.text[0].lower()}{claim.text[1:]}: {names}{more}{also}. "
        f"Make {claim.tables} again"
    )


def _threshold(row: Filter, settings: Verdict) -> Claim:
    limit, own = settings.threshold(row), [c for c, t in settings.per_class.items() if row.key in t]
    value = "off" if limit is None else f"{limit:g}"
    classes = f" ({', '.join(own)}: of their own)" if own else ""
    verb = "reaches" if row.side == "min" else "keeps to"
    text = f"Every accepted clip {verb} {row.key} {value}{classes}: {row.number}"
    waived = "" if settings.is_on(row) else "the filter is off"
    return Claim(row.key, text, "accepted clips", "verdicts", waived=waived)


def _words(name: str) -> str:
    """tokens/rgb -> rgb tokens."""
    return " ".join(reversed(name.split("/")))


def _claims(settings: Verdict, tokens: Sequence[str]) -> dict[str, Claim]:
    # A filter that is off unless asked for is no news.
    rows = [row for row in FILTERS if row.default is not None or settings.is_on(row)]
    listed = [
        Claim("verdicts", "Every candidate has one verdict", "candidates", "verdicts"),
        Claim("content", "Every accepted clip was read and decoded", "accepted clips", "verdicts"),
        Claim("numbers", "Verdicts hold the numbers of the scores", "decoded clips", "verdicts"),
        *(_threshold(row, settings) for row in rows),
        Claim("reasons", "Verdicts list the filters that clips fail", "decoded clips", "verdicts"),
        Claim("split", "Accepted clips are in one split or copies", "accepted clips", "split"),
        Claim("counts", "Rejected clips, copies and splits add up", "candidates", "split"),
        Claim("groups", "No group of copies is in two splits", "groups", "split"),
        Claim("videos", "No video is in two splits", "videos", "split"),
        Claim("selected", "Kept clips are selected, as the split says", "kept clips", "split"),
        *(
            Claim(
                name, f"Every selected clip has {_words(name)}, or a reason", "selected clips", name
            )
            for name in (*_LABELS, *tokens)
        ),
        Claim("modalities", "All modalities have the same clips", "selected clips", "tokens"),
    ]
    return {claim.name: claim for claim in listed}


def check_claims(results: Results, settings: ProofSettings) -> list[Claim]:
    """Every claim, put to all rows under ``results``."""
    claims = _claims(settings.verdict, results.token_tables)
    rows = {row["clip_id"]: row for row in read_table(results.split, "split").to_pylist()}
    left = dict(rows)
    for shard in results.shards:
        accepted = _check_verdicts(claims, results, shard, settings.verdict)
        mine = {clip_id: left.pop(clip_id) for clip_id in accepted if clip_id in left}
        wrong = [clip_id for clip_id in accepted if clip_id not in mine]
        wrong += [clip_id for clip_id, row in mine.items() if not _in_one_split(row, rows)]
        claims["split"].put(len(accepted), wrong)
        _check_selected(claims, results, shard, mine)
    claims["split"].put(0, left)
    kept = [row for row in rows.values() if row["split"]]
    _check_sums(claims, rows.values())
    for name, column in (("groups", "group"), ("videos", "video_id")):
        pairs = [(row[column], row["split"]) for row in kept]
        claims[name].put(len({key for key, _ in pairs}), crossing(pairs))
        if settings.split.unit == "clip":
            claims[name].waived = "split.unit is clip, which does not promise it"
    return list(claims.values())


def _check_sums(claims: Mapping[str, Claim], rows: Iterable[Mapping[str, Any]]) -> None:
    """Candidates are those rejected, copies, and the clips of the splits: nothing is lost."""
    candidates, accepted = claims["verdicts"].checked, claims["split"].checked
    parts = Counter(row["split"] or "copies" for row in rows)
    ends = {"rejected": candidates - accepted, **parts}
    sums = ", ".join(f"{name} {n}" for name, n in ends.items())
    wrong = [] if sum(ends.values()) == candidates else [f"{candidates} candidates: {sums}"]
    claims["counts"].put(candidates, wrong)


def _in_one_split(row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether it has a split, or is a copy of a kept clip of its group."""
    if not row["duplicate_of"]:
        return row["split"] in ("train", "val", "test")
    kept = rows.get(row["duplicate_of"], {"split": "", "group": ""})
    return not row["split"] and bool(kept["split"]) and kept["group"] == row["group"]


def _check_verdicts(
    claims: dict[str, Claim], results: Results, shard: str, settings: Verdict
) -> list[str]:
    """Put the claims about the shard's verdicts; return the accepted clips."""

    def table(name: str, *columns: str) -> dict[str, Any]:
        found = read_table(results.table(name, shard), name, ["clip_id", *columns])
        return {row["clip_id"]: row for row in found.to_pylist()}

    candidates = read_table(results.table("candidates", shard), "candidates").select(
        ["clip_id", "class_name"]
    )
    classes = dict(zip(*(column.to_pylist() for column in candidates), strict=True))
    ids = read_table(results.table("verdicts", shard), "verdicts", ["clip_id"])["clip_id"]
    verdicts = table("verdicts", "clip_key", "accepted", "reasons", *COLUMNS)
    uneven = classes.keys() ^ verdicts.keys()
    twice = [row["values"] for row in pc.value_counts(ids).to_pylist() if row["counts"] > 1]
    claims["verdicts"].put(len(candidates), [*sorted(uneven), *twice])
    media, clips = table("media", "status", "sha256"), table("clips", "status", "key")
    decoded = {name: row for name, row in clips.items() if row["status"] == "ok"}
    numbers = _numbers(results, shard, settings, classes, decoded)
    accepted = [name for name, row in verdicts.items() if row["accepted"]]
    wrong = [
        name
        for name in accepted
        if name not in decoded
        or decoded[name]["key"] != verdicts[name]["clip_key"]
        or not media.get(name, {}).get("sha256")
    ]
    claims["content"].put(len(accepted), wrong)
    limits = {n: limits_of(numbers[n], classes.get(n, ""), settings) for n in decoded}
    judged = [name for name in decoded if name in verdicts]
    wrong = [n for n in judged if any(not _same(verdicts[n][c], numbers[n][c]) for c in COLUMNS)]
    claims["numbers"].put(len(judged), wrong)
    wrong = [n for n in judged if verdicts[n]["reasons"] != failed_filters(numbers[n], limits[n])]
    wrong += [n for n, row in verdicts.items() if row["accepted"] == bool(row["reasons"])]
    claims["reasons"].put(len(judged), dict.fromkeys(wrong))
    for row in (row for row in FILTERS if row.key in claims):
        held = [n for n in accepted if n in decoded and limits[n][row.key] is not None]
        wrong = [n for n in held if row.fails(numbers[n][row.column], limits[n][row.key])]
        claims[row.key].put(len(held), wrong)
    return accepted


def _same(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and one != one and other != other)


def _numbers(
    results: Results,
    shard: str,
    settings: Verdict,
    classes: Mapping[str, str],
    decoded: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Of every decoded clip the numbers that filters compare, from the tables of scores."""
    numbers: dict[str, dict[str, Any]] = {name: {} for name in decoded}
    for row in FILTERS:
        if has_numbers(results, shard, settings, row):
            found = read_table(results.table(row.table, shard), row.table, ["clip_id", row.column])
            for clip in found.to_pylist():
                numbers.setdefault(clip["clip_id"], {})[row.column] = clip[row.column]
    for kind, column in (("audio", "scores"), ("visual", "cosines")):
        name = f"scores/{kind}"
        table = read_table(results.table(name, shard), name, ["clip_id", "labels", column])
        for clip_id, best in best_scores(table, column, classes).items():
            numbers.setdefault(clip_id, {})[f"{kind}_score"] = best
    empty = dict.fromkeys(COLUMNS)
    return {name: {**empty, **numbers[name]} for name in decoded}


def best_scores(
    table: pa.Table, column: str, classes: Mapping[str, str]
) -> dict[str, float | None]:
    """The largest score of every clip for its class; None where the class was not scored.

    ``column`` has for every clip a list (windows, frames) of lists (labels) of float32.
    """
    found: dict[str, float | None] = {}
    for batch in table.combine_chunks().to_batches():
        scores = batch[column]
        flat = scores.flatten().flatten().to_numpy()
        n_windows = pc.fill_null(pc.list_value_length(scores), 0).to_numpy()
        widths = pc.list_value_length(scores.flatten()).to_numpy()
        starts = np.concatenate([[0], np.cumsum(widths)])[:-1]
        first = np.concatenate([[0], np.cumsum(n_windows)])
        labels = batch["labels"].to_pylist()
        for i, clip_id in enumerate(batch["clip_id"].to_pylist()):
            name = classes.get(clip_id)
            if name not in labels[i] or not n_windows[i]:
                found[clip_id] = None
                continue
            of_class = flat[starts[first[i] : first[i + 1]] + labels[i].index(name)]
            found[clip_id] = float(of_class.max())
    return found


def _check_selected(
    claims: dict[str, Claim], results: Results, shard: str, rows: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put the claims about what is selected, labelled and tokenized of the shard's split rows."""
    columns = ["clip_id", "class_name", "split"]
    table = read_table(results.table("selected", shard), "selected", columns)
    selected = {row["clip_id"]: row for row in table.to_pylist()}
    kept = {name: {c: row[c] for c in columns} for name, row in rows.items() if row["split"]}
    wrong = [n for n in kept.keys() | selected.keys() if kept.get(n) != selected.get(n)]
    claims["selected"].put(len(kept), sorted(wrong))
    ids: list[set[str]] = []
    for name in (*_LABELS, *results.token_tables):
        made, wrong = _made(results.table(name, shard), name)
        claims[name].put(
            len(selected), dict.fromkeys([*wrong, *sorted(set(made) ^ selected.keys())])
        )
        if name.startswith(_TOKENS):
            ids.append(set(made))
    every, common = set[str]().union(*ids), ids[0].intersection(*ids[1:])
    claims["modalities"].put(len(every), sorted(every - common))


def _made(path: Path, name: str) -> tuple[list[str], list[str]]:
    """The clips of a table of labels or tokens, and those that are there twice, or are neither
    whole nor failed for a reason. Tokens are read group by group, and only counted."""
    made: list[str] = []
    wrong: list[str] = []
    content = ["tokens"] if name.startswith(_TOKENS) else []
    for batch in read_batches(path, name, ["clip_id", "status", "reason", *content]):
        ids, status, reason = (batch[c].to_pylist() for c in ("clip_id", "status", "reason"))
        lengths = pc.list_value_length(batch["tokens"]).to_pylist() if content else [1] * len(ids)
        made += ids
        for clip_id, state, why, n in zip(ids, status, reason, lengths, strict=True):
            whole = state == "ok" and bool(n)
            if not whole and (state != "failed" or why not in CATALOGUE):
                wrong.append(clip_id)
    return made, wrong + [clip_id for clip_id, n in Counter(made).items() if n > 1]
