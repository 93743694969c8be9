"""What the report is made from, and the state of every candidate clip read from the tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nano4m_audio.backends.registry import trained_files
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.filters import FILTERS
from nano4m_audio.generation.shown import INDEX
from nano4m_audio.modalities import IMAGES, LABELS
from nano4m_audio.paths import Results
from nano4m_audio.probes import PROBES
from nano4m_audio.reasons import NOT_FETCHED, Reason
from nano4m_audio.report.generated import Generated, read_generated
from nano4m_audio.report.runs import Run, read_runs
from nano4m_audio.report.tokenizers import Pictures, read_quality
from nano4m_audio.tables import SCHEMAS, read_rows, read_table
from nano4m_audio.tokenize.names import backend_name
from nano4m_audio.training.stage import METRICS, RUN, START, TIMING

_IDENTITY = ["clip_id", "video_id", "start_s", "class_name", "sources", "path", "url"]
_STATUS = ["clip_id", "key", "status", "reason", "message"]
#: A source that lasts this much longer than its clip was cut; the last frame may stand that long.
_CUT_S = 0.25
_SHARD_NAME = re.compile(r"\d{4}")
#: Where a clip can stop, in order -> what a clip that gets past has shown, and the heading of those
#: that do not. A clip that stops nowhere reaches "complete".
STOPS = {
    "media": ("File present", "no file"),
    "clips": ("Decodable", "undecodable"),
    **{row.reason: (row.passed, row.failed) for row in FILTERS},
    "duplicate": ("Not a copy", "copy"),
    "label": ("Depth and normals made", "no labels"),
    "tokens": ("Tokens in all modalities", "no tokens"),
}
COMPLETE = "complete"
#: Where a segment of a list can stop before.
FETCH_STOPS = {
    "asked": ("Asked for", "not asked for yet"),
    "fetch": ("Fetched", "not to be had"),
}
_LABELS = tuple(f"labels/{name}" for name in LABELS)
_TOKENS = "tokens/"


@dataclass(frozen=True)
class ReportInputs:
    """The resolved config as plain values, the results folder, and what else is known.

    ``truth_csv`` has the columns file, video_id, class, kind, expected, duplicate_of. ``card`` is
    the JSON model card of the mini family, ``repository`` a git checkout whose commit is named.
    Examples are decoded with this many ``threads``: with none there are no examples, and no model
    is loaded. What several sections show is read once, when it is first asked for.
    """

    config: Mapping[str, Any]
    results: Path
    truth_csv: Path | None = None
    card: Path | None = None
    repository: Path | None = None
    threads: int = 0

    @property
    def store(self) -> Path:
        return self.results / "store"

    @cached_property
    def clips(self) -> list[Clip]:
        return read_clips(self.results)

    @cached_property
    def runs(self) -> list[Run]:
        return read_runs(self.results, list(self.config["experiments"]))

    @property
    def lead(self) -> Run | None:
        """The run that the config names for the report, if it has finished."""
        name = self.config["report"]["experiment"]
        return next((run for run in self.runs if run.name == name), None)

    @cached_property
    def tokenizers(self) -> list[Pictures]:
        return read_quality(self.results, self.config)

    @cached_property
    def generated(self) -> Generated | None:
        return read_generated(self.results, self.config)


@dataclass(frozen=True)
class Clip:
    """One candidate and how far it came. Scores are None where no model ran. ``cut``: its file goes
    on after the clip's end."""

    clip_id: str
    video_id: str
    class_name: str
    source: str
    path: str
    shard: str
    stop: str
    reasons: tuple[str, ...]
    message: str
    verdict: Mapping[str, Any]
    split: Mapping[str, Any]
    token_keys: Mapping[str, str]
    cut: bool = False
    start_s: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the clip passed every filter (it may still be a copy of another one)."""
        return bool(self.verdict["accepted"])

    @property
    def complete(self) -> bool:
        return self.stop == COMPLETE


def report_files(results: Results, config: Config) -> list[Path]:
    """Every file under ``results`` that the report is made from, other than finished rows."""
    files = [results.split, results.listing, results.proof]
    files += [results.fetched] if config.source == "web" else []
    others = {n for n in SCHEMAS if n.startswith(_TOKENS)} - set(results.token_tables)
    for name in sorted(SCHEMAS.keys() - {"split", "fetched"} - others):  # media tells of "fetched"
        files += results.tables(name, config.n_shards)
    for experiment in config.experiments:
        files += [results.run(experiment) / name for name in (RUN, METRICS, TIMING, START)]
        files += [results.probe(experiment, probe) for probe in PROBES]
    if config.generate.clips:
        files.append(results.generated(config.report.experiment) / INDEX)
    for modality in IMAGES:
        for name in config.measured_tokenizers(modality):
            measured = results.quality(modality, name)
            files += [measured, measured.with_suffix(".png")]
            files += trained_files(backend_name(name, results))
    return files


def shard_files(folder: Path) -> list[str]:
    """Names of the shards of an artifact folder, sorted. Raises UserError when there is none."""
    names = sorted(p.stem for p in folder.glob("*.parquet") if _SHARD_NAME.fullmatch(p.stem))
    if not names:
        raise UserError(f"{folder} holds no tables: run the stage that writes it first")
    return names


def read_clips(results: Path) -> list[Clip]:
    """Every candidate in the order of shards and rows. Raises UserError when tables disagree."""
    split = {row["clip_id"]: row for row in read_rows(results / "split.parquet", "split")}
    clips: list[Clip] = []
    for shard in shard_files(results / "candidates"):
        clips.extend(read_shard(results, shard, split))
    if len({clip.clip_id for clip in clips}) != len(clips):
        raise UserError(f"{results}/candidates: a clip_id occurs twice, so clips cannot be counted")
    strays = set(split) - {clip.clip_id for clip in clips if clip.accepted}
    if strays:
        raise UserError(f"{results}/split.parquet names {min(strays)!r}, which was not accepted")
    return clips


def read_shard(results: Path, shard: str, split: Mapping[str, Any]) -> list[Clip]:
    """The candidates of a shard, in their order; ``split`` has the rows of its table by id."""
    folder = Results(results)

    def table(name: str, columns: list[str]) -> dict[str, Any]:
        path = folder.table(name, shard)
        return {row["clip_id"]: row for row in read_rows(path, name, columns)}

    late = ("media", *_LABELS, *folder.token_tables)
    tables = {name: table(name, _STATUS) for name in late}
    tables["clips"] = table("clips", [*_STATUS, "duration_s", "source_duration_s"])
    tables["verdicts"] = table("verdicts", SCHEMAS["verdicts"].names)
    tables["selected"] = table("selected", ["clip_id"])
    rows = read_rows(folder.table("candidates", shard), "candidates", _IDENTITY)
    return [_read_clip(row, shard, tables, split) for row in rows]


def _read_clip(
    row: Mapping[str, Any], shard: str, tables: Mapping[str, Any], split: Mapping[str, Any]
) -> Clip:
    clip_id = row["clip_id"]
    verdict = _row(tables["verdicts"], clip_id, "verdicts")
    stop = _stop_early(clip_id, tables["media"], tables["clips"], verdict)
    reasons, message = verdict["reasons"], verdict["message"]
    split_row: Mapping[str, Any] = {}
    if not stop:
        split_row = _row(split, clip_id, "split")
        stop, why = _stop_late(split_row, tables)
        reasons, message = ([why["reason"]], why["message"]) if why else ([], "")
    return Clip(
        clip_id=clip_id,
        video_id=row["video_id"],
        class_name=row["class_name"],
        source="+".join(row["sources"]),
        path=row["path"] or row["url"] or "",
        shard=shard,
        stop=stop,
        reasons=tuple(reasons),
        message=message,
        verdict=verdict,
        split=split_row,
        token_keys={
            name.removeprefix(_TOKENS): table[clip_id]["key"]
            for name, table in tables.items()
            if name.startswith(_TOKENS) and clip_id in table
        },
        cut=_is_cut(tables["clips"].get(clip_id, {})),
        start_s=row["start_s"] or 0.0,
    )


def _is_cut(decoded: Mapping[str, Any]) -> bool:
    """A source whose length is not known went on when the clip's end was reached."""
    length_s = decoded.get("duration_s")
    source_s = decoded.get("source_duration_s")
    return length_s is not None and (source_s is None or source_s > length_s + _CUT_S)


def _row(table: Mapping[str, Any], clip_id: str, name: str) -> Mapping[str, Any]:
    if clip_id not in table:
        raise UserError(f"{name}: there is no row for clip {clip_id!r}: run that stage again")
    return table[clip_id]


def _stop_early(
    clip_id: str, media: Mapping[str, Any], decoded: Mapping[str, Any], verdict: Mapping[str, Any]
) -> str:
    """Where the clip stops before the split, or an empty string."""
    if (file := _row(media, clip_id, "media"))["status"] != "ok":
        stop = "fetch" if file["reason"] in NOT_FETCHED else "media"
        stop = "asked" if file["reason"] == Reason.NOT_FETCHED_YET else stop
    elif _row(decoded, clip_id, "clips")["status"] != "ok":
        stop = "clips"
    elif not verdict["accepted"]:
        stop = verdict["reasons"][0]
    else:
        return ""
    if stop not in {*FETCH_STOPS, *STOPS} or verdict["accepted"]:
        raise UserError(
            f"verdicts: clip {clip_id!r} stops at {stop!r}, which its verdict contradicts"
        )
    return stop


def _stop_late(
    split: Mapping[str, Any], tables: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """Where an accepted clip stops and the row that says why, or ("complete", {})."""
    clip_id = split["clip_id"]
    selected = clip_id in tables["selected"]
    if not split["split"]:
        if selected or not split["duplicate_of"]:
            raise UserError(f"split: clip {clip_id!r} has no split and is no copy")
        return "duplicate", {"reason": str(Reason.DUPLICATE), "message": split["duplicate_of"]}
    if not selected:
        raise UserError(f"selected: there is no row for clip {clip_id!r}: run split again")
    tokens = [name for name in tables if name.startswith(_TOKENS)]
    for stop, names in (("label", _LABELS), ("tokens", tokens)):
        for name in names:
            row = _row(tables[name], clip_id, name)
            if row["status"] != "ok":
                return stop, row
    return COMPLETE, {}


def count_tokens(results: Path, complete: Sequence[Clip]) -> dict[str, int]:
    """Number of tokens per modality over all complete clips."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = [clip.clip_id for clip in complete]
    folder = Results(results)
    totals = dict.fromkeys(folder.modalities, 0)
    for shard in sorted({clip.shard for clip in complete}):
        for modality in totals:
            name = f"tokens/{modality}"
            table = read_table(folder.table(name, shard), name, ["clip_id", "tokens"])
            tokens = table.filter(pc.is_in(table["clip_id"], pa.array(wanted)))["tokens"]
            while pa.types.is_list(tokens.type):
                tokens = pc.list_flatten(tokens)
            totals[modality] += len(tokens)
    return totals
