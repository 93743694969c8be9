"""Candidates from lists of labelled segments: AudioSet's, VGGSound's, and a user's own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.acquire.folder import Findings
from nano4m_audio.acquire.list_labels import label_maps
from nano4m_audio.acquire.list_merge import CONFLICT, JOINED, KEPT, Settled, settle
from nano4m_audio.acquire.list_rows import ListFile, ReadList, read_list
from nano4m_audio.acquire.list_words import list_line
from nano4m_audio.config.sources import Lists, Web
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.taxonomy import SoundClass

WATCH = "https://www.youtube.com/watch?v="
_PAIRS_SHOWN = 20
_STEM_MAX = 60
#: How ties are broken: longer windows first, and nothing that depends on the order of the files.
_ORDER = [
    *(("video", "ascending"), ("rank", "ascending"), ("start_ms", "ascending")),
    *(("end_ms", "descending"), ("url", "ascending"), ("file", "ascending"), ("line", "ascending")),
]


def list_segments(
    source: Web, results: Results, classes: Mapping[str, SoundClass]
) -> tuple[list[dict[str, Any]], Findings]:
    """The candidates of lists whose segments are fetched, and what a reader must know.

    The path of a segment's file is a hash: no name from a list becomes one on the disk. Raises
    UserError as ``read_lists`` does.
    """
    segments, findings = read_lists(source, classes)
    rows = [
        {
            "clip_id": f"{row['video_id']}@{round(row['start_s'] * 1000)}",
            **row,
            "path": piece_path(row["video_id"], row["start_s"], row["end_s"]),
            "byte_start": None,
            "byte_count": None,
        }
        for row in segments.to_pylist()
    ]
    return rows, findings


def piece_path(video_id: str, start_s: float, end_s: float) -> str:
    """Where the piece of a video lies in the folder of pieces, without an ending."""
    window = f"{video_id}\0{round(start_s * 1000)}\0{round(end_s * 1000)}"
    digest = _hash(window)
    return f"{digest[:2]}/{digest}"


def read_lists(source: Lists, classes: Mapping[str, SoundClass]) -> tuple[pa.Table, Findings]:
    """Read all lists of a source, and bring together what they say of the same moments.

    Returns segments, sorted, with columns video_id (11 characters, or a hash of an address),
    start_s, end_s, class_name, sources (sorted; "audioset", "vggsound", or the name of a user's
    list) and url; no two have one video and start [ms]. The findings count all rows: clips, joined
    ones, conflicts, others (of no class that is asked for) and bad ones.

    Raises UserError, in one line, for a file that is no list, and where no segment is left.
    """
    labels = label_maps(classes, source.labels)
    found = [read_list(file, labels[file.kind]) for file in list_files(source)]
    claims = _sorted_claims(found)
    settled = settle(
        *(claims[name].to_numpy() for name in ("number", "start_ms", "end_ms", "class")),
        *(claims[name].to_numpy() for name in ("core", "rank", "row")),
    )
    segments = _segments(claims, settled, found, tuple(classes))
    findings = _findings(claims, settled, found, tuple(classes), segments)
    if not len(segments):
        raise UserError("no segment is left: " + "; ".join(map(list_line, findings.lists)))
    return segments, findings


def list_files(source: Lists) -> list[ListFile]:
    """The lists of a source, each once, in an order that is not that of the config."""
    files = [ListFile(path, "audioset", "audioset") for path in source.audioset_csvs]
    files += [ListFile(path, "vggsound", "vggsound") for path in source.vggsound_csvs]
    files += [ListFile(path, "own", _source_name(path)) for path in source.segments_csvs]
    kinds = ("audioset", "vggsound", "own")
    return sorted(set(files), key=lambda f: (kinds.index(f.kind), f.source, f.path))


def _source_name(path: str) -> str:
    """The name of a user's list in tables and pages: that of the file, in printable characters."""
    stem = Path(path).stem.encode("utf-8", "backslashreplace").decode()[:_STEM_MAX]
    return "".join(c if c.isprintable() else "?" for c in stem)


def _sorted_claims(found: Sequence[ReadList]) -> pa.Table:
    """The claims of all lists with the names of their videos (and numbers of these), the ranks of
    their sources and the numbers of their rows."""
    ranks = {(f.file.kind, f.file.source): 0 for f in found}
    ranks = {source: rank for rank, source in enumerate(ranks)}
    tables = []
    for number, entry in enumerate(found):
        rank = ranks[entry.file.kind, entry.file.source]
        for table in entry.claims:
            same = np.full(len(table), number, np.int32)
            table = table.append_column("file", pa.array(same))
            tables.append(table.append_column("rank", pa.array(np.full(len(table), rank))))
    if not tables:
        raise UserError("no list has a row: " + ", ".join(entry.file.path for entry in found))
    claims = pa.concat_tables(tables).combine_chunks()
    named = pc.if_else(pc.equal(claims["video_id"], ""), claims["url"], claims["video_id"])
    claims = claims.append_column("video", named).sort_by(_ORDER)
    codes = claims["video"].combine_chunks().dictionary_encode().indices
    rows = (claims["file"].to_numpy().astype(np.int64) << 40) + claims["line"].to_numpy()
    return claims.append_column("number", codes).append_column("row", pa.array(rows))


def _segments(
    claims: pa.Table, settled: Settled, found: Sequence[ReadList], classes: Sequence[str]
) -> pa.Table:
    kept = np.flatnonzero(settled.fate == KEPT)
    table = claims.take(pa.array(kept))
    files, sources = claims["file"].to_numpy(), [{entry.file.source} for entry in found]
    names = [set(sources[number]) for number in files[kept].tolist()]
    place = {claim: i for i, claim in enumerate(kept.tolist())}
    joined = np.flatnonzero(settled.fate == JOINED)
    for claim, number in zip(settled.joined[joined].tolist(), files[joined].tolist(), strict=True):
        names[place[claim]] |= sources[number]
    ids, urls = table["video_id"].to_pylist(), table["url"].to_pylist()
    return pa.table(
        {
            "video_id": [name or _hash(url) for name, url in zip(ids, urls, strict=True)],
            "start_s": table["start_ms"].to_numpy() / 1000,
            "end_s": table["end_ms"].to_numpy() / 1000,
            "class_name": [classes[number] for number in table["class"].to_pylist()],
            "sources": [sorted(name) for name in names],
            "url": [url or f"{WATCH}{name}" for name, url in zip(ids, urls, strict=True)],
        },
        schema=_SCHEMA,
    ).sort_by([("video_id", "ascending"), ("start_s", "ascending")])


_SCHEMA = pa.schema(
    {
        "video_id": pa.string(),
        "start_s": pa.float64(),
        "end_s": pa.float64(),
        "class_name": pa.string(),
        "sources": pa.list_(pa.string()),
        "url": pa.string(),
    }
)


def _findings(
    claims: pa.Table,
    settled: Settled,
    found: Sequence[ReadList],
    classes: Sequence[str],
    segments: pa.Table,
) -> Findings:
    """Count all rows of each list, the clips by their sources, and conflicts by their classes."""
    counts = _fates(claims["row"].to_numpy(), settled.fate)
    lists = []
    for number, entry in enumerate(found):
        fates = counts.get(number, Counter())
        lists.append(
            {
                "list": entry.file.path.encode("utf-8", "backslashreplace").decode(),
                "source": entry.file.source,
                "rows": entry.rows,
                "clips": fates[KEPT],
                "joined": fates[JOINED],
                "conflicts": fates[CONFLICT],
                "others": entry.other,
                "bad": sum(bad.rows for bad in entry.bad.values()),
                "faults": [vars(bad) for _, bad in sorted(entry.bad.items())],
            }
        )
    sources = Counter(" + ".join(names) for names in segments["sources"].to_pylist())
    pairs = sorted(settled.contests.items(), key=lambda item: (-item[1], item[0]))
    return Findings(
        video_ids={"list": len(segments)},
        lists=lists,
        sources=[{"sources": name, "clips": n} for name, n in sorted(sources.items())],
        conflicts=[
            {"classes": [classes[a], classes[b]], "rows": n} for (a, b), n in pairs[:_PAIRS_SHOWN]
        ],
    )


def _fates(rows: np.ndarray, fates: np.ndarray) -> dict[int, Counter[int]]:
    """The fates of the rows of every file: that of a row is the best one of its claims."""
    order = np.lexsort((fates, rows))
    rows, fates = rows[order], fates[order]
    first = np.concatenate([[True], rows[1:] != rows[:-1]])[: len(rows)]
    out: dict[int, Counter[int]] = {}
    files, best = rows[first] >> 40, fates[first]
    for number in np.unique(files).tolist():
        values, times = np.unique(best[files == number], return_counts=True)
        out[number] = Counter(dict(zip(values.tolist(), times.tolist(), strict=True)))
    return out


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
