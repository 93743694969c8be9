"""What a run cost: time and memory of its jobs, room on the disk, and how it was started.

Snakemake's benchmark files and sizes on the disk are no inputs of the rule: they are read as they
are when the report is made. This is the one section of the page that two runs over equal inputs do
not share.
"""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.settings_files import COMMAND

#: What the benchmarks of rules begin with, in the order of the pipeline.
_ORDER = (
    *("barnyard", "candidates", "fetch", "media", "decode", "score_", "verdict", "split"),
    *("label", "tokenizer_", "tokenize_", "train_", "evaluate_", "decoded_", "generations_"),
    "proof",
)
#: Made after this page, or with it: their figures would be those of another one.
_LATER = {"report", "experiments", "release"}
#: Folders that hold no data, or what is made from this page.
_NO_DATA = {"benchmarks", "logs", "settings", "release"}
#: A folder of the store -> the folder of finished files that it fills, where the names differ.
_FILLS = {"train": "runs", "evaluate": "evaluation"}


@dataclass(frozen=True)
class StageCost:
    """The last job of every shard of a stage: seconds and processor seconds in sum, and the most
    memory of one job [MB]; None where Snakemake did not measure it (a job of milliseconds)."""

    name: str
    jobs: int
    seconds: float
    cpu_s: float | None
    peak_mb: float | None


@dataclass(frozen=True)
class Room:
    """Bytes of an artifact: its finished files, and the rows that are kept in the store."""

    name: str
    files: int
    store: int


@dataclass(frozen=True)
class Costs:
    """``command`` and ``started`` of the last run by Snakemake, where they are known."""

    stages: list[StageCost]
    unread: int
    rooms: list[Room]
    shards: int
    command: str
    started: str

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def cpu_s(self) -> float:
        return sum(stage.cpu_s or 0 for stage in self.stages)

    @property
    def peak_mb(self) -> float | None:
        return max((s.peak_mb for s in self.stages if s.peak_mb is not None), default=None)

    @property
    def bytes(self) -> int:
        return sum(room.files + room.store for room in self.rooms)


def collect(inputs: ReportInputs) -> Costs:
    """What benchmark files and the disk say now."""
    results = Results(inputs.results)
    stages, unread = stage_costs(results / "benchmarks")
    command, started = read_command(results.settings / COMMAND)
    return Costs(stages, unread, rooms(results), inputs.config["n_shards"], command, started)


def stage_costs(folder: Path) -> tuple[list[StageCost], int]:
    """The costs by stage, in the order of the pipeline; and how many files could not be read."""
    measured: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    unread = 0
    for path in sorted(folder.rglob("*.tsv")):
        stage = path.relative_to(folder).parts[0].removesuffix(".tsv")
        if stage in _LATER:
            continue
        try:
            measured[stage] += _read_benchmark(path)
        except (OSError, ValueError, csv.Error):
            unread += 1
    return [_stage_cost(name, measured[name]) for name in sorted(measured, key=_place)], unread


def _read_benchmark(path: Path) -> list[dict[str, float | None]]:
    """One row for each time that the job ran. Raises ValueError for what is no benchmark."""
    with open(path, newline="", encoding="utf-8") as handle:
        rows = [
            {key: _number(row.get(key)) for key in ("s", "cpu_time", "max_rss")}
            for row in csv.DictReader(handle, delimiter="\t")
        ]
    if not rows or any(row["s"] is None for row in rows):
        raise ValueError(f"{path} is no benchmark of Snakemake")
    return rows


def _number(text: str | None) -> float | None:
    """None for what was not measured; a number that is none raises ValueError."""
    value = None if text in (None, "", "-", "NA") else float(str(text))
    if value is not None and not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _stage_cost(name: str, rows: list[dict[str, float | None]]) -> StageCost:
    cpu, peak = (
        [v for row in rows if (v := row[key]) is not None] for key in ("cpu_time", "max_rss")
    )
    seconds = sum(row["s"] or 0 for row in rows)
    return StageCost(name, len(rows), seconds, sum(cpu) if cpu else None, max(peak, default=None))


def _place(stage: str) -> tuple[int, str]:
    places = [i for i, prefix in enumerate(_ORDER) if stage.startswith(prefix)]
    return (places[0] if places else len(_ORDER)), stage


def rooms(results: Results) -> list[Room]:
    """Every artifact with its room on the disk, the largest first; not what this page makes."""
    seen: set[tuple[int, int]] = set()
    sizes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for column, root in enumerate((results.root, results.store)):
        skipped = {"report", "examples"} if column else {*_NO_DATA, results.store.name}
        for folder in sorted(path for path in root.glob("*") if path.is_dir()):
            if folder.name not in skipped and not folder.name.startswith("."):
                name = _FILLS.get(folder.name, folder.name) if column else folder.name
                sizes[name][column] += sum(_sizes(folder, seen))
    found = [Room(name, *pair) for name, pair in sizes.items()]
    return sorted(found, key=lambda room: (-room.files - room.store, room.name))


def _sizes(folder: Path, seen: set[tuple[int, int]]) -> Iterator[int]:
    """Bytes of each file below, once for each of them however many names it has."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes(Path(entry.path), seen)
            continue
        facts = entry.stat(follow_symlinks=False)
        if (facts.st_dev, facts.st_ino) not in seen:
            seen.add((facts.st_dev, facts.st_ino))
            yield facts.st_size


def read_command(path: Path) -> tuple[str, str]:
    """The command line and the time (ISO 8601, UTC) of the last start; "" where not known."""
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return "", ""
    if not isinstance(known, Mapping):
        return "", ""
    return str(known.get("command", "")), str(known.get("started", ""))
