"""The training stage: token tables in, one run folder out, never trained twice.

A run is identified by its key: the digest of the train and val tokens, the sections of its settings
that decide the weights (all but ``hardware`` and ``watch``) and the stage version. Train state and
finished runs live in ``store/train/<key>/``. A finished key is published again at once, without
importing torch; an unfinished one goes on at its last checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nano4m_audio.errors import UserError
from nano4m_audio.files import copy_file, sha256, user_errors, write_json
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.seals import intact, publish_json, seal
from nano4m_audio.store import locked
from nano4m_audio.tables import content_key, write_table
from nano4m_audio.training.run_record import write_start
from nano4m_audio.training.token_sets import TokenSet, packed_key, read_token_sets
from nano4m_audio.training.watching import watching
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


def read_sets(results: Results, settings: TrainSettings) -> dict[str, TokenSet]:
    """The clips that a run with these settings learns from and is measured on."""
    return read_token_sets(
        results.split,
        results.token_files(),
        settings.model.modalities,
        results.store,
        train_clips=settings.data.train_clips,
        seed=settings.optim.seed,
    )


def packed_folder(results: Results, settings: TrainSettings) -> Path:
    """Where the tokens of ``read_sets`` lie packed if they do not fit into memory."""
    key = packed_key(
        results.split,
        results.token_files(),
        settings.model.modalities,
        train_clips=settings.data.train_clips,
        seed=settings.optim.seed,
    )
    return results.store / "packed" / key


def train_run(
    results: Results,
    experiment: str,
    settings: TrainSettings,
    progress: bool = True,
    command: Sequence[str] = (),
) -> None:
    """Train, or find the finished run, and publish it as the run of ``experiment``.

    Writes checkpoint.safetensors, best.safetensors, metrics.parquet, run.json, all the same bytes
    for the same input, timing.json and, before the first step, run_start.json. With more than one
    device, ``command`` (the arguments of this call on the command line) is started once per device,
    unless torchrun already did. Raises UserError for unusable tokens or hardware.
    """
    sets, out_dir = read_sets(results, settings), results.run(experiment)
    facts = _facts(settings, sets)
    folder, devices = results.store / "train" / facts["key"], settings.hardware.devices
    if devices > 1 and "WORLD_SIZE" not in os.environ and not _intact(folder):
        _launch(devices, command)
        return
    leads = _leads()
    with user_errors(folder), locked(folder) if leads else nullcontext():
        if not _is_finished(folder, settings.hardware.device):
            _compute(settings, sets, facts, folder, out_dir, progress)
        elif leads:
            print(f"train: {experiment} is known, nothing to compute", file=sys.stderr)
        if leads:
            _publish(folder, out_dir, {name: len(s) for name, s in sets.items()})
    if "WORLD_SIZE" in os.environ:  # threads of a group that is still there abort the process
        from nano4m_audio.nano4m.distributed import leave

        leave()


def _leads() -> bool:
    """Whether this is the process that writes: the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def _facts(settings: TrainSettings, sets: Mapping[str, TokenSet]) -> dict[str, Any]:
    """What identifies a run: its key covers the tokens and all that decides the weights."""
    digest, told = content_key(sets["train"].digest, sets["val"].digest), settings.identity()
    version = stage_version("train")
    return {
        "settings": told,
        "data_digest": digest,
        "key": content_key("train", digest, told, version),
        "code_digest": version,
    }


def _compute(
    settings: TrainSettings,
    sets: Mapping[str, TokenSet],
    facts: Mapping[str, Any],
    folder: Path,
    out_dir: Path,
    progress: bool,
) -> None:
    """Begin or continue a run; the first process records, watches and keeps it."""
    if not len(sets["train"]):
        raise UserError("no clip to train on: the train split has no clip with all modalities")
    if not _leads():
        _train(settings, sets, folder, progress, None)
        return
    fresh = not (folder / START).exists()
    write_start(folder / START, facts, settings.numerics.threads)
    copy_file(folder / START, out_dir / START)
    with watching(settings, out_dir, sets["val"], facts, fresh) as watch:
        result = _train(settings, sets, folder, progress, watch)
    _keep(folder, settings, result, facts)


def self_test(results: Results, settings: TrainSettings, steps: int) -> None:
    """Train ``steps`` steps in bfloat16 and in float32 on the same batches, and print both losses.

    Nothing is written. Raises UserError when they diverge.
    """
    data = read_sets(results, settings)["train"].data
    from nano4m_audio.nano4m.self_test import TOLERANCE, compare_precisions

    try:
        found = compare_precisions(settings, data, steps)
    except ValueError as error:
        raise UserError(f"self-test: {error}") from None
    print("step  float32  bfloat16  difference")
    for step, (full, half) in enumerate(found.losses):
        print(f"{step:4d}  {full:7.4f}  {half:8.4f}  {(half - full) / full:+.2%}")
    print(f"weights are apart by {found.weights:.1%} of what training changed")
    if not found.accepted:
        raise UserError(
            f"self-test: losses in bfloat16 differ by {found.worst:.1%}, more than "
            f"{TOLERANCE:.0%}: set numerics.precision: float32 for this experiment"
        )


def _launch(devices: int, command: Sequence[str]) -> None:
    """Start one process per device of this machine and wait for them."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(devices)]
    program = [sys.executable, "-m", *launcher, "-m", "nano4m_audio.cli", *command]
    if subprocess.run(program).returncode:
        raise UserError(f"training on {devices} devices failed: the reason is above")


def _is_finished(folder: Path, device: str) -> bool:
    """Whether the run is in the store; all processes of a run get the first one's answer."""
    finished = _leads() and _intact(folder)
    if "WORLD_SIZE" not in os.environ:
        return finished
    from nano4m_audio.nano4m.distributed import agree

    return agree(finished, device)


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
    progress: bool,
    watch: Watch | None,
) -> TrainResult:
    from nano4m_audio.nano4m.checkpoint import SaveError
    from nano4m_audio.nano4m.train import NonFiniteGradientError, train

    data, val_data = sets["train"].data, sets["val"].data
    try:
        return train(settings, data, val_data, folder, progress=progress, watch=watch)
    except NonFiniteGradientError as error:
        raise UserError(str(error)) from None
    except SaveError as error:
        raise UserError(f"{error}: put that right and run again, it goes on") from None


def _keep(
    folder: Path, settings: TrainSettings, result: TrainResult, facts: Mapping[str, Any]
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
        "threads": settings.numerics.threads,
        "last_session_from_step": result.resumed_from_step,
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
