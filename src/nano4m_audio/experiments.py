"""From an experiment of the config to what its training is told, and where it runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from nano4m_audio.backends.gpt2 import PAD
from nano4m_audio.backends.registry import get_spec
from nano4m_audio.config.parsing import parse
from nano4m_audio.config.schema import BACKEND_KEYS, Config
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.modalities import IMAGES, MODALITIES
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.processor import native_bfloat16


def modality_table(config: Config) -> list[dict[str, Any]]:
    """Name, vocabulary, length and span stride of the modalities, by the chosen tokenizers."""
    rows = []
    for name in config.modalities:
        row, spec = MODALITIES[name], config.tokenizer(name)
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


def train_settings(config: Config, name: str) -> TrainSettings:
    """What the training of one experiment is told. Raises UserError for alphas of other modalities
    than the config has."""
    experiment = config.experiments[name]
    modalities = _chosen(modality_table(config), experiment.data.modalities)
    for row in modalities:
        if row["name"] == "audio":
            row["max_tokens"] = experiment.data.audio_tokens or row["max_tokens"]
            row["span_stride"] = row["span_stride"] if experiment.masking.span_audio else None
    values = experiment.model_dump()
    values["model"]["modalities"] = modalities
    values["masking"] = _without(
        MODALITIES.keys() - {row["name"] for row in modalities}, values["masking"]
    )
    values["tokenizers"] = {m: config.backend(f"tokenize.{m}") for m in IMAGES}
    return parse(TrainSettings, values, f"config: experiments.{name}")


def _chosen(rows: list[dict[str, Any]], names: Sequence[str] | None) -> list[dict[str, Any]]:
    """The rows of these modalities, or all."""
    if names is None:
        return rows
    known = [row["name"] for row in rows]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f" (it has {', '.join(known)})"
            raise UserError(f"config: data.modalities: the run has no {name}{hint}")
    return [row for row in rows if row["name"] in names]


def _without(names: Collection[str], masking: dict[str, Any]) -> dict[str, Any]:
    """``masking`` without the alphas of modalities that presets name and a run has not."""

    def kept(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: alpha for name, alpha in value.items() if name not in names}

    def alphas(section: dict[str, Any]) -> dict[str, Any]:
        return {key: kept(value) for key, value in section.items()}

    return {**alphas(masking), "mixture": [alphas(part) for part in masking["mixture"]]}


def train_device(config: Config, name: str) -> str:
    """Where one experiment is trained: auto, cpu or cuda. Like compute.device it makes no rule run
    again: a resource of the job says it, whatever its settings say."""
    wanted = config.experiments[name].hardware.device
    elsewhere = config.compute.device
    return elsewhere if wanted == "auto" and elsewhere in ("cpu", "cuda") else wanted


def gpus_of(config: Config, name: str) -> int:
    """How many GPUs the job that trains one experiment asks for."""
    return 0 if train_device(config, name) == "cpu" else config.experiments[name].hardware.devices


def slow_choices(config: Config) -> list[str]:
    """One line for what the config asks of a CPU that this machine's cannot do well. torch is
    imported only if something of the kind is asked for."""
    runs = config.experiments
    half = [
        f"experiments.{name}.numerics.precision"
        for name, run in runs.items()
        if run.numerics.precision == "bfloat16"
    ]
    for key, name in config.backends().items():
        dtype = f"compute.dtype.{key.partition('.')[0]}"
        runs_in = get_spec(BACKEND_KEYS[key], name).dtype(config.dtype(key))
        if runs_in == "bfloat16" and dtype not in half:
            half.append(dtype)
    compiled = [
        f"experiments.{name}.hardware.compile"
        for name, run in runs.items()
        if run.hardware.compile is True
    ]
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
