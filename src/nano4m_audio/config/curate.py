"""The sections of config.yaml about choosing clips: scores, thresholds, copies, split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model, field_validator

from nano4m_audio.errors import did_you_mean
from nano4m_audio.filters import FILTERS, LISTED, Filter
from nano4m_audio.section import Section
from nano4m_audio.taxonomy import SoundClass, known_classes

Fraction = Annotated[float, Field(ge=0, le=1)]


class AudioScore(Section):
    """Class scores of a sliding window of 3.4133 s."""

    backend: str | None = Field("mini", description="audio tagger; null switches scoring off")
    hop_s: float = Field(0.5, ge=0.1, le=3.4, description="hop of the window [s]")


class VisualScore(Section):
    """Cosine of frames with the prompt of each class."""

    backend: str | None = Field("mini", description="image-text scorer; null switches scoring off")
    frames: int = Field(10, ge=1, le=100, description="frames per clip, evenly spread")


class SpeechScore(Section):
    """Human speech segments."""

    backend: str | None = Field("silero", description="speech detector; null switches it off")


class AudioStage(AudioScore):
    """What the stage is told: of every class its AudioSet labels."""

    classes: dict[str, SoundClass] = Field(known_classes(), description="classes to score")


class VisualStage(VisualScore):
    """What the stage is told: of every class its prompts and negatives."""

    classes: dict[str, SoundClass] = Field(known_classes(), description="classes to score")


class Score(Section):
    """Models that write numbers; no threshold here."""

    audio: AudioScore = AudioScore()
    visual: VisualScore = VisualScore()
    speech: SpeechScore = SpeechScore()


#: The thresholds of all filters: each a number within its limits, or null.
_THRESHOLDS: dict[str, Any] = {
    row.key: (
        Annotated[float, Field(ge=row.limits[0], le=row.limits[1])] | None,
        Field(
            row.default,
            description=f"{'least' if row.side == 'min' else 'largest'} {row.number}{row.in_unit}",
        ),
    )
    for row in LISTED
}


class Verdict(create_model("Thresholds", __base__=Section, **_THRESHOLDS)):  # type: ignore[misc]
    """Thresholds; null switches a filter off. Cheap to change: only what really changed reruns."""

    keyframes_span: Literal["window", "clip"] = Field(
        "window", description="ten keyframes inside the audio window, or spread over the clip"
    )

    per_class: dict[str, dict[str, float | None]] = Field(
        {}, description="thresholds of single classes, such as {cat: {audio_min: 0.2}}"
    )

    @field_validator("per_class")
    @classmethod
    def _known_thresholds(
        cls, value: dict[str, dict[str, float | None]]
    ) -> dict[str, dict[str, float | None]]:
        rows = {row.key: row for row in FILTERS}
        for name, limits in value.items():
            for key, limit in limits.items():
                if key not in rows:
                    raise ValueError(f"{name}.{key}: unknown key{did_you_mean(key, rows)}")
                low, high = rows[key].limits
                if limit is not None and not low <= limit <= high:
                    raise ValueError(f"{name}.{key} = {limit:g}: from {low:g} to {high:g}")
        return value

    def threshold(self, row: Filter, class_name: str = "") -> float | None:
        """The threshold of a filter, for the clips of a class; None: the filter is off."""
        return self.per_class.get(class_name, {}).get(row.key, getattr(self, row.key))

    def limits(self, class_name: str = "") -> dict[str, float | None]:
        """The thresholds of all filters, by key, for the clips of a class."""
        return {row.key: self.threshold(row, class_name) for row in FILTERS}

    def is_on(self, row: Filter) -> bool:
        """Whether the filter has a threshold, if only for some class."""
        own = [limits[row.key] for limits in self.per_class.values() if row.key in limits]
        return any(limit is not None for limit in (getattr(self, row.key), *own))


class Duplicates(Section):
    """What counts as a copy. Picture and sound must both agree."""

    picture_min: Fraction = Field(0.90, description="least cosine of two picture fingerprints")
    sound_min: Fraction = Field(
        0.88, gt=0, description="least correlation of two sound fingerprints"
    )
    keep: Literal["one", "all"] = Field("one", description="keep the best copy, or all of them")


class Split(Section):
    """Stratified by class and source; a group never crosses splits."""

    fractions: tuple[float, float, float] = Field(
        (0.8, 0.1, 0.1), description="shares of train, val, test; they sum to 1"
    )
    seed: int = Field(0, ge=0, description="seed of the assignment")
    unit: Literal["group", "clip"] = Field(
        "group", description="group: same video or duplicates stay together; clip: as the paper did"
    )
    duplicates: Duplicates = Duplicates()

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-6 or min(value) < 0:
            raise ValueError("three shares of at least 0 that sum to 1")
        return value


class ProofSettings(Section):
    """What the stage ``proof`` is told: what the tables must hold to."""

    verdict: Verdict = Verdict()
    split: Split = Split()
