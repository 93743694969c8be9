"""The training stage: token tables in, one run folder out, never trained twice.

A run is identified by its key: the digest of the train and val tokens, the settings, the number of
CPU threads (they decide how sums are split, and so the last bits of the weights) and the stage
version. Train state and finished runs live in ``store/train/<key>/``. A finished key is published
again at once, without importing torch; an unfinished one goes on at its last checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nano4m_audio.errors import UserError
from nano4m_audio.files import copy_file, sha256, user_errors, write_json
from nano4m_audio.nano4m.settings import (
    Hardware,
    MaskingConfig,
    OptimConfig,
    TrainSettings,
    model_config,
)
from nano4m_audio.seals import intact, publish_json, seal
from nano4m_audio.store import locked
from nano4m_audio.tables import content_key, write_table
from nano4m_audio.training.run_record import write_start
from nano4m_audio.training.token_sets import TokenSet, read_token_sets
from nano4m_audio.training.watching import WatchOptions, watching
from nano4m_audio.versions import stage_version

if TYPE_CHECKING:
    from nano4m_audio.nano4m.train import TrainResult, Watch

WEIGHTS, BEST, METRICS, RUN, TIMING, START = (
    "checkpoint.safetensors",
    "best.safetensors",
    "metrics.parquet",
    "run.json",
    "timing.json",
    "run_start.json",
)

#: The files of a run's folder, the one that marks it as finished first.
PUBLISHED = (RUN, WEIGHTS, BEST, METRICS, TIMING, START)

METRICS_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("split", pa.string()),
        ("modality", pa.string()),
        ("loss", pa.float64()),
        ("lr", pa.float64()),
        ("tokens", pa.int64()),
    ]
)


def parse_settings(settings: Mapping[str, Any]) -> TrainSettings:
    """Turn ``{model, masking, optim, loss}`` of plain values into TrainSettings.

    Absent keys take their defaults; ``train_clips`` is about the data and ``threads`` about the
    machine, neither is looked at. Raises UserError naming a wrong key or value.
    """
    values = {k: v for k, v in settings.items() if k not in ("train_clips", "threads")}
    try:
        return TrainSettings(
            model=model_config(values.pop("model")),
            masking=MaskingConfig(**values.pop("masking", {})),
            optim=OptimConfig(**values.pop("optim", {})),
            **values,
        )
    except KeyError as error:
        raise UserError(f"training settings: the key {error} is required") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"training settings: {error}") from None


def read_sets(
    settings: Mapping[str, Any],
    split: Path,
    token_files: Mapping[str, Sequence[Path]],
    store_dir: Path,
) -> dict[str, TokenSet]:
    """The clips that a run with these settings learns from and is measured on."""
    parsed = parse_settings(settings)
    return read_token_sets(
        split,
        token_files,
        parsed.model.modalities,
        store_dir,
        train_clips=settings.get("train_clips"),
        seed=parsed.optim.seed,
    )


def train_run(
    split: Path,
    token_files: Mapping[str, Sequence[Path]],
    out_dir: Path,
    store_dir: Path,
    settings: Mapping[str, Any],
    threads: int | None = None,
    progress: bool = True,
    watch: Mapping[str, Any] | None = None,
    hardware: Mapping[str, Any] | None = None,
    command: Sequence[str] = (),
) -> None:
    """Train, or find the finished run, and publish it in ``out_dir``.

    Writes checkpoint.safetensors, best.safetensors, metrics.parquet, run.json, all the same bytes
    for the same input, timing.json and, before the first step, run_start.json. ``watch`` says what
    else to record (see watching.py), ``hardware`` where to compute; neither is part of the run's
    key. ``threads`` of the CPU, those of the settings if None, are: a run goes on with the number
    that it began with. With more than one device, ``command`` (the arguments of this call on the
    command line) is started once per device, unless torchrun already did. Raises UserError for
    unusable tokens, settings or hardware.
    """
    options = WatchOptions.of(watch or {})
    threads = _threads_of(settings, threads)
    place = _parse_hardware(hardware or {}, threads)
    if options.samples_every and place.sharded:
        raise UserError("samples_every needs whole weights: not with shard_weights")
    parsed = parse_settings(settings)
    sets = read_sets(settings, split, token_files, store_dir)
    digest = content_key(sets["train"].digest, sets["val"].digest)
    key = content_key("train", digest, {**settings, "threads": threads}, stage_version("train"))
    folder = store_dir / "train" / key
    if place.devices > 1 and "WORLD_SIZE" not in os.environ and not _intact(folder):
        _launch(place.devices, command)
        return
    leads = os.environ.get("RANK", "0") == "0"
    with user_errors(folder), locked(folder) if leads else nullcontext():
        if _is_finished(folder, place):
            if leads:
                print(f"train: {out_dir.name} is known, nothing to compute", file=sys.stderr)
        else:
            if not len(sets["train"]):
                raise UserError(
                    "no clip to train on: the train split has no clip with all five modalities"
                )
            facts = {"settings": settings, "data_digest": digest, "key": key}
            facts["code_digest"] = stage_version("train")
            watch_it = partial(_begin, folder, out_dir, facts, place, options, sets["val"])
            with watch_it() if leads else nullcontext() as watcher:
                result = _train(parsed, sets, folder, place, progress, watcher)
            if leads:
                _keep(folder, parsed, result, facts, place.threads)
        if leads:
            _publish(folder, out_dir, {name: len(s) for name, s in sets.items()})
    if "WORLD_SIZE" in os.environ:  # threads of a group that is still there abort the process
        from nano4m_audio.nano4m.distributed import leave

        leave()


def _begin(
    folder: Path,
    out_dir: Path,
    facts: Mapping[str, Any],
    hardware: Hardware,
    options: WatchOptions,
    val: TokenSet,
) -> AbstractContextManager[Watch | None]:
    """Record the start of a run, or that it goes on, and say what watches it."""
    fresh = not (folder / START).exists()
    write_start(folder / START, facts, hardware.threads)
    copy_file(folder / START, out_dir / START)
    return watching(options, out_dir, val, facts, fresh)


def self_test(
    split: Path,
    token_files: Mapping[str, Sequence[Path]],
    store_dir: Path,
    settings: Mapping[str, Any],
    steps: int,
    threads: int | None = None,
    hardware: Mapping[str, Any] | None = None,
) -> None:
    """Train ``steps`` steps in bfloat16 and in float32 on the same batches, and print both losses.

    Nothing is written. Raises UserError when they diverge.
    """
    place = _parse_hardware(hardware or {}, _threads_of(settings, threads))
    parsed = parse_settings(settings)
    data = read_sets(settings, split, token_files, store_dir)["train"].data
    from nano4m_audio.nano4m.self_test import TOLERANCE, compare_precisions

    try:
        found = compare_precisions(parsed, data, place, steps)
    except ValueError as error:
        raise UserError(f"self-test: {error}") from None
    print("step  float32  bfloat16  difference")
    for step, (full, half) in enumerate(found.losses):
        print(f"{step:4d}  {full:7.4f}  {half:8.4f}  {(half - full) / full:+.2%}")
    print(f"weights are apart by {found.weights:.1%} of what training changed")
    if not found.accepted:
        raise UserError(
            f"self-test: losses in bfloat16 differ by {found.worst:.1%}, more than "
            f"{TOLERANCE:.0%}: set precision: float32 for this experiment"
        )


def _threads_of(settings: Mapping[str, Any], wanted: int | None) -> int:
    """CPU threads of the whole run: ``wanted``, or those of its settings, or one."""
    threads = settings.get("threads", 1) if wanted is None else wanted
    if not isinstance(threads, int) or threads < 1:
        raise UserError(f"training settings: threads is a whole number from 1, not {threads!r}")
    return threads


def _parse_hardware(values: Mapping[str, Any], threads: int) -> Hardware:
    """``threads`` are those of the whole run; each device's process gets its share."""
    try:
        share = max(1, threads // int(values.get("devices", 1)))
        return Hardware(**{**values, "threads": share})
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"--hardware: {error}") from None


def _launch(devices: int, command: Sequence[str]) -> None:
    """Start one process per device of this machine and wait for them."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(devices)]
    program = [sys.executable, "-m", *launcher, "-m", "nano4m_audio.cli", *command]
    if subprocess.run(program).returncode:
        raise UserError(f"training on {devices} devices failed: the reason is above")


def _is_finished(folder: Path, hardware: Hardware) -> bool:
    """Whether the run is in the store; all processes of a run get the first one's answer."""
    finished = os.environ.get("RANK", "0") == "0" and _intact(folder)
    if "WORLD_SIZE" not in os.environ:
        return finished
    from nano4m_audio.nano4m.distributed import agree

    return agree(finished, hardware)


def _intact(folder: Path) -> bool:
    """Whether the store holds the finished run, byte for byte as it was written."""
    return intact(*(folder / name for name in PUBLISHED))


def check_weights(run_dir: Path, run: Mapping[str, Any]) -> None:
    """Raise UserError unless the weights of a run are those that its run.json is about."""
    known = run.get("sha256", {}).get(WEIGHTS)
    if known and sha256(run_dir / WEIGHTS) != known:
        raise UserError(
            f"{run_dir / WEIGHTS} is not the file that {RUN} describes: delete both and run again "
            "(what is trained is kept)"
        )


def _train(
    settings: TrainSettings,
    sets: Mapping[str, TokenSet],
    folder: Path,
    hardware: Hardware,
    progress: bool,
    watch: Watch | None,
) -> TrainResult:
    from nano4m_audio.nano4m.checkpoint import SaveError
    from nano4m_audio.nano4m.train import NonFiniteGradientError, train

    data, val_data = sets["train"].data, sets["val"].data
    try:
        return train(settings, data, val_data, folder, hardware, progress=progress, watch=watch)
    except NonFiniteGradientError as error:
        raise UserError(str(error)) from None
    except SaveError as error:
        raise UserError(f"{error}: put that right and run again, it goes on") from None


def _keep(
    folder: Path,
    settings: TrainSettings,
    result: TrainResult,
    facts: Mapping[str, Any],
    threads: int,
) -> None:
    """Write the finished run into the store; the digests come last and mark it as finished."""
    import torch

    from nano4m_audio.nano4m.checkpoint import remove_states, save_model
    from nano4m_audio.nano4m.train import METRIC_COLUMNS, STATES

    save_model(folder / WEIGHTS, result.model, result.weights)
    save_model(folder / BEST, result.model, result.best_weights)
    rows = [dict(zip(METRIC_COLUMNS, row, strict=True)) for row in result.metrics]
    write_table(folder / METRICS, pa.Table.from_pylist(rows, schema=METRICS_SCHEMA))
    final = {
        name: {r["modality"]: r["loss"] for r in rows if r["split"] == name}
        for name in ("train", "val")
    }
    timing = {
        "elapsed_s": round(result.elapsed_s, 3),
        "steps_per_s": round(settings.optim.steps / max(result.elapsed_s, 1e-9), 3),
        "threads": threads,
        "last_sitting_from_step": result.resumed_from_step,
    }
    write_json(folder / TIMING, timing)
    run = {
        **facts,
        "parameters": sum(p.numel() for p in result.model.parameters()),
        "steps": settings.optim.steps,
        "best_step": result.best_step,
        "torch": torch.__version__,
        "final_losses": final,
        "sha256": {name: sha256(folder / name) for name in (WEIGHTS, BEST)},
    }
    write_json(folder / RUN, run)
    seal(*(folder / name for name in PUBLISHED))
    remove_states(folder / STATES)


def _publish(folder: Path, out_dir: Path, clips: Mapping[str, int]) -> None:
    for name in (WEIGHTS, BEST, METRICS, TIMING, START):
        copy_file(folder / name, out_dir / name)
    publish_json(folder / RUN, out_dir / RUN, experiment=out_dir.name, clips=dict(clips))
