"""What a training run is made of, as plain dataclasses. No heavy imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

#: A Dirichlet concentration for all modalities, or one per modality name.
Alphas = float | Mapping[str, float]


@dataclass(frozen=True)
class Modality:
    """One kind of token.

    ``max_tokens`` is the longest sequence. With ``span_stride`` s, inputs and targets are one
    contiguous span aligned to multiples of s (audio codebooks interleaved s at a time); without it
    they are random positions. ``pad_id`` is what fills up a short sequence when
    ``MaskingConfig.padded_captions`` asks for it.
    """

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


#: How weights start, see ModelConfig.
INITS = ("paper", "scaled")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the FourM encoder-decoder; one shared table for all modalities' ids.

    ``init`` is the scale of the weights at the start. ``paper``: all normal(0, 0.02), far below the
    position table (0.7), so that a narrow model needs thousands of steps to look at its input.
    ``scaled``: embeddings normal(0, 1), linear layers normal(0, 1 / sqrt(dim)).
    """

    modalities: tuple[Modality, ...]
    dim: int = 512
    enc_depth: int = 6
    dec_depth: int = 6
    head_dim: int = 64
    mlp_ratio: float = 4.0
    init: str = "paper"

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ValueError("modalities: at least one is needed")
        if self.dim % self.head_dim or self.dim % 2:
            raise ValueError(
                f"dim {self.dim} must be even and a multiple of head_dim {self.head_dim}"
            )
        if self.enc_depth < 1 or self.dec_depth < 1:
            raise ValueError("enc_depth and dec_depth must be at least 1")
        _check_choice("init", self.init, INITS)

    @property
    def vocab_size(self) -> int:
        """Rows of the shared embedding and output tables."""
        return max(m.vocab_size for m in self.modalities)

    @property
    def max_positions(self) -> int:
        """Rows of the shared position table."""
        return max(m.max_tokens for m in self.modalities)


@dataclass(frozen=True)
class Component:
    """One ingredient of a mixture of alphas, drawn per sample with probability ~ ``weight``."""

    weight: float = 1.0
    input_alphas: Alphas = 1.0
    target_alphas: Alphas = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"mixture: weight {self.weight} must be above 0")


#: The values of MaskingConfig that a curriculum may change from step to step.
CURRICULUM_KEYS = ("single_source_prob", "modality_dropout")


@dataclass(frozen=True)
class MaskingConfig:
    """How many tokens of each modality are shown and asked for.

    The ranges are inclusive counts over all modalities together. Alphas below 1 concentrate a
    budget on few modalities. ``mixture`` replaces the two alphas by several pairs, one drawn per
    sample.

    ``single_source_prob`` is the share of samples whose input is one modality, complete, and whose
    targets are the others; such an input may be longer than the range. ``modality_dropout`` is the
    probability that a modality gets no input tokens (one always keeps its own). ``curriculum`` maps
    either to points (step, value), joined by straight lines.

    ``padded_captions`` reproduces the paper: a short caption is filled up with its ``pad_id``, and
    that padding is shown, asked for and paid for like any token. ``keyframes``: how many keyframes
    of a clip are used, evenly spread; None for all.
    """

    input_tokens_range: tuple[int, int] = (16, 256)
    target_tokens_range: tuple[int, int] = (16, 256)
    input_alphas: Alphas = 1.0
    target_alphas: Alphas = 1.0
    mixture: tuple[Component, ...] = ()
    single_source_prob: float = 0.0
    modality_dropout: float = 0.0
    curriculum: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    padded_captions: bool = False
    keyframes: int | None = None

    def __post_init__(self) -> None:
        for key in ("input_tokens_range", "target_tokens_range"):
            low, high = getattr(self, key)
            object.__setattr__(self, key, (int(low), int(high)))
            if not 1 <= low <= high:
                raise ValueError(f"{key} [{low}, {high}] must be 1 <= low <= high")
        parts = (c if isinstance(c, Component) else Component(**c) for c in self.mixture)
        object.__setattr__(self, "mixture", tuple(parts))
        for key, points in self.curriculum.items():
            _check_curriculum(key, points)
        if self.keyframes is not None and self.keyframes < 1:
            raise ValueError(f"keyframes must be at least 1, not {self.keyframes}")
        for key in CURRICULUM_KEYS:
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must be in 0..1, not {getattr(self, key)}")

    def at(self, step: int) -> MaskingConfig:
        """The masking of one training step: the curriculum's values in place, no curriculum."""
        if not self.curriculum:
            return self
        values: dict[str, Any] = {
            key: _interpolate(points, step) for key, points in self.curriculum.items()
        }
        return replace(self, curriculum={}, **values)

    def components(self) -> tuple[Component, ...]:
        """The mixture, or the one pair of alphas as a mixture of one."""
        return self.mixture or (Component(1.0, self.input_alphas, self.target_alphas),)

    def alphas(self, which: str, modalities: Sequence[Modality]) -> list[list[float]]:
        """Concentrations per component and modality, in order; ``which``: input or target."""
        names = [m.name for m in modalities]
        return [_alphas(getattr(c, f"{which}_alphas"), names, which) for c in self.components()]


def _alphas(value: Alphas, names: Sequence[str], which: str) -> list[float]:
    if not isinstance(value, Mapping):
        return [float(value)] * len(names)
    if sorted(value) != sorted(names):
        raise ValueError(f"{which}_alphas must name exactly {list(names)}, not {sorted(value)}")
    return [float(value[name]) for name in names]


def _check_curriculum(key: str, points: Sequence[Sequence[float]]) -> None:
    if key not in CURRICULUM_KEYS:
        raise ValueError(f"curriculum: {key!r} is not one of {list(CURRICULUM_KEYS)}")
    steps = [point[0] for point in points]
    pairs = steps and all(len(point) == 2 and 0 <= point[1] <= 1 for point in points)
    if not pairs or steps != sorted(set(steps)):
        raise ValueError(f"curriculum.{key}: points (step, 0..1) with rising steps are needed")


def _interpolate(points: Sequence[Sequence[float]], step: int) -> float:
    """Straight lines between the points; the first and the last value hold outside of them."""
    import numpy as np

    return float(np.interp(step, [p[0] for p in points], [p[1] for p in points]))


#: ``muon``: torch.optim.Muon for the matrices of the blocks, AdamW for everything else.
OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW(0.9, 0.95) with linear warm-up and cosine decay from ``lr`` to ``min_lr``.

    ``head_lr_scale`` times that for the table of logits: it starts at zero, and a short training
    spends most of its steps on learning which of the 50,304 ids occur at all.
    ``embedding_lr_scale`` is the same for the table of input tokens: an id is rarely seen, and its
    vector, one of random vectors of its size, has to outgrow them before a mean over many tokens
    means anything.
    """

    steps: int = 1000
    batch_size: int = 32
    lr: float = 1e-3
    min_lr: float = 1e-6
    warmup_steps: int = 50
    weight_decay: float = 0.05
    head_lr_scale: float = 1.0
    embedding_lr_scale: float = 1.0
    clip_norm: float = 1.0
    seed: int = 0
    log_every: int = 10
    eval_every: int = 50
    optimizer: str = "adamw"

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "log_every", "eval_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        for key in ("head_lr_scale", "embedding_lr_scale"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0, not {getattr(self, key)}")
        if not 0 <= self.min_lr <= self.lr or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError("0 <= min_lr <= lr and 0 <= warmup_steps <= steps must hold")
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)


#: ``unified``: each target is scored over all ids of the shared table (the paper).
#: ``own_ids``: each target is scored over the ids of its own modality only.
LOSS_MODES = ("own_ids", "unified")
#: ``modality``: the mean over modalities of their mean (the paper). ``token``: one mean.
AVERAGES = ("modality", "token")
#: ``reference``: every sample padded to the full ranges, all logits at once. ``fast``: packed.
#: Same batches, same numbers up to rounding.
MODES = ("fast", "reference")
#: ``auto``: bfloat16 on CUDA in fast mode, float32 otherwise.
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the weights of a run, apart from the data, the device and the
    thread count."""

    model: ModelConfig
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: str = "own_ids"
    average: str = "modality"
    mode: str = "fast"
    precision: str = "auto"

    def __post_init__(self) -> None:
        _check_choice("loss", self.loss, LOSS_MODES)
        _check_choice("average", self.average, AVERAGES)
        _check_choice("mode", self.mode, MODES)
        _check_choice("precision", self.precision, PRECISIONS)
        for which in ("input", "target"):
            self.masking.alphas(which, self.model.modalities)
        masking = self.masking
        single = masking.single_source_prob > 0 or "single_source_prob" in masking.curriculum
        if single and len(self.model.modalities) < 2:
            raise ValueError("single_source_prob needs two modalities or more")

    def dtype_name(self, device_type: str) -> str:
        """The torch dtype of matrix products on a device: ``float32`` or ``bfloat16``."""
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if device_type == "cuda" and self.mode == "fast" else "float32"


@dataclass(frozen=True)
class Hardware:
    """Where a run is computed; decides nothing but speed and rounding.

    ``device`` is auto (CUDA if there is one), cpu or cuda. ``devices`` processes train together;
    with ``sharded`` they also share the weights and the optimiser's state (FSDP2). ``compiled``
    (True, False or auto) runs torch.compile on the blocks, on a GPU only. ``deterministic`` makes a
    GPU repeat itself to the bit. A kill costs at most the work of ``checkpoint_every_s``, or of a
    hundred times what a checkpoint costs.
    """

    device: str = "auto"
    devices: int = 1
    threads: int = 1
    sharded: bool = False
    compiled: bool | str = False
    deterministic: bool = False
    checkpoint_every_s: float = 30.0

    def __post_init__(self) -> None:
        _check_choice("device", self.device, ("auto", "cpu", "cuda"))
        if self.compiled not in (True, False, "auto"):
            raise ValueError(f"compiled: true, false or auto, not {self.compiled!r}")
        if self.devices < 1 or self.threads < 1:
            raise ValueError("devices and threads must be at least 1")


def _check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{key}: {value!r} is not one of {list(choices)}")


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """Build a ModelConfig from plain values, as ``dataclasses.asdict`` gives them.

    Raises ValueError for a wrong value, TypeError for an unknown or absent key.
    """
    modalities = tuple(Modality(**m) for m in values["modalities"])
    return ModelConfig(**{**values, "modalities": modalities})
