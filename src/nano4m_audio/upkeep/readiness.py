"""Whether a run can begin: its clips, models, packages, disk, memory and devices. Nothing is run.

All that is wrong is found, not only the first of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from nano4m_audio.acquire.child import Child, Died, Limits
from nano4m_audio.acquire.listing import with_folder_classes
from nano4m_audio.acquire.media import find_file
from nano4m_audio.acquire.source_record import check_record
from nano4m_audio.backends import weights
from nano4m_audio.config.schema import Config
from nano4m_audio.config.sources import Files
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import gpus_of, train_device
from nano4m_audio.media.windows import WINDOW_S
from nano4m_audio.paths import Results
from nano4m_audio.prerequisites import backend_uses, weights_of
from nano4m_audio.upkeep.clip_list import harmless
from nano4m_audio.upkeep.estimates import CLIP_BYTES, needed_bytes, needed_time

_SAMPLE, _SAMPLE_S = 24, 3.0
_FEWEST_GB = 2.0
_GB = 1e9
#: Packages that only some sources need -> how they are installed.
_PACKAGES = {"web": ("yt_dlp", 'pip install ".[web]"')}


@dataclass
class Readiness:
    """What was found, line by line, and everything that is in the way of a run."""

    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def trying(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """What ``step`` returns; None where it raises UserError, which becomes a problem."""
        try:
            return step(*arguments)
        except UserError as error:
            first, *more = str(error).splitlines() or [""]
            problems = getattr(error, "problems", None)
            if problems:
                self.problems += [f"{error.where}: {_line(p)}" for p in problems]  # type: ignore[attr-defined]
            else:
                self.problems.append(_line("; ".join([first, *more])))
            return None


def check_config(config: Config, results: Results, cores: int) -> Readiness:
    """Look at everything that a run of this config needs, in the working directory of the run."""
    ready = Readiness()
    source = config.chosen_source
    ready.trying(check_record, config, results.root)
    there = ready.trying(_exists, source)
    classes_known = there and ready.trying(with_folder_classes, config)
    rows = None
    if there and ready.trying(_runnable, source) and classes_known:
        config = classes_known
        rows = _clips(ready, config, results)
    _weights(ready, config)
    _packages(ready, config)
    clips = config.barnyard.clips if config.source == "barnyard" else len(rows or ())
    _disk(ready, config, clips, results)
    if clips:
        _time(ready, config, clips, cores, results)
    _memory(ready, config)
    _devices(ready, config)
    return ready


def at_start(config: Config, results: Results, cores: int) -> Readiness:
    """What can be told at once when a run begins whose source and weights are known to be there:
    packages, disk and memory; of a first run also how long it will take.

    How much of an earlier run is left to do is not asked: that means reading all that it wrote.
    """
    ready = Readiness()
    _packages(ready, config)
    first = not results.store.is_dir()
    clips = config.barnyard.clips if first and config.source == "barnyard" else 0
    if clips:
        _disk(ready, config, clips, results)
        _time(ready, config, clips, cores, results)
    else:
        _little_disk(ready, results)
    _memory(ready, config)
    return ready


def _packages(ready: Readiness, config: Config) -> None:
    if config.source in _PACKAGES:
        package, how = _PACKAGES[config.source]
        if importlib.util.find_spec(package) is None:
            ready.problems.append(f"the package {package} is not installed: {how}")


def _line(text: str) -> str:
    return harmless(" ".join(text.split()))


def _exists(source: Any) -> bool:
    source.check()
    return True


def _runnable(source: Any) -> bool:
    source.check_runnable()
    return True


def _clips(ready: Readiness, config: Config, results: Results) -> list[dict[str, Any]] | None:
    """The candidates of the source, with what their files say."""
    source = config.chosen_source
    if config.source == "barnyard":
        ready.facts.append(f"clips: {config.barnyard.clips:,} are filmed by the run")
        return None
    module, _, function = source.candidates.partition(":")
    list_source = getattr(importlib.import_module(module), function)
    listed = ready.trying(list_source, source, results, config.classes)
    if listed is None:
        return None
    rows, findings = listed
    counts = Counter(row["class_name"] for row in rows)
    named = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(12))
    more = f" and {len(counts) - 12} more classes" if len(counts) > 12 else ""
    ready.facts.append(f"clips: {len(rows):,} ({_line(named)}{more})")
    ready.facts += [_line(line) for line in findings.lines()]
    if config.source in ("folder", "mirror"):
        _files(ready, rows, source.folder(results.root))
    return list(rows)


def _files(ready: Readiness, rows: Sequence[dict[str, Any]], folder: Files) -> None:
    root = Path(folder.root)
    names = dict.fromkeys(row["path"] for row in rows if row["path"])
    found = {name: find_file(root, name, folder.follow_links) for name in names}
    there = {name: path for name, path in found.items() if path and path.is_file()}
    segments = sum(not row["path"] for row in rows)
    if segments:
        ready.facts.append(f"{segments:,} of {len(rows):,} segments are not in the mirror")
    outside = [name for name, path in found.items() if path is None]
    if outside:
        such = _line(outside[0])
        ready.facts.append(f"{len(outside):,} paths lead out of the folder, such as {such}")
    gone = [root / name for name, path in found.items() if path and name not in there]
    if gone:
        such = ", ".join(_line(str(path)) for path in gone[:3])
        text = f"{len(gone):,} of {len(names):,} listed files are not there, such as {such}"
        (ready.facts if there else ready.problems).append(text)
    elif not there:
        ready.problems.append("no listed file is there")
    size = sum(path.stat().st_size for path in there.values())
    ready.facts.append(f"files: {len(there):,}, {size / _GB:,.2f} GB")
    whole = {
        row["path"]: there[row["path"]]
        for row in rows
        if row["path"] in there and row["end_s"] is None and row["byte_start"] is None
    }
    if whole:
        ready.facts.append(_lengths(list(whole.values())))


def _lengths(paths: Sequence[Path]) -> str:
    """How long some of the films say they are, in one line."""
    step = max(1, len(paths) // _SAMPLE)
    lengths, broken, begun = [], 0, None
    with Child(length_of, Limits(memory_mb=1500, cpu_s=5.0, wall_s=5.0)) as asking:
        for path in paths[::step][:_SAMPLE]:
            try:
                length_s = asking(path)
            except (Died, RuntimeError):
                length_s = None
            if length_s is None:
                broken += 1
            else:
                lengths.append(length_s)
            begun = begun or time.monotonic()  # the first answer waits for the process to start
            if time.monotonic() - begun > _SAMPLE_S:
                break
    if not lengths:
        return f"lengths: none of {broken} files says how long it is"
    short = sum(length < WINDOW_S for length in lengths)
    text = f"lengths of {len(lengths)}: {min(lengths):.1f} to {max(lengths):.1f} s, "
    text += f"median {median(lengths):.1f} s"
    text += f"; {short} shorter than the {WINDOW_S:.1f} s that are needed" if short else ""
    return text + (f"; {broken} more do not say it" if broken else "")


def length_of(path: Path) -> float | None:
    """How long a file says that it is [s]; None where it says nothing, or is no film."""
    from nano4m_audio.acquire.container import open_media
    from nano4m_audio.acquire.source import MediaError, Source

    try:
        with Source(path) as source, open_media(source) as container:
            return container.duration / 1e6 if container.duration else None
    except MediaError:
        return None


def _weights(ready: Readiness, config: Config) -> None:
    needed = weights_of(backend_uses(config))
    missing = weights.missing_files(needed)
    for weights_id, files in missing.items():
        names = ", ".join(f"{file.name} ({file.size})" for file in files)
        ready.problems.append(
            f"weights of {needed[weights_id]} are missing: {names}: "
            f"nano4m-audio weights fetch {weights_id}"
        )
    for weights_id in sorted(needed.keys() - missing.keys()):
        ready.trying(weights.folder, weights_id)
    count = f"{len(needed) - len(missing)} of {len(needed)} models are here" if needed else "none"
    ready.facts.append(f"weights to fetch: {count}")


def _free(results: Results) -> tuple[int, Path]:
    """Free bytes where the results are, and that folder."""
    folder = next(p for p in results.root.resolve().parents if p.is_dir())
    return shutil.disk_usage(folder).free, folder


def _little_disk(ready: Readiness, results: Results) -> None:
    free, folder = _free(results)
    if free < _FEWEST_GB * _GB:
        ready.problems.append(f"disk: only {free / _GB:,.1f} GB are free in {folder}")


def _disk(ready: Readiness, config: Config, clips: int, results: Results) -> None:
    (free, folder), needed = _free(results), needed_bytes(config, clips, results)
    text = f"disk: about {needed / _GB:,.1f} GB more are needed, {free / _GB:,.1f} GB are free"
    parts = " and ".join(
        f"{size * clips / _GB:,.1f} GB {what}" for what, size in CLIP_BYTES.items()
    )
    kept = f"{clips:,} clips have {parts} if all are kept"
    (ready.facts if needed < free else ready.problems).append(f"{text} in {folder}; {kept}")


def _time(ready: Readiness, config: Config, clips: int, cores: int, results: Results) -> None:
    found = needed_time(config, clips, cores, results)
    figures = "an earlier run here" if found.measured_here else "docs/BENCHMARKS.md"
    on = f"{cores} core{'s' * (cores != 1)}"
    text = f"time: about {_minutes(found.clips_min)} on {on} from films to tokens"
    if found.training_min is None:
        text += "; for training and what follows there is no figure"
    else:
        text += f", {_minutes(found.training_min)} for training and the report"
    text += f" (without a GPU; figures of {figures})"
    if found.unknown:
        text += f"; not counted: {', '.join(found.unknown)}"
    ready.facts.append(text)


def _minutes(value: float) -> str:
    return f"{max(1, value):.0f} min" if value < 120 else f"{value / 60:,.0f} h"


def _memory(ready: Readiness, config: Config) -> None:
    available = _available_bytes()
    if available is None:
        return
    text = f"memory: {available / _GB:.1f} GB are available"
    if available < _FEWEST_GB * _GB:
        ready.problems.append(f"{text}, and the demo alone takes {_FEWEST_GB:.0f} GB")
    else:
        ready.facts.append(text)


def _available_bytes() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _devices(ready: Readiness, config: Config) -> None:
    """GPUs that are asked for by name and are not there; torch is imported only then."""
    wanted = dict(_wanted_devices(config))
    if not wanted:
        return
    import torch

    there = torch.cuda.device_count()
    for key, number in wanted.items():
        if number > there:
            ready.problems.append(
                f"{key} asks for {number} GPU{'s' * (number > 1)}, and there "
                f"{'is' if there == 1 else 'are'} {there or 'none'} here"
            )


def _wanted_devices(config: Config) -> Iterator[tuple[str, int]]:
    if config.compute.device == "cuda":
        yield "compute.device = cuda", 1
    for name, experiment in config.experiments.items():
        devices = experiment.hardware.devices
        if train_device(config, name) == "cuda" or devices > 1:
            yield f"experiments.{name}.hardware", max(1, gpus_of(config, name))
