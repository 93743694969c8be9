"""What a training run is made of, as plain dataclasses. No heavy imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: A Dirichlet concentration for all modalities, or one per modality name.
Alphas = float | Mapping[str, float]


@dataclass(frozen=True)
class Modality:
    """One kind of token.

    ``max_tokens`` is the longest sequence. With ``span_stride`` s, inputs and targets are one
    contiguous span aligned to multiples of s (audio codebooks interleaved s at a time); without it
    they are random positions.
    """

    name: str
    vocab_size: int
    max_tokens: int
    span_stride: int | None = None

    def __post_init__(self) -> None:
        if self.vocab_size < 1 or self.max_tokens < 1:
            raise ValueError(f"modality {self.name}: vocab_size and max_tokens must be at least 1")
        if self.span_stride is not None and not 1 <= self.span_stride <= self.max_tokens:
            raise ValueError(f"modality {self.name}: span_stride must be in 1..{self.max_tokens}")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the FourM encoder-decoder; one shared table for all modalities' ids.

    ``embedding_std`` is the scale of the embeddings at the start. The paper's 0.02 is far below the
    position table (0.7), and a short training hardly learns which token it sees; near 1, it does.
    """

    modalities: tuple[Modality, ...]
    dim: int = 512
    enc_depth: int = 6
    dec_depth: int = 6
    head_dim: int = 64
    mlp_ratio: float = 4.0
    embedding_std: float = 0.02

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ValueError("modalities: at least one is needed")
        if self.dim % self.head_dim or self.dim % 2:
            raise ValueError(
                f"dim {self.dim} must be even and a multiple of head_dim {self.head_dim}"
            )
        if self.enc_depth < 1 or self.dec_depth < 1:
            raise ValueError("enc_depth and dec_depth must be at least 1")

    @property
    def vocab_size(self) -> int:
        """Rows of the shared embedding and output tables."""
        return max(m.vocab_size for m in self.modalities)

    @property
    def max_positions(self) -> int:
        """Rows of the shared position table."""
        return max(m.max_tokens for m in self.modalities)


@dataclass(frozen=True)
class MaskingConfig:
    """How many tokens of each modality are shown and asked for.

    The ranges are inclusive counts over all modalities together. Alphas below 1 concentrate a
    budget on few modalities, so that inputs from nearly one source are seen in training.
    """

    input_tokens_range: tuple[int, int] = (16, 256)
    target_tokens_range: tuple[int, int] = (16, 256)
    input_alphas: Alphas = 1.0
    target_alphas: Alphas = 1.0

    def __post_init__(self) -> None:
        for key in ("input_tokens_range", "target_tokens_range"):
            low, high = getattr(self, key)
            object.__setattr__(self, key, (int(low), int(high)))
            if not 1 <= low <= high:
                raise ValueError(f"{key} [{low}, {high}] must be 1 <= low <= high")

    def alphas(self, which: str, modalities: Sequence[Modality]) -> list[float]:
        """Concentrations in the order of ``modalities``; ``which`` is ``input`` or ``target``."""
        key = f"{which}_alphas"
        value = getattr(self, key)
        if not isinstance(value, Mapping):
            return [float(value)] * len(modalities)
        names = [m.name for m in modalities]
        if sorted(value) != sorted(names):
            raise ValueError(f"{key} must name exactly {names}, not {sorted(value)}")
        return [float(value[name]) for name in names]


@dataclass(frozen=True)
class OptimConfig:
    """AdamW(0.9, 0.95) with linear warm-up and cosine decay from ``lr`` to ``min_lr``."""

    steps: int = 1000
    batch_size: int = 32
    lr: float = 1e-3
    min_lr: float = 1e-6
    warmup_steps: int = 50
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    seed: int = 0
    log_every: int = 10
    eval_every: int = 50

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "log_every", "eval_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        if not 0 <= self.min_lr <= self.lr or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError("0 <= min_lr <= lr and 0 <= warmup_steps <= steps must hold")


#: ``unified``: each target is scored over all ids of the shared table (the paper).
#: ``own_ids``: each target is scored over the ids of its own modality only.
LOSS_MODES = ("own_ids", "unified")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the weights of a run, apart from the data and the thread count."""

    model: ModelConfig
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: str = "own_ids"

    def __post_init__(self) -> None:
        if self.loss not in LOSS_MODES:
            raise ValueError(f"loss: {self.loss!r} is not one of {list(LOSS_MODES)}")
        for which in ("input", "target"):
            self.masking.alphas(which, self.model.modalities)


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """Build a ModelConfig from plain values, as ``dataclasses.asdict`` gives them.

    Raises ValueError for a wrong value, TypeError for an unknown or absent key.
    """
    modalities = tuple(Modality(**m) for m in values["modalities"])
    return ModelConfig(**{**values, "modalities": modalities})
