"""The sections of config.yaml about tokenizers: which, how they are trained and measured."""

from __future__ import annotations

from math import prod
from string import Formatter
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from nano4m_audio.section import Section
from nano4m_audio.taxonomy import SoundClass, known_classes

Picture = Literal["rgb", "depth", "normals"]
PICTURES: tuple[Picture, ...] = get_args(Picture)


class Tokenize(Section):
    """Tokenizer per modality."""

    rgb: str = Field(
        "mini", description="image tokenizer of the keyframes; trained:NAME is one of tokenizers"
    )
    depth: str = Field("mini", description="image tokenizer of the depth maps")
    normals: str = Field("mini", description="image tokenizer of the normal maps")
    audio: str = Field("mini", description="audio codec")
    caption: str = Field("gpt2", description="text tokenizer")
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


class Captions(Section):
    """What the caption stage is told: the template, and of every class its caption."""

    caption_template: str = "{caption}"
    classes: dict[str, SoundClass] = Field(known_classes(), description="classes with captions")


class Tokenizer(Section):
    """An image tokenizer trained on the run's own training clips: ``snakemake tokenizers``."""

    modality: Picture = Field(description="what it tokenizes: rgb, depth or normals")
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


_COARSE, _STEPS = (4, 4, 4, 4, 4), 1500
TOKENIZERS = {
    "rgb": Tokenizer(modality="rgb"),
    "depth": Tokenizer(modality="depth", levels=_COARSE, width=25, steps=_STEPS),
    "normals": Tokenizer(modality="normals", levels=_COARSE, width=30, steps=_STEPS),
}


class Quality(Section):
    """Fidelity of the tokenizers in use, on held-out keyframes of the run."""

    frames: int = Field(
        64, ge=0, description="keyframes to encode and decode, of different clips; 0: measure none"
    )
    examples: int = Field(4, ge=0, le=16, description="keyframes shown beside their decodings")
    rgb: tuple[str, ...] = Field((), description="further RGB tokenizers to measure, by name")
    depth: tuple[str, ...] = Field((), description="further depth tokenizers to measure")
    normals: tuple[str, ...] = Field((), description="further normals tokenizers to measure")


class Mini(Section):
    """The recipe of the mini family, for ``snakemake mini``; no other rule reads it."""

    seed: int = Field(1000, ge=0, description="first barnyard seed of the training data")
    views: int = Field(7040, ge=1, description="pictures to train on")
    sounds: int = Field(6050, ge=1, description="sounds to train on")
    steps: int | None = Field(None, ge=1, description="steps of every member; null: its recipe's")
    card_views: int = Field(440, ge=11, description="unseen pictures to measure on")
    card_sounds: int = Field(440, ge=11, description="unseen sounds to measure on")
