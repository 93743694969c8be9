"""The modalities, one row each: schemas, config, commands, engine, report and interchange read it.

A new modality is a new row. Of kind ``image`` with an ``estimator`` it is a pseudo-label of the
keyframes, stored in one of label.maps.FORMS. Its tokenizer's BackendSpec says how many tokens a
clip has.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

#: Keyframes of a clip: rows of its image tokens.
KEYFRAMES = 10
#: Length of the audio window [s]: 256 codec frames of 320 samples at 24 kHz.
WINDOW_S = 81_920 / 24_000


@dataclass(frozen=True)
class ModalitySpec:
    """What the pipeline knows of a modality.

    ``about`` completes "tokenizer of the ...". ``tokenizer`` and ``estimator`` are kinds of
    backends; a modality without estimator is made from the clip itself. ``form`` is how its maps
    are stored, beside float columns (name, meaning). ``published`` is its folder in the published
    layout. A modality without ``default`` is optional: a run has it where the config names its
    tokenizer. What is made from something else is made ``after`` these, where a model has them.
    """

    name: str
    kind: Literal["image", "audio", "text"]
    title: str
    about: str
    tokenizer: str
    published: str
    default: str = "mini"
    estimator: str = ""
    form: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()

    @property
    def optional(self) -> bool:
        """Whether runs may be without it."""
        return not self.default

    @property
    def source(self) -> str:
        """The artifact that its tokens are made from."""
        return f"labels/{self.name}" if self.estimator else "clips"

    @property
    def rows(self) -> int:
        """Sequences of tokens per clip."""
        return KEYFRAMES if self.kind == "image" else 1


_TABLE = (
    ModalitySpec("rgb", "image", "Picture", "keyframes", "rgb_tokenizer", "tok_rgb@196"),
    ModalitySpec(
        "audio",
        "audio",
        "Sound",
        "audio window",
        "audio_tokenizer",
        "tok_audio@512",
        after=("semantic",),
    ),
    ModalitySpec(
        "semantic",
        "audio",
        "Sound, semantic",
        "audio window, as clusters of its features",
        "semantic_tokenizer",
        "tok_semantic@22",
        default="",
    ),
    ModalitySpec(
        "depth",
        "image",
        "Depth",
        "depth maps",
        "depth_tokenizer",
        "tok_depth@196",
        estimator="depth_estimator",
        form="depth",
        columns=(
            ("lowest", "least inverse depth of each map, stored as 0"),
            ("highest", "greatest inverse depth of each map, stored as 65,535"),
        ),
    ),
    ModalitySpec(
        "normals",
        "image",
        "Normals",
        "normal maps",
        "normal_tokenizer",
        "tok_normal@196",
        estimator="normal_estimator",
        form="normals",
    ),
    ModalitySpec(
        "caption", "text", "Caption", "caption", "text_tokenizer", "scene_desc", default="gpt2"
    ),
)

#: By name, in the order of the engine; of the optional ones a run has those that its config names.
MODALITIES = {row.name: row for row in _TABLE}


def route(target: str, known: Collection[str], given: str) -> list[str]:
    """What a model of ``known`` modalities writes, in order, to make ``target`` from ``given``."""
    before = [name for name in MODALITIES[target].after if name in known and name != given]
    return [*before, target]


#: Modalities of kind image, and those of them that are estimated from RGB.
IMAGES = tuple(row.name for row in _TABLE if row.kind == "image")
LABELS = tuple(row.name for row in _TABLE if row.estimator)
PUBLISHED_NAMES = {row.name: row.published for row in _TABLE}
