"""Lists of labelled segments of videos, row by row: AudioSet's, VGGSound's, and a user's own.

A file is read in blocks of lines, and all lines of a block at once. A line is a row, so that one
with a fault costs no other: a bad row is counted under what is wrong with it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.acquire.list_labels import Claims, LabelMap
from nano4m_audio.errors import UserError, did_you_mean, shown

VGGSOUND_S = 10.0
_BLOCK = 1 << 24
_LINES_SHOWN = 20
_MAX_COLUMNS, _HEAD_MAX = 100, 10_000
#: First bytes of files that are no plain text, and what to do with these.
_NO_TEXT = {
    b"\x1f\x8b": "is compressed: unpack it first (gunzip)",
    b"PK\x03\x04": "is a zip archive: unpack it first",
    b"BZh": "is compressed: unpack it first (bunzip2)",
    b"\xfd7zXZ": "is compressed: unpack it first (unxz)",
    b"\x28\xb5\x2f\xfd": "is compressed: unpack it first (unzstd)",
    b"PAR1": "is a Parquet file: a CSV file is wanted",
    b"\xff\xfe": "is UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text: save it as UTF-8",
}
_BOM = b"\xef\xbb\xbf"
#: What the first column may be called in a first line that names the columns.
_HEADS = (
    *("ytid", "youtube_id", "youtube id", "youtubeid", "video_id", "video id", "video"),
    *("id", "file", "filename", "file_name", "url", "segment_id"),
)
_COLUMNS = ("video_id", "url", "start_s", "end_s", "class")
_VALUE = r'[ \t]*(?:"{q}[^"\x00-\x08\x0a-\x1f\x7f]*)"|{u}[^",\x00-\x08\x0a-\x1f\x7f]*))[ \t]*'
_VIDEO_ID = r"^[A-Za-z0-9_-]{11}$"
_SECONDS = r"^\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?$"
_URL = r"^(?i:https?)://[^\s/?#@\\]+(?:[/?][^\s\\]*)?$"
_URL_MAX = 2000
_YOUTUBE = (
    r"^(?i:https?://(?:(?:www|m|music)\.)?(?:youtube(?:-nocookie)?\.com/"
    r"(?:watch/?\?(?:[^#]*&)?v=|shorts/|embed/|live/|v/)|youtu\.be/))"
    r"(?P<id>[A-Za-z0-9_-]{11})(?:[?&#/].*)?$"
)
_VGGSOUND_FILE = r"^(?P<id>.*)_(?P<start>\d{6})(?:\.\w{1,5})?$"

#: What may be wrong with a row; the first that applies is counted.
BAD = (
    *("", "bytes that are not UTF-8", "control characters"),
    "another number of values, or quotes that do not pair",
    "no video id (11 letters, digits, - or _)",
    "no web address (http:// or https://, without a password)",
    "its url and its video_id name different videos",
    "start or end is no number of seconds",
    "the end is not after the start",
    *("no label", "a label that is no AudioSet id", "unknown class"),
)
_UTF8, _CONTROL, _VALUES, _ID, _ADDRESS, _TWO_IDS, _TIMES, _ORDER, _NO_LABEL, _MID, _CLASS = range(
    1, len(BAD)
)
Columns = dict[str, pa.Array]


class ListFile(NamedTuple):
    """A list: its path, what kind of list it is, and the name of the source in the candidates."""

    path: str
    kind: str
    source: str


@dataclass
class BadRows:
    """Rows with one fault: how many, the numbers of the first lines, and what stands in one."""

    why: str
    rows: int = 0
    lines: list[int] = field(default_factory=list)
    example: str = ""


@dataclass
class ReadList:
    """What a list says: the claims of its rows, and how many rows are of no class, or bad."""

    file: ListFile
    rows: int = 0
    other: int = 0
    bad: dict[int, BadRows] = field(default_factory=dict)
    claims: list[pa.Table] = field(default_factory=list)

    def add_bad(self, codes: np.ndarray, numbers: np.ndarray, texts: pa.Array) -> None:
        """Count the rows with a fault; ``texts`` are what to show of each."""
        for code in np.unique(codes[codes > 0]).tolist():
            places = np.flatnonzero(codes == code)
            known = self.bad.setdefault(code, BadRows(BAD[code]))
            if not known.rows:
                known.example = _readable(texts[int(places[0])].as_py())
            known.rows += len(places)
            room = _LINES_SHOWN - len(known.lines)
            known.lines += numbers[places[:room]].tolist()


def read_list(file: ListFile, labels: LabelMap) -> ReadList:
    """Read one list.

    Its claims are tables with one row per row of the list and class that the row is of: line,
    video_id, url, start_ms, end_ms, class (its number) and core (whether the label means that class
    and nothing else). Raises UserError, in one line, for what is no such list.
    """
    found, columns = ReadList(file), None
    for first, data in _blocks(Path(file.path)):
        lines, numbers = _lines(data, first)
        if columns is None and len(lines):
            columns, begin = _header(file, lines[0].as_py())
            lines, numbers = lines[begin:], numbers[begin:]
        if len(lines):
            found.rows += len(lines)
            _read_block(found, lines, numbers, columns or (), labels)
    return found


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines of the file, as (number of the first, bytes)."""
    try:
        with open(path, "rb") as handle:
            start = handle.read(8)
            for magic, what in _NO_TEXT.items():
                if start.startswith(magic):
                    raise UserError(f"{path} {what}")
            rest, number = start.removeprefix(_BOM), 1
            while data := handle.read(_BLOCK):
                cut = data.rfind(b"\n") + 1
                if not cut and len(data) == _BLOCK:
                    raise UserError(f"{path}: lines of more than {_BLOCK:,} bytes: is it a list?")
                if cut:
                    block = rest + data[:cut]
                    yield number, block
                    number += block.count(b"\n")
                    rest = b""
                rest += data[cut:]
            yield number, rest
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such list") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None


def _lines(data: bytes, first: int) -> tuple[pa.Array, np.ndarray]:
    """The lines of a block that are rows, as bytes, and their numbers in the file: neither empty
    ones nor comments (#)."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if data and (not len(ends) or ends[-1] != len(data)):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    lines = pa.Array.from_buffers(pa.binary(), len(ends), buffers)
    none = pc.match_substring_regex(lines, r"^[ \t]*(?:#|\r?\n?$)")
    rows = ~none.to_numpy(zero_copy_only=False)
    return lines.filter(pa.array(rows)), np.flatnonzero(rows) + first


def _header(file: ListFile, line: bytes) -> tuple[tuple[str, ...], int]:
    """The names of the columns of a user's list, and how many lines (0 or 1) name columns."""
    text = re.sub(r"[\x00-\x1f]", " ", line[:_HEAD_MAX].decode("utf-8", "replace"))
    cells = next(csv.reader([text], skipinitialspace=True), [""])
    names = [cell.strip().casefold() for cell in cells]
    if file.kind != "own":
        return (), int(names[0] in _HEADS)
    if not {*names} & {*_COLUMNS}:
        return ("url|video_id", "start_s", "end_s", "class"), 0
    wanted = [name for name in _COLUMNS[2:] if name not in names]
    if not {*names} & {"video_id", "url"}:
        wanted = ["video_id (or url)", *wanted]
    if wanted:
        hints = [f"{name!r}{did_you_mean(name, names)}" for name in wanted]
        raise UserError(
            f"{file.path}: no column {' and no column '.join(hints)}; line 1 must name the "
            f"columns, it reads {shown(','.join(names))}"
        )
    if twice := [name for name in _COLUMNS if names.count(name) > 1]:
        raise UserError(f"{file.path}: line 1 names the column {twice[0]!r} more than once")
    if len(names) > _MAX_COLUMNS:
        raise UserError(f"{file.path}: more than {_MAX_COLUMNS} columns")
    return tuple(name if name in _COLUMNS else "" for name in names), 1


def _read_block(
    found: ReadList, lines: pa.Array, numbers: np.ndarray, names: Sequence[str], labels: LabelMap
) -> None:
    """Check the rows of a block, and add their claims and faults to what was found."""
    codes = _bytes_faults(lines)
    columns = _split(found.file.kind, lines, names)
    columns = {name: _text(values, codes) for name, values in columns.items()}
    _flag(codes, _VALUES, ~_valid(columns["label"]))
    columns, times = _checked(columns, codes)
    claims = labels.claims(columns["label"], codes == 0)
    own = found.file.kind == "own"
    _flag(codes, _NO_LABEL, _equals(columns["label"], ""))
    _flag(codes, _MID, claims.malformed)
    if own:
        _flag(codes, _CLASS, claims.none)
    texts = lines if not own else _example_texts(lines, columns["label"], codes)
    found.add_bad(codes, numbers, texts)
    found.other += int((claims.none & (codes == 0)).sum())
    _keep(found, columns, times, numbers, claims, codes)


def _keep(
    found: ReadList,
    columns: Columns,
    times: Mapping[str, np.ndarray],
    numbers: np.ndarray,
    claims: Claims,
    codes: np.ndarray,
) -> None:
    good = codes[claims.row] == 0
    rows = claims.row[good]
    taken = pa.array(rows)
    found.claims.append(
        pa.table(
            {
                "line": numbers[rows],
                "video_id": columns["video_id"].take(taken),
                "url": columns["url"].take(taken),
                "start_ms": times["start"][rows],
                "end_ms": times["end"][rows],
                "class": claims.class_number[good],
                "core": claims.core[good],
            }
        )
    )


def _split(kind: str, lines: pa.Array, names: Sequence[str]) -> Columns:
    """The values of each row as bytes: video_id, url, start, end, label; null where there are
    not as many as there should be, None for a column that the list has not."""
    if kind == "audioset":
        return _values(lines, ("video_id", "start", "end", "label"))
    if kind == "own":
        form = {"start_s": "start", "end_s": "end", "class": "label", "url|video_id": "either"}
        return _values(lines, [form.get(name, name) for name in names])
    with_split = _values(lines, ("video_id", "start", "label", ""))
    without = _values(lines, ("video_id", "start", "label"))
    files = _values(lines, ("file", "label"))
    parts = pc.extract_regex(files.pop("file"), _VGGSOUND_FILE)
    odd = pc.and_(pc.is_valid(files["label"]), pc.is_null(parts))
    files["video_id"] = pc.if_else(odd, b"", pc.struct_field(parts, "id"))
    files["start"] = pc.if_else(odd, b"", pc.struct_field(parts, "start"))
    return {name: pc.coalesce(with_split[name], without[name], files[name]) for name in with_split}


def _values(lines: pa.Array, names: Sequence[str]) -> Columns:
    """Split rows of as many values as there are names; values that have none are let go."""
    groups = [
        _VALUE.format(q=f"(?P<q{i}>", u=f"(?P<u{i}>") if name else _VALUE.format(q="(?:", u="(?:")
        for i, name in enumerate(names)
    ]
    found = pc.extract_regex(lines, f"^{','.join(groups)}\r?\n?$")
    return {
        name: pc.binary_join_element_wise(
            pc.struct_field(found, f"q{i}"), pc.struct_field(found, f"u{i}"), b""
        )
        for i, name in enumerate(names)
        if name
    }


def _bytes_faults(lines: pa.Array) -> np.ndarray:
    """Codes of the rows [rows] that are not UTF-8 or hold control characters; 0 for the others."""
    codes = np.zeros(len(lines), np.uint8)
    control = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]"
    _flag(codes, _CONTROL, _true(pc.match_substring_regex(lines, control)))
    beyond = np.flatnonzero(_true(pc.match_substring_regex(lines, r"[\x80-\xff]")))
    for place, line in zip(beyond.tolist(), lines.take(pa.array(beyond)).to_pylist(), strict=True):
        try:
            line.decode()
        except UnicodeDecodeError:
            codes[place] = _UTF8
    return codes


def _text(values: pa.Array, codes: np.ndarray) -> pa.Array:
    """Values as text without spaces around them; null where the row's bytes are none."""
    known = pc.if_else(pa.array(codes == 0), values, pa.scalar(None, pa.binary()))
    return pc.utf8_trim_whitespace(known.cast(pa.string()))


def _checked(columns: Columns, codes: np.ndarray) -> tuple[Columns, dict[str, np.ndarray]]:
    """Name videos and addresses, read times [ms], and flag what is wrong with any of them."""
    ids, urls = _addresses(columns, codes)
    start, known = _milliseconds(columns["start"])
    if "end" in columns:
        end, known_end = _milliseconds(columns["end"])
    else:
        end, known_end = start + round(VGGSOUND_S * 1000), known
    _flag(codes, _TIMES, ~(known & known_end))
    _flag(codes, _ORDER, end <= start)
    times = {"start": start, "end": end}
    return {"video_id": ids, "url": urls, "label": columns["label"]}, times


def _addresses(columns: Columns, codes: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """The video's id and its address, as far as the list says them: "" where it does not."""
    empty = pa.array(np.full(len(codes), ""))
    if "either" in columns:
        web = pc.match_substring(columns["either"], "://")
        columns["url"] = pc.if_else(web, columns["either"], "")
        columns["video_id"] = pc.if_else(web, "", columns["either"])
    ids, urls = columns.get("video_id", empty), columns.get("url", empty)
    has_id, has_url = ~_equals(ids, ""), ~_equals(urls, "")
    urls = pc.replace_substring_regex(urls, "#.*", "")
    long = _true(pc.greater(pc.binary_length(urls), _URL_MAX))
    _flag(codes, _ADDRESS, has_url & (long | ~_true(pc.match_substring_regex(urls, _URL))))
    _flag(codes, _ID, (has_id | ~has_url) & ~_true(pc.match_substring_regex(ids, _VIDEO_ID)))
    tube = pc.fill_null(pc.struct_field(pc.extract_regex(urls, _YOUTUBE), "id"), "")
    is_tube = ~_equals(tube, "")
    _flag(codes, _TWO_IDS, is_tube & has_id & ~_true(pc.equal(tube, ids)))
    return pc.if_else(pa.array(has_id), ids, tube), pc.if_else(pa.array(is_tube), "", urls)


def _milliseconds(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Seconds as whole milliseconds (int64), and which of them are numbers below 1e9."""
    known = _true(pc.match_substring_regex(values, _SECONDS))
    seconds = pc.if_else(pa.array(known), values, "0").cast(pa.float64()).to_numpy()
    known &= seconds < 1e9
    return np.round(np.where(known, seconds, 0.0) * 1000).astype(np.int64), known


def _example_texts(lines: pa.Array, labels: pa.Array, codes: np.ndarray) -> pa.Array:
    """What to show of each bad row: of an unknown class its name, otherwise the line."""
    unknown = pa.array(codes == _CLASS)
    return pc.if_else(unknown, pc.coalesce(labels.cast(pa.binary()), lines), lines)


def _readable(line: bytes) -> str:
    text = line.strip().decode("utf-8", "backslashreplace")
    return shown(re.sub(r"\s+", " ", text))


def _flag(codes: np.ndarray, code: int, where: np.ndarray) -> None:
    codes[where & (codes == 0)] = code


def _valid(values: pa.Array) -> np.ndarray:
    return pc.is_valid(values).to_numpy(zero_copy_only=False)


def _true(values: Any) -> np.ndarray:
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)


def _equals(values: pa.Array, text: str) -> np.ndarray:
    return _true(pc.equal(values, text))
