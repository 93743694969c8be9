"""The settings of one training run: every key with its meaning, default and range, defined once.

The sections are those of an experiment in config.yaml, and the engine reads the same objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from nano4m_audio.section import Section

#: A Dirichlet concentration for all modalities, or one per modality name; 0: none of its tokens.
Alpha = Annotated[float, Field(ge=0, le=1000)]
Alphas = Alpha | dict[str, Alpha]
#: An inclusive range of numbers of tokens, over all modalities together.
TokenRange = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Probability = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(gt=0, le=1000)]


@dataclass(frozen=True)
class Modality:
    """One kind of token, as its tokenizer makes it.

    ``max_tokens`` is the longest sequence. With ``span_stride`` s, inputs and targets are one
    contiguous span aligned to multiples of s (audio codebooks interleaved s at a time); without it
    they are random positions. ``pad_id`` is what fills up a short sequence when
    ``masking.padded_captions`` asks for it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    vocab_size: int
    max_tokens: int
    span_stride: int | None = None
    pad_id: int | None = None

    def __post_init__(self) -> None:
        if self.vocab_size < 1 or self.max_tokens < 1:
            raise ValueError(f"modality {self.name}: vocab_size and max_tokens must be at least 1")
        if self.span_stride is not None and not 1 <= self.span_stride <= self.max_tokens:
            raise ValueError(f"modality {self.name}: span_stride must be in 1..{self.max_tokens}")
        if self.pad_id is not None and not 0 <= self.pad_id < self.vocab_size:
            raise ValueError(f"modality {self.name}: pad_id must be in 0..{self.vocab_size - 1}")


#: Sizes by the names of the 4M family: depth of encoder and decoder, width.
SIZES = {
    f"d{depth}w{dim}": {"dim": dim, "encoder_depth": depth, "decoder_depth": depth, "head_dim": 64}
    for depth, dim in ((5, 384), (6, 512), (8, 640), (12, 768))
}


class ModelSize(Section):
    """Sizes of the FourM encoder-decoder, and how its weights start.

    ``init: paper`` makes all weights normal(0, 0.02), far below the position table (0.7), so that a
    narrow model needs thousands of steps to look at its input. ``scaled``: embeddings normal(0, 1),
    linear layers normal(0, 1 / sqrt(dim)).
    """

    size: str | None = Field(
        None,
        exclude=True,
        description=f"width and depths by name: {', '.join(SIZES)}; null: as written out",
    )
    dim: int = Field(512, ge=16, le=4096, multiple_of=2, description="model width")
    encoder_depth: int = Field(6, ge=1, le=48, description="encoder blocks")
    decoder_depth: int = Field(6, ge=1, le=48, description="decoder blocks")
    head_dim: int = Field(64, ge=8, le=256, description="width of an attention head")
    mlp_ratio: float = Field(4.0, gt=0, le=16, description="width of the MLPs, in units of dim")
    init: Literal["paper", "scaled"] = Field(
        "paper", description="weights at the start: all of std 0.02, or scaled to the width"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_size(cls, values: Any) -> Any:
        if not isinstance(values, dict) or (size := values.get("size")) is None:
            return values
        if str(size) not in SIZES:
            raise ValueError(f"size: one of {', '.join(SIZES)}, not {size!r}")
        for key, value in SIZES[size].items():
            if values.get(key, value) != value:
                raise ValueError(f"size {size} has {key} {value}, not {values[key]}")
        return {**values, **SIZES[size], "size": None}

    @model_validator(mode="after")
    def _whole_heads(self) -> ModelSize:
        if self.dim % self.head_dim:
            raise ValueError(f"dim ({self.dim}) must be a multiple of head_dim ({self.head_dim})")
        return self


class ModelConfig(ModelSize):
    """A model: its sizes, and its modalities, which share one table of ids."""

    modalities: tuple[Modality, ...] = Field(min_length=1)

    @property
    def vocab_size(self) -> int:
        """Rows of the shared embedding and output tables."""
        return max(m.vocab_size for m in self.modalities)

    @property
    def max_positions(self) -> int:
        """Rows of the shared position table."""
        return max(m.max_tokens for m in self.modalities)


class DataConfig(Section):
    """What a run learns from."""

    train_clips: int | None = Field(
        None, ge=1, description="train on this many clips (nested subsets); null: all"
    )
    audio_tokens: int | None = Field(
        None, ge=1, description="audio window [tokens], from its beginning; null: all of it"
    )
    modalities: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        exclude=True,
        description="which of the config's modalities the model has; null: all of them",
    )


Weight = Annotated[float, Field(ge=0, le=1000)]


class Component(Section):
    """One ingredient of a mixture of alphas, drawn per sample with probability ~ ``weight``."""

    weight: Weight = Field(1.0, description="how often, beside the other weights")
    start_weight: Weight | None = Field(
        None,
        description="weight at the first step, from where it goes straight to weight at the "
        "last; null: always weight",
    )
    input_alpha: Alphas = Field(1.0, description="as in masking")
    target_alpha: Alphas = Field(1.0, description="as in masking")

    def weight_at(self, progress: float) -> float:
        """The weight when the share ``progress`` of the steps is done."""
        start = self.weight if self.start_weight is None else self.start_weight
        return start + (self.weight - start) * progress


class MaskingConfig(Section):
    """How many tokens of each modality are inputs and targets.

    Alphas below 1 concentrate a budget on few modalities. ``single_source_prob``: such an input may
    be longer than the range, and the targets are of the other modalities. ``modality_dropout``: one
    modality always keeps its inputs. ``condition_dropout``: input and targets are of one modality,
    and half of these samples have no input, as guidance compares scores with those of a model that
    sees no source. ``padded_captions`` reproduces the paper, where padding is input, target and
    paid for like any token.
    """

    input_tokens: TokenRange = Field((16, 256), description="range of input tokens")
    target_tokens: TokenRange = Field((16, 256), description="range of target tokens")
    input_alpha: Alphas = Field(
        1.0,
        description="Dirichlet alpha of the input budgets, in 0..1000, or one per modality: 0 for "
        "never, those not named have 1",
    )
    target_alpha: Alphas = Field(1.0, description="the same for the target budgets")
    mixture: tuple[Component, ...] = Field(
        (), description="several pairs of alphas, one drawn per sample, in place of the two above"
    )
    span_audio: bool = Field(True, description="audio is masked in contiguous spans of pairs")
    single_source_prob: Probability = Field(
        0.0, description="share of samples whose input is one modality, complete"
    )
    modality_dropout: Probability = Field(
        0.0, description="probability that a modality is kept out of the input"
    )
    condition_dropout: Probability = Field(
        0.0, description="share of samples without any source, for guidance; 0.1 is usual"
    )
    padded_captions: bool = Field(
        False,
        description="pad captions with [PAD] and treat padding as input and target, as published",
    )
    keyframes: int | None = Field(
        None, ge=1, le=10, description="keyframes per clip, evenly spread; null: all ten"
    )

    @model_validator(mode="after")
    def _rising(self) -> MaskingConfig:
        for name in ("input_tokens", "target_tokens"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: two whole numbers, 1 <= low <= high")
        return self

    @model_validator(mode="after")
    def _weighty(self) -> MaskingConfig:
        for when, progress in (("first", 0), ("last", 1)):
            if self.mixture and not any(c.weight_at(progress) for c in self.mixture):
                raise ValueError(f"mixture: all weights are 0 at the {when} step")
        return self

    def at(self, progress: float) -> MaskingConfig:
        """What samples are drawn from when the share ``progress`` of the steps is done; these
        settings themselves are those of the last step."""
        if all(c.start_weight is None for c in self.mixture):
            return self
        mixture = tuple(
            c.model_copy(update={"weight": c.weight_at(progress), "start_weight": None})
            for c in self.mixture
        )
        return self.model_copy(update={"mixture": mixture})

    def alphas(self, side: str, modalities: Sequence[Modality]) -> list[list[float]]:
        """Concentrations per component and modality, in order; ``side``: input or target."""
        names = [m.name for m in modalities]
        parts = self.mixture or (self,)
        return [_alphas(getattr(part, f"{side}_alpha"), names, side) for part in parts]


def _alphas(value: Alphas, names: Sequence[str], side: str) -> list[float]:
    if not isinstance(value, Mapping):
        value = dict.fromkeys(names, value)
    if unknown := sorted(set(value) - set(names)):
        raise ValueError(f"{side}_alpha: {unknown[0]!r} is no modality of the run; it has {names}")
    alphas = [float(value.get(name, 1.0)) for name in names]
    if not any(alphas):
        raise ValueError(f"{side}_alpha: at least one modality needs one above 0")
    return alphas


class ObjectiveConfig(Section):
    """What the loss is made of. The paper: one vocabulary for all, the mean over modalities."""

    per_modality_vocab: bool = Field(
        True, description="score a target over the ids of its modality only, not all 50,304"
    )
    average: Literal["modality", "token"] = Field(
        "modality", description="mean of the modalities' means, or mean over all targets"
    )


class OptimConfig(Section):
    """AdamW(0.9, 0.95) with linear warm-up and cosine decay from ``lr`` to ``min_lr``.

    ``head_lr_scale``: the table of logits starts at zero, and a short training spends most of its
    steps on learning which of the 50,304 ids occur at all. ``embedding_lr_scale``: an id is rarely
    seen, and its vector, one of random vectors of its size, has to outgrow them before a mean over
    many tokens means anything.
    """

    steps: int = Field(18311, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1, description="samples per step, over all devices")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: for the matrices of the blocks, AdamW for everything else"
    )
    lr: float = Field(1e-4, gt=0, le=1, description="peak learning rate")
    min_lr: float = Field(1e-6, ge=0, le=1, description="last learning rate")
    warmup_steps: int = Field(916, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.05, ge=0, le=10, description="decay of matrices")
    head_lr_scale: Scale = Field(
        1.0, description="learning rate of the output table, in units of lr"
    )
    embedding_lr_scale: Scale = Field(
        1.0, description="learning rate of the table of input tokens, in units of lr"
    )
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    seed: int = Field(0, ge=0, description="seed of weights, batches and masks")
    log_every: int = Field(10, ge=1, description="steps between recorded training losses")
    validate_every: int = Field(100, ge=1, description="steps between validations")

    @model_validator(mode="after")
    def _schedule(self) -> OptimConfig:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr ({self.min_lr}) is above lr ({self.lr})")
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) is above steps ({self.steps})")
        return self


class Numerics(Section):
    """How sums are computed: changes the last bits of the weights, so it is part of a run's key.

    ``mode: reference`` pads every sample to the full ranges and scores all logits at once, ``fast``
    packs them: the same batches, the same numbers up to rounding.
    """

    mode: Literal["fast", "reference"] = Field(
        "fast", description="no work on padding, or padded as published; the same numbers"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of matrix products; auto: bfloat16 on CUDA in fast mode"
    )
    threads: int = Field(
        2, ge=1, le=1024, description="CPU threads, whatever --cores is: other sums, another run"
    )


class Hardware(Section):
    """Where a run is computed; decides speed and rounding, and is no part of a run's key."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: as compute.device says, or else CUDA where there is one"
    )
    devices: int = Field(1, ge=1, le=1024, description="devices (processes) of one machine")
    shard_weights: bool = Field(
        False, description="spread weights and optimiser state over the devices (FSDP2)"
    )
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="compile the blocks on a GPU, and replay passes as CUDA graphs; auto: in fast "
        "mode, where a run is long enough",
    )
    checkpoint_every_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="least seconds between checkpoints; more where they would cost over 1 % of the "
        "run. 0: after every step, at any cost",
    )


class WatchOptions(Section):
    """What is recorded beside a run; changes nothing in it."""

    tensorboard: bool = Field(True, description="write TensorBoard events beside the run")
    wandb_project: str | None = Field(
        None, min_length=1, description="Weights & Biases project to report to; null: none"
    )
    samples_every: int | None = Field(
        None, ge=1, description="steps between images predicted for fixed validation clips"
    )


class RunSettings(Section):
    """One training run, but for its modalities, which come from the tokenizers."""

    model: ModelSize = ModelSize()
    data: DataConfig = DataConfig()
    masking: MaskingConfig = MaskingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    numerics: Numerics = Numerics()
    hardware: Hardware = Hardware()
    watch: WatchOptions = WatchOptions()

    @model_validator(mode="after")
    def _together(self) -> RunSettings:
        hardware, optim = self.hardware, self.optim
        if hardware.devices > optim.batch_size:
            raise ValueError(
                f"hardware.devices ({hardware.devices}) is above optim.batch_size "
                f"({optim.batch_size})"
            )
        if hardware.shard_weights and (optim.optimizer == "muon" or self.watch.samples_every):
            raise ValueError(
                "hardware.shard_weights: optimizer muon and watch.samples_every need whole weights"
            )
        return self


#: The sections that decide the weights of a run.
DECISIVE = {"model", "data", "masking", "objective", "optim", "numerics"}


class TrainSettings(RunSettings):
    """Everything that the training of one run is told. ``tokenizers`` names the backend that
    decodes the tokens of an image modality, for ``watch.samples_every``."""

    model: ModelConfig
    tokenizers: dict[str, str] = {}

    @model_validator(mode="after")
    def _fit_the_modalities(self) -> TrainSettings:
        for side in ("input", "target"):
            self.masking.alphas(side, self.model.modalities)
        if self.masking.single_source_prob and len(self.model.modalities) < 2:
            raise ValueError("masking.single_source_prob needs two modalities or more")
        return self

    def identity(self) -> dict[str, Any]:
        """The plain values of all that decides the weights, apart from the data."""
        return self.model_dump(mode="json", include=DECISIVE)

    def dtype_name(self, device_type: str) -> str:
        """The torch dtype of matrix products on a device: ``float32`` or ``bfloat16``."""
        if self.numerics.precision != "auto":
            return self.numerics.precision
        fast = self.numerics.mode == "fast"
        return "bfloat16" if device_type == "cuda" and fast else "float32"
