"""Manifests of any origin as rows of one form: CSV, Parquet, JSON lists of stems, a results folder,
a release."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from nano4m_audio.acquire.video_names import Cut, cuts
from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.parsing import parse_json
from nano4m_audio.errors import UserError
from nano4m_audio.filters import COLUMNS, FILTERS
from nano4m_audio.paths import Results
from nano4m_audio.settings_files import last_settings
from nano4m_audio.tables import read_table

#: A text cell that begins so would be a formula in a spreadsheet: such cells are written behind an
#: apostrophe, as spreadsheets do it themselves.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
#: VGGSound's lists have no names of columns: id_start.mp4 and label, or id, start, label, split.
_VGGSOUND = (("file", "class"), ("video_id", "start_s", "class", "split"))
_HEADLESS = re.compile(r"[A-Za-z0-9_-]{11}(_\d{6}\.mp4,.*|,\d+(\.\d+)?(,.*)?)", re.DOTALL)
_NUMBERS = ("start_s", "end_s", "window_start_s", *COLUMNS)


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a manifest; what the manifest does not say is empty or None.

    ``place`` is where it stands (line 3, train[12]). ``video_id`` is "" where nothing tells it.
    ``abbreviated``: the id is only the beginning of one. Times in seconds; ``window_start_s``
    counts from the start of the clip.
    """

    place: str
    video_id: str
    start_s: float | None = None
    end_s: float | None = None
    class_name: str = ""
    sources: tuple[str, ...] = ()
    split: str = ""
    group: str = ""
    window_start_s: float | None = None
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    abbreviated: bool = False

    @property
    def clip(self) -> str:
        """The clip in words: VIDEO@START."""
        return self.video_id if self.start_s is None else f"{self.video_id}@{self.start_s:g}"


@dataclass(frozen=True)
class Manifest:
    """The rows of a manifest, what its columns are (role -> its name for it), what was not
    understood, and the thresholds that it states itself: of all clips, and of those of a class."""

    name: str
    rows: list[Row]
    columns: dict[str, str]
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    thresholds: dict[str, Any] = field(default_factory=dict)
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)


@cache
def words() -> dict[str, Any]:
    """The table of words by which manifests are understood."""
    text = resources.files("nano4m_audio.audit").joinpath("words.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raises UserError in one line where it is none."""
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix == ".parquet":
            return _of_parquet(path)
        if path.suffix == ".json":
            return _of_json(path)
        return _of_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name a manifest, or a results folder") from None
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as a manifest ({error})") from None


def _read_folder(path: Path) -> Manifest:
    if (path / "release.json").is_file():
        found = _of_parquet(path / "clips.parquet")
        told = json.loads((path / "release.json").read_text("utf-8"))
        found.thresholds.update(told.get("thresholds") or {})
        found.per_class.update(told.get("per_class") or {})
        return found
    if (path / "candidates").is_dir():
        return _of_results(Results(path))
    if (path / "clips.csv").is_file():
        return _of_csv(path / "clips.csv")
    raise UserError(f"{path} is no results folder, no release, and has no clips.csv: name a file")


def _of_csv(path: Path) -> Manifest:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as handle:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        reader = csv.reader(handle, delimiter=delimiter, skipinitialspace=True)
        names: list[str] = []
        records: list[tuple[str, Any]] = []
        for cells in reader:
            if cells and cells[0].startswith("#") and not records:  # AudioSet's lists begin so
                names = [cells[0].lstrip("# "), *cells[1:]]
            elif cells and not names and not _HEADLESS.fullmatch(",".join(cells)):
                names = cells
            elif cells:
                names = names or list(_VGGSOUND[len(cells) > 2])
                record = unescaped(dict(zip(names, cells, strict=False)))
                records.append((f"line {reader.line_num}", record))
        return build(path.name, names, records)


def unescaped(record: Mapping[str, Any]) -> dict[str, Any]:
    """The cells without the apostrophe that keeps a spreadsheet from running them."""
    return {
        name: cell[1:]
        if isinstance(cell, str) and cell[:1] == "'" and cell[1:2] in FORMULA
        else cell
        for name, cell in record.items()
    }


def _of_parquet(path: Path) -> Manifest:
    import pyarrow.parquet as pq

    roles = _roles(pq.read_schema(path).names)
    records = pq.read_table(path, columns=list(roles.values())).to_pylist()
    numbered = [(f"row {i}", record) for i, record in enumerate(records, 1)]
    return build(path.name, pq.read_schema(path).names, numbered)


def _of_results(results: Results) -> Manifest:
    records: dict[str, dict[str, Any]] = {}
    wanted = {
        "candidates": ["clip_id", "video_id", "start_s", "class_name", "sources"],
        "clips": ["clip_id", "duration_s"],
        "verdicts": ["clip_id", "accepted", "window_start_s", *COLUMNS],
    }
    for shard in results.shards:
        for name, columns in wanted.items():
            table = read_table(results.table(name, shard), name, columns)
            for row in table.to_pylist():
                records.setdefault(row["clip_id"], {}).update(row)
    columns = ["clip_id", "split", "group"]
    for row in read_table(results.split, "split", columns).to_pylist():
        records[row["clip_id"]].update(row)
    for row in records.values():
        length = row.pop("duration_s", None)
        row["end_s"] = None if length is None else row["start_s"] + length
    names = [*wanted["candidates"], "end_s", *wanted["verdicts"][1:], *columns[1:]]
    return _judged(build(str(results), names, list(records.items())), results)


def _judged(found: Manifest, results: Results) -> Manifest:
    """With the thresholds of the last run; none of them where no run says them."""
    path = last_settings(results.settings, "verdict")
    if path is None:
        note = "no run says its thresholds: they are not checked, unless --thresholds names them"
        off = dict.fromkeys(row.key for row in FILTERS)
        return replace(found, thresholds=off, notes=[*found.notes, note])
    verdict = parse_json(Verdict, str(path))
    return replace(found, thresholds=verdict.limits(), per_class=verdict.per_class)


def _of_json(path: Path) -> Manifest:
    value = json.loads(path.read_text("utf-8"))
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        names = list(dict.fromkeys(name for item in value for name in item))
        return build(path.name, names, [(f"[{i}]", item) for i, item in enumerate(value)])
    if not isinstance(value, dict):
        raise ValueError("neither lists of names nor a list of clips")
    rows, ignored, notes = [], [], []
    for key, names in value.items():
        split = split_word(key)
        if not split or not isinstance(names, list):
            ignored.append(key)
            continue
        texts = [name for name in names if isinstance(name, str)]
        if len(texts) < len(names):
            notes.append(f"{key}: {len(names) - len(texts)} entries are no names")
        rows += _of_stems(key, texts, split)
    if not rows:
        raise ValueError("no key names a split: train, val or test")
    columns = {"split": "its keys", "video_id": "its names", "start_s": "its names"}
    if any(row.sources for row in rows):
        columns["sources"] = "its names"
    return Manifest(path.name, rows, columns, ignored, notes)


def _of_stems(key: str, names: Sequence[str], split: str) -> list[Row]:
    if set(_parts(key)) & set(words()["abbreviated"]):
        told = _source_word(_parts(key))
        return [
            Row(f"{key}[{i}]", name, sources=told, split=split, abbreviated=True)
            for i, name in enumerate(names)
        ]
    return [
        Row(f"{key}[{i}]", cut.video_id, cut.start_s, sources=told, split=split)
        for i, (cut, told) in enumerate(_identify(names))
    ]


def _parts(text: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", text.lower())


def split_word(text: str) -> str:
    """The split that a name is about, such as "train" for manifest_train; "" for none."""
    found = [s for s, names in words()["splits"].items() if set(_parts(text)) & set(names)]
    return found[0] if len(found) == 1 else ""


def _source_word(parts: Iterable[str]) -> tuple[str, ...]:
    known = words()["sources"].items()
    return tuple(source for source, names in known if set(parts) & set(names))


@cache
def _prefix() -> re.Pattern[str]:
    names = [name for names in words()["sources"].values() for name in names]
    return re.compile(rf"({'|'.join(names)})_(?=[A-Za-z0-9_-]{{11}}[_-]\d)")


def _identify(names: Sequence[str]) -> list[tuple[Cut, tuple[str, ...]]]:
    """Of every name the video and start that it tells, and the data set that stands before it."""
    bare, told = [], []
    for name in names:
        match = _prefix().match(name.rpartition("/")[2])
        told.append(_source_word([match[1]]) if match else ())
        bare.append(name.rpartition("/")[2][match.end() :] if match else name)
    found = cuts(bare)
    return [(found[name], source) for name, source in zip(bare, told, strict=True)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _roles(names: Iterable[str]) -> dict[str, str]:
    """Role -> the column that plays it."""
    by_plain = {_plain(name): name for name in reversed(list(names))}
    return {
        role: by_plain[next(a for a in aliases if a in by_plain)]
        for role, aliases in words()["columns"].items()
        if any(alias in by_plain for alias in aliases)
    }


def build(name: str, names: Sequence[str], records: list[tuple[str, Any]]) -> Manifest:
    """The manifest of (place, cells by column). Raises ValueError where no column names a clip."""
    roles = _roles(names)
    if not {"name", "video_id"} & roles.keys():
        raise ValueError(f"no column names a video or a file; columns: {', '.join(names[:20])}")
    notes = []
    if "accepted" in roles:
        kept = [r for r in records if str(r[1].get(roles["accepted"])).lower() in ("true", "1")]
        notes.append(f"{len(records) - len(kept)} rows that are not accepted are left out")
        records = kept
    told: list[tuple[Cut | None, tuple[str, ...]]] = [(None, ())] * len(records)
    if "video_id" not in roles or ("start_s" not in roles and "name" in roles):
        told = list(_identify([str(r.get(roles["name"]) or "") for _, r in records]))
    rows = [
        _row(place, record, roles, cut, source)
        for (place, record), (cut, source) in zip(records, told, strict=True)
    ]
    unknown = sum(not row.video_id for row in rows)
    if unknown:
        notes.append(f"{unknown} rows do not say which video they are of")
    if "video_id" not in roles:
        alone = sum(cut is not None and cut.by == "file" for cut, _ in told)
        notes.append(
            "videos are told by the names of files" + (f"; {alone} tell none" * bool(alone))
        )
        roles |= {"video_id": f"{roles['name']} (its names)"}
        roles.setdefault("start_s", roles["video_id"])
    if "split" not in roles and (split := split_word(Path(name).stem)):
        rows = [replace(row, split=split) for row in rows]
    ignored = [n for n in names if n not in roles.values() and _plain(n)]
    return Manifest(name, rows, roles, ignored, notes)


def _row(
    place: str, record: Mapping[str, Any], roles: Mapping[str, str], cut: Cut | None, source: Any
) -> Row:
    cells = {role: record.get(column) for role, column in roles.items()}
    values = {role: _number(cells[role]) for role in _NUMBERS if role in cells}
    start_s = values.get("start_s")
    told = cells.get("sources")
    listed = told if isinstance(told, (list, tuple)) else re.split(r"[+;|]", str(told or ""))
    return Row(
        place,
        str(cells.get("video_id") or (cut.video_id if cut and "video_id" not in roles else "")),
        cut.start_s if start_s is None and cut else start_s,
        values.get("end_s"),
        str(cells.get("class_name") or ""),
        tuple(sorted({str(s).strip().lower() for s in listed if str(s).strip()})) or source,
        split_word(str(cells.get("split") or "")),
        str(cells.get("group") or ""),
        values.get("window_start_s"),
        {column: values[column] for column in COLUMNS if column in values},
    )


def _number(cell: Any) -> float | None:
    """A finite number, or None."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
