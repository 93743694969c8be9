"""The schema of one experiment: model, data, masking, objective, optimiser, hardware."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nano4m_audio.config.base import Section
from nano4m_audio.config.grids import SIZES
from nano4m_audio.nano4m.settings import MaskingConfig

Alpha = Annotated[float, Field(gt=0, le=100)]


class MixturePart(Section):
    """One ingredient of a mixture of masks."""

    weight: float = Field(1.0, gt=0, le=1000, description="how often, beside the other weights")
    input_alpha: Alpha | dict[str, Alpha] = Field(1.0, description="as in the experiment")
    target_alpha: Alpha | dict[str, Alpha] = Field(1.0, description="as in the experiment")


class Experiment(Section):
    """One training run: model size, masking, optimiser, length."""

    size: str | None = Field(
        None, description=f"width and depths by name: {', '.join(SIZES)}; null: as written out"
    )
    dim: int = Field(512, ge=32, le=4096, multiple_of=32, description="model width")
    encoder_depth: int = Field(6, ge=1, le=48, description="encoder blocks")
    decoder_depth: int = Field(6, ge=1, le=48, description="decoder blocks")
    head_dim: int = Field(64, ge=16, le=256, description="width of an attention head")
    init: Literal["paper", "scaled"] = Field(
        "paper", description="weights at the start: all of std 0.02, or scaled to the width"
    )

    train_clips: int | None = Field(
        None, ge=1, description="learn from this many clips, a part of any larger number; null: all"
    )
    audio_tokens: int | None = Field(
        None, ge=1, description="audio window [tokens], from its beginning; null: all of it"
    )
    keyframes: int | None = Field(
        None, ge=1, le=10, description="keyframes per clip, evenly spread; null: all ten"
    )
    padded_captions: bool = Field(
        False, description="captions filled up with [PAD] that is shown and asked for, as published"
    )

    input_tokens: tuple[int, int] = Field((16, 256), description="range of visible tokens")
    target_tokens: tuple[int, int] = Field((16, 256), description="range of target tokens")
    input_alpha: Alpha | dict[str, Alpha] = Field(
        1.0, description="Dirichlet alpha of the input budgets, or one per modality, in 0..100"
    )
    target_alpha: Alpha | dict[str, Alpha] = Field(
        1.0, description="the same for the target budgets"
    )
    mixture: tuple[MixturePart, ...] = Field(
        (), description="several pairs of alphas, one drawn per sample, in place of the two above"
    )
    span_audio: bool = Field(True, description="audio is masked in contiguous spans of pairs")
    single_source_prob: float = Field(
        0.0, ge=0, le=1, description="share of samples whose input is one modality, complete"
    )
    modality_dropout: float = Field(
        0.0, ge=0, le=1, description="probability that a modality is kept out of the input"
    )
    curriculum: dict[str, list[list[float]]] = Field(
        {},
        description="single_source_prob or modality_dropout -> points [step, value], joined by "
        "straight lines",
    )

    own_ids: bool = Field(
        True, description="score a target over the ids of its modality only, not all 50,304"
    )
    loss_average: Literal["modality", "token"] = Field(
        "modality", description="mean of the modalities' means, or mean over all targets"
    )
    steps: int = Field(18311, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1, description="samples per step, over all devices")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: for the matrices of the blocks, AdamW for everything else"
    )
    warmup_steps: int = Field(916, ge=0, description="steps of linear warm-up")
    lr: float = Field(1e-4, gt=0, le=1, description="peak learning rate")
    head_lr_scale: float = Field(
        1.0, gt=0, le=100, description="learning rate of the output table, in units of lr"
    )
    embedding_lr_scale: float = Field(
        1.0, gt=0, le=1000, description="learning rate of the table of input tokens, in units of lr"
    )
    min_lr: float = Field(1e-6, ge=0, le=1, description="last learning rate")
    weight_decay: float = Field(0.05, ge=0, le=10, description="decay of matrices")
    seed: int = Field(0, ge=0, description="seed of weights, batches and masks")
    validate_every: int = Field(100, ge=1, description="steps between validations")

    mode: Literal["fast", "reference"] = Field(
        "fast", description="no work on padding, or padded as published; the same numbers"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of matrix products; auto: bfloat16 on CUDA in fast mode"
    )
    threads: int = Field(
        2, ge=1, le=1024, description="CPU threads, whatever --cores is: other sums, another run"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: as compute.device says"
    )
    devices: int = Field(1, ge=1, le=1024, description="devices (processes) of one machine")
    shard_weights: bool = Field(
        False, description="spread weights and optimiser state over the devices (FSDP2)"
    )
    compile: bool | Literal["auto"] = Field(
        "auto", description="torch.compile the blocks of a GPU; auto: in a long run in fast mode"
    )
    deterministic: bool = Field(False, description="a GPU repeats itself to the bit, slower")
    checkpoint_every_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="least seconds between checkpoints; more where they would cost over 1 % of the "
        "run. 0: after every step, at any cost",
    )

    tensorboard: bool = Field(True, description="write TensorBoard events beside the run")
    wandb_project: str | None = Field(
        None, min_length=1, description="Weights & Biases project to report to; null: none"
    )
    samples_every: int | None = Field(
        None, ge=1, description="steps between pictures predicted for fixed validation clips"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_size(cls, values: Any) -> Any:
        if isinstance(values, dict) and (size := values.get("size")) is not None:
            if size not in SIZES:
                raise ValueError(f"size: one of {', '.join(SIZES)}, not {size!r}")
            for key, value in SIZES[size].items():
                if values.get(key, value) != value:
                    raise ValueError(f"size {size} has {key} {value}, not {values[key]}")
            return {**values, **SIZES[size]}
        return values

    @model_validator(mode="after")
    def _ranges(self) -> Experiment:
        for name in ("input_tokens", "target_tokens"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name}: two whole numbers, 1 <= low <= high")
        if self.dim % self.head_dim:
            raise ValueError(f"dim ({self.dim}) must be a multiple of head_dim ({self.head_dim})")
        if self.devices > self.batch_size:
            raise ValueError(f"devices ({self.devices}) is above batch_size ({self.batch_size})")
        if self.shard_weights and self.optimizer == "muon":
            raise ValueError("muon works on whole matrices: not with shard_weights")
        MaskingConfig(curriculum=self.curriculum)
        return self


class Grid(Section):
    """Every combination of some values, each an experiment; see grids.py for the names."""

    base: str = Field("base", description="the experiment whose values are varied")
    vary: dict[str, list[Any]] = Field(description="key of an experiment -> its values")
