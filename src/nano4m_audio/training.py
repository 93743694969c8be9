"""The training stage: token tables in, one run folder out, never trained twice.

A run is identified by its key: the digest of the train and val tokens, the settings and the stage
version. Train state and finished runs live in ``store/train/<key>/``. A finished key is published
again at once, without importing torch; an unfinished one goes on at its last checkpoint.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nano4m_audio.errors import UserError
from nano4m_audio.nano4m.settings import (
    MaskingConfig,
    OptimConfig,
    TrainSettings,
    model_config,
)
from nano4m_audio.run_record import code_digest, write_start
from nano4m_audio.store import locked
from nano4m_audio.tables import atomic_path, content_key, write_json, write_table
from nano4m_audio.token_sets import TokenSet, read_token_sets
from nano4m_audio.versions import STAGE_VERSIONS
from nano4m_audio.watching import WatchOptions, watching

if TYPE_CHECKING:
    from nano4m_audio.nano4m.train import TrainResult, Watch

WEIGHTS, METRICS, RUN, TIMING, START = (
    "checkpoint.safetensors",
    "metrics.parquet",
    "run.json",
    "timing.json",
    "run_start.json",
)

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

    Absent keys take their defaults; ``train_clips`` is about the data and not looked at. Raises
    UserError naming a wrong key or value.
    """
    values = {key: value for key, value in settings.items() if key != "train_clips"}
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
    threads: int = 1,
    progress: bool = True,
    watch: Mapping[str, Any] | None = None,
) -> None:
    """Train, or find the finished run, and publish it in ``out_dir``.

    Writes checkpoint.safetensors, metrics.parquet, run.json, all the same bytes for the same input,
    timing.json and, before the first step, run_start.json. ``watch`` says what else to record (see
    watching.py) and is no part of the run's key. Raises UserError for unusable tokens or settings.
    """
    options = WatchOptions.of(watch or {})
    parsed = parse_settings(settings)
    sets = read_sets(settings, split, token_files, store_dir)
    digest = content_key(sets["train"].digest, sets["val"].digest)
    key = content_key("train", digest, settings, STAGE_VERSIONS["train"])
    folder = store_dir / "train" / key
    with locked(folder):
        if (folder / RUN).exists():
            print(f"train: {out_dir.name} is known, nothing to compute", file=sys.stderr)
        else:
            if not len(sets["train"]):
                raise UserError(
                    "no clip to train on: the train split has no clip with all five modalities"
                )
            facts = {
                "settings": settings,
                "data_digest": digest,
                "key": key,
                "code_digest": code_digest(),
            }
            if not write_start(folder / START, facts, threads):
                print(f"train: {out_dir.name} goes on with other code", file=sys.stderr)
            _copy(folder / START, out_dir / START)
            with watching(options, out_dir, sets["val"], facts) as watcher:
                result = _train(parsed, sets, folder, threads, progress, watcher)
            _keep(folder, parsed, result, facts, threads)
        _publish(folder, out_dir, {name: len(s) for name, s in sets.items()})


def _train(
    settings: TrainSettings,
    sets: Mapping[str, TokenSet],
    folder: Path,
    threads: int,
    progress: bool,
    watch: Watch,
) -> TrainResult:
    from nano4m_audio.nano4m.train import NonFiniteGradientError, train

    data, val_data = sets["train"].data, sets["val"].data
    try:
        return train(
            settings, data, val_data, folder, threads=threads, progress=progress, watch=watch
        )
    except NonFiniteGradientError as error:
        raise UserError(str(error)) from None


def _keep(
    folder: Path,
    settings: TrainSettings,
    result: TrainResult,
    facts: Mapping[str, Any],
    threads: int,
) -> None:
    """Write the finished run into the store; run.json comes last and marks it as finished."""
    import torch

    from nano4m_audio.nano4m.checkpoint import save_model
    from nano4m_audio.nano4m.train import METRIC_COLUMNS, STATE_FILE

    save_model(folder / WEIGHTS, result.model)
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
        "torch": torch.__version__,
        "final_losses": final,
    }
    write_json(folder / RUN, run)
    (folder / STATE_FILE).unlink(missing_ok=True)


def _publish(folder: Path, out_dir: Path, clips: Mapping[str, int]) -> None:
    for name in (WEIGHTS, METRICS, TIMING, START):
        _copy(folder / name, out_dir / name)
    run = json.loads((folder / RUN).read_text("utf-8"))
    write_json(out_dir / RUN, {"experiment": out_dir.name, "clips": dict(clips), **run})


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temp:
        shutil.copyfile(source, temp)
