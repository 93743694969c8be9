"""The sections of config.yaml about labels and tokenizers: which, how trained and measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil, prod
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, create_model, field_validator, model_validator

from nano4m_audio.backends.registry import REGISTRY, get_spec
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.modalities import IMAGES, LABELS, MODALITIES, WINDOW_S
from nano4m_audio.section import Section
from nano4m_audio.taxonomy import SoundClass, known_classes


def one_of(names: Iterable[str]) -> AfterValidator:
    """Accepts these names only."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}{did_you_mean(value, names)}")
        return value

    return AfterValidator(check)


ImageName = Annotated[str, one_of(IMAGES)]


class Labels(Section):
    """Pseudo-labels of the keyframes."""


class Templates(Section):
    """Tokenizer per modality."""

    caption_template: str = Field(
        "{caption}", description="caption of a clip; {caption} and {class} are replaced"
    )

    @field_validator("caption_template")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        try:
            names = {field for _, field, _, _ in Formatter().parse(value) if field is not None}
        except ValueError:
            names = {""}
        if names - {"caption", "class"}:
            raise ValueError("text with {caption} and {class} as its only fields")
        return value


class Measured(Section):
    """Fidelity of the tokenizers in use, on held-out keyframes of the run."""

    frames: int = Field(
        64, ge=0, description="keyframes to encode and decode, of different clips; 0: measure none"
    )
    examples: int = Field(4, ge=0, le=16, description="keyframes shown beside their decodings")


def _keys(base: type[Section], kind: Any, defaults: Mapping[str, Any], about: str) -> Any:
    """``base`` with a key for each of these modalities."""
    keys: dict[str, Any] = {
        name: (kind, Field(default, description=f"{about} of the {MODALITIES[name].about}"))
        for name, default in defaults.items()
    }
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **keys)


_NEEDED = {name: row.default for name, row in MODALITIES.items() if not row.optional}
_OPTIONAL = [name for name, row in MODALITIES.items() if row.optional]
if TYPE_CHECKING:
    Label: TypeAlias = Any
    Tokenize: TypeAlias = Any
    Quality: TypeAlias = Any
else:  # keys of a table, which a type checker cannot know
    Label = _keys(Labels, str, dict.fromkeys(LABELS, "mini"), "estimator")
    Tokenize = _keys(
        _keys(Templates, str, _NEEDED, "tokenizer"),
        str | None,
        dict.fromkeys(_OPTIONAL),
        "null: runs are without it; tokenizer",
    )
    Quality = _keys(
        Measured, tuple[str, ...], dict.fromkeys(IMAGES, ()), "names of more tokenizers"
    )


class Tokenizer(Section):
    """An image tokenizer trained on the run's own training clips: ``snakemake tokenizers``."""

    modality: ImageName = Field(description=f"what it tokenizes: {', '.join(IMAGES)}")
    levels: tuple[Annotated[int, Field(ge=2, le=256)], ...] = Field(
        (8, 8, 8, 8), description="bins per code dimension; their product is the vocabulary"
    )
    width: int = Field(40, ge=5, le=256, multiple_of=5, description="channels; all widths scale")
    steps: int = Field(2000, ge=1, description="optimiser steps")
    batch_size: int = Field(16, ge=2, description="crops per step")
    lr: float = Field(3e-3, gt=0, le=1, description="peak learning rate")
    frames: int = Field(4000, ge=1, description="most keyframes to train on; each takes 0.3 MB")
    seed: int = Field(0, ge=0, description="seed of weights, crops and batches")
    threads: int = Field(
        2, ge=1, le=1024, description="CPU threads, whatever --cores is: other sums, other weights"
    )

    @field_validator("levels")
    @classmethod
    def _fits(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(value) <= 16 or prod(value) > 65536:
            raise ValueError("1 to 16 whole numbers, with a product (the vocabulary) <= 65536")
        return value

    @property
    def vocab_size(self) -> int:
        return prod(self.levels)


class Semantic(Section):
    """Semantic sound tokens, ``tokenize.semantic: trained:NAME``: the clusters, found in this run's
    own training clips, of what a model hears in each moment. No waveform is in them: a model that
    writes them first writes the codes of ``audio`` after them."""

    features: str = Field(
        "mini",
        description=f"what hears: {', '.join(REGISTRY['sound_features'])}; log_mel is no model",
    )
    vocab_size: int = Field(256, ge=2, le=8192, description="clusters: ids of the modality")
    rate_hz: float = Field(
        6.25, gt=0.5, le=50, description="ids a second, at most as many as the features have"
    )
    clips: int = Field(5000, ge=1, description="most training clips to cluster")
    seed: int = Field(0, ge=0, description="seed of the first clusters")

    @field_validator("features")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            get_spec("sound_features", value, "features")
        except UserError as error:
            raise ValueError(str(error).partition(": ")[2]) from None
        return value

    @model_validator(mode="after")
    def _heard(self) -> Semantic:
        most = get_spec("sound_features", self.features).rate_hz
        if self.rate_hz > most:
            raise ValueError(
                f"rate_hz = {self.rate_hz:g}: {self.features} hears {most:g} moments a second"
            )
        return self

    @property
    def n_tokens(self) -> int:
        """Ids of an audio window, the last of them for what is left of it."""
        return ceil(WINDOW_S * self.rate_hz - 1e-6)


_COARSE, _STEPS = (4, 4, 4, 4, 4), 1500
TOKENIZERS = {
    "rgb": Tokenizer(modality="rgb"),
    "depth": Tokenizer(modality="depth", levels=_COARSE, width=25, steps=_STEPS),
    "normals": Tokenizer(modality="normals", levels=_COARSE, width=30, steps=_STEPS),
}


# What the stages of one modality are told, each in a settings file of its own.


class LabelSettings(Section):
    """Estimate the maps of a modality, and with it those of others by the same network."""

    modality: Annotated[str, one_of(LABELS)]
    backend: str = "mini"
    beside: dict[Annotated[str, one_of(LABELS)], str] = Field(
        {}, description="modalities made in the same pass, with their estimators"
    )


class TokenizeSettings(Templates):
    """Turn a modality of the selected clips into tokens."""

    modality: Annotated[str, one_of(MODALITIES)]
    backend: str
    classes: dict[str, SoundClass] = Field(known_classes(), description="classes with captions")

    @model_validator(mode="before")
    @classmethod
    def _default_backend(cls, values: Any) -> Any:
        row = MODALITIES.get(values.get("modality", "")) if isinstance(values, dict) else None
        return {"backend": row.default, **values} if row else values


class QualitySettings(Measured):
    """Measure a tokenizer; how intervals are drawn is as in the section evaluate."""

    modality: ImageName
    backend: str = "mini"
    bootstrap: int = Field(1000, ge=100, le=100_000)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    seed: int = Field(0, ge=0)


class Mini(Section):
    """The recipe of the mini family, for ``snakemake mini``; no other rule reads it."""

    seed: int = Field(1000, ge=0, description="first barnyard seed of the training data")
    views: int = Field(7040, ge=1, description="pictures to train on")
    sounds: int = Field(6050, ge=1, description="sounds to train on")
    steps: int | None = Field(None, ge=1, description="steps of every member; null: its recipe's")
    card_views: int = Field(440, ge=11, description="unseen pictures to measure on")
    card_sounds: int = Field(440, ge=11, description="unseen sounds to measure on")
