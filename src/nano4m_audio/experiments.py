"""From the config's short description of an experiment to the settings of the training engine."""

from __future__ import annotations

from typing import Any

from nano4m_audio.backends.gpt2 import PAD
from nano4m_audio.backends.registry import get_spec
from nano4m_audio.config.schema import BACKEND_KEYS, Config, Experiment
from nano4m_audio.modalities import IMAGES, MODALITIES
from nano4m_audio.processor import native_bfloat16


def modality_table(config: Config) -> list[dict[str, Any]]:
    """Name, vocabulary, length and span stride of every modality, as the chosen tokenizers have
    them."""
    rows = []
    for name, row in MODALITIES.items():
        spec = config.tokenizer(name)
        rows.append(
            {
                "name": name,
                "vocab_size": spec.vocab_size,
                "max_tokens": spec.n_tokens,
                "span_stride": spec.n_codebooks if row.kind == "audio" else None,
                "pad_id": PAD if row.kind == "text" else None,
            }
        )
    return rows


def train_settings(config: Config, name: str) -> dict[str, Any]:
    """The training engine's settings of one experiment, as plain values."""
    experiment: Experiment = config.experiments[name]
    modalities = modality_table(config)
    for row in modalities:
        if row["name"] == "audio":
            row["max_tokens"] = experiment.audio_tokens or row["max_tokens"]
            row["span_stride"] = row["span_stride"] if experiment.span_audio else None
    settings: dict[str, Any] = {
        "model": {
            "modalities": modalities,
            "dim": experiment.dim,
            "enc_depth": experiment.encoder_depth,
            "dec_depth": experiment.decoder_depth,
            "head_dim": experiment.head_dim,
            "init": experiment.init,
        },
        "masking": {
            "input_tokens_range": list(experiment.input_tokens),
            "target_tokens_range": list(experiment.target_tokens),
            "input_alphas": experiment.input_alpha,
            "target_alphas": experiment.target_alpha,
            "mixture": [
                {
                    "weight": part.weight,
                    "input_alphas": part.input_alpha,
                    "target_alphas": part.target_alpha,
                }
                for part in experiment.mixture
            ],
            "single_source_prob": experiment.single_source_prob,
            "modality_dropout": experiment.modality_dropout,
            "curriculum": experiment.curriculum,
            "padded_captions": experiment.padded_captions,
            "keyframes": experiment.keyframes,
        },
        "optim": {
            "optimizer": experiment.optimizer,
            "steps": experiment.steps,
            "batch_size": experiment.batch_size,
            "lr": experiment.lr,
            "min_lr": experiment.min_lr,
            "head_lr_scale": experiment.head_lr_scale,
            "embedding_lr_scale": experiment.embedding_lr_scale,
            "warmup_steps": experiment.warmup_steps,
            "weight_decay": experiment.weight_decay,
            "seed": experiment.seed,
            "eval_every": experiment.validate_every,
        },
        "loss": "own_ids" if experiment.own_ids else "unified",
        "average": experiment.loss_average,
        "mode": experiment.mode,
        "precision": experiment.precision,
        "threads": experiment.threads,
    }
    if experiment.train_clips is not None:
        settings["train_clips"] = experiment.train_clips
    return settings


def train_device(config: Config, name: str) -> str:
    """Where one experiment is trained: auto, cpu or cuda. Like compute.device it makes no rule run
    again, so it is not among the hardware options."""
    wanted = config.experiments[name].device
    elsewhere = config.compute.device
    return elsewhere if wanted == "auto" and elsewhere in ("cpu", "cuda") else wanted


def gpus_of(config: Config, name: str) -> int:
    """How many GPUs the job that trains one experiment asks for."""
    return 0 if train_device(config, name) == "cpu" else config.experiments[name].devices


def hardware_options(config: Config, name: str) -> dict[str, Any]:
    """Where one experiment is computed, as plain values; decides nothing but speed and rounding."""
    experiment = config.experiments[name]
    return {
        "devices": experiment.devices,
        "sharded": experiment.shard_weights,
        "compiled": experiment.compile,
        "deterministic": experiment.deterministic,
        "checkpoint_every_s": experiment.checkpoint_every_s,
    }


def watch_options(config: Config, name: str) -> dict[str, Any]:
    """What one experiment records while it trains, as plain values; see watching.py."""
    experiment = config.experiments[name]
    return {
        "tensorboard": experiment.tensorboard,
        "wandb_project": experiment.wandb_project,
        "samples_every": experiment.samples_every,
        "tokenizers": {m: config.backend(f"tokenize.{m}") for m in IMAGES},
    }


def slow_choices(config: Config) -> list[str]:
    """One line for what the config asks of a CPU that this machine's cannot do well. torch is
    imported only if something of the kind is asked for."""
    runs = config.experiments
    half = [f"experiments.{n}.precision" for n, e in runs.items() if e.precision == "bfloat16"]
    for key, name in config.backends().items():
        dtype = f"compute.dtype.{key.partition('.')[0]}"
        runs_in = get_spec(BACKEND_KEYS[key], name).dtype(config.dtype(key))
        if runs_in == "bfloat16" and dtype not in half:
            half.append(dtype)
    compiled = [f"experiments.{n}.compile" for n, e in runs.items() if e.compile is True]
    if not half and not compiled:
        return []
    import torch

    if torch.cuda.is_available():
        return []
    lines = []
    if half and not native_bfloat16():
        lines.append(
            f"{', '.join(half)}: bfloat16 is several times slower than float32 on this CPU"
        )
    if compiled:
        lines.append(f"{', '.join(compiled)}: does nothing on a CPU")
    return lines
