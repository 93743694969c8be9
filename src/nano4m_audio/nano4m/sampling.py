"""How tokens are drawn when a modality is generated: every key with its meaning and range."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nano4m_audio.section import Section


class Sampling(Section):
    """In which order positions are filled, and how their ids are drawn."""

    scheme: Literal["maskgit", "roar"] = Field(
        "maskgit", description="maskgit: the surest positions first; roar: in random order"
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="positions per step: few at first, or equally many"
    )
    order: Literal["scheme", "halton"] = Field(
        "scheme",
        description="halton: evenly spread over the picture, whatever the scheme",
    )
    steps: int = Field(
        8, ge=1, le=4096, description="passes of the model per modality; a text takes one per piece"
    )
    temperature: float = Field(1.0, ge=0, le=10, description="0: always the most likely id")
    top_k: int = Field(0, ge=0, description="draw from so many most likely ids; 0: from all")
    top_p: float = Field(0.0, ge=0, le=1, description="draw from the most likely ids of this sum")
    guidance: float = Field(
        0.0,
        ge=0,
        le=20,
        description="classifier-free guidance: how far scores go beyond those without the source",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of what is drawn")
