"""The schema of one experiment: the sections of the training engine, and presets of values."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from pydantic import Field, model_validator

from nano4m_audio.config.grids import overlaid
from nano4m_audio.errors import did_you_mean
from nano4m_audio.files import data_yaml
from nano4m_audio.nano4m.settings import RunSettings
from nano4m_audio.section import Section


@cache
def presets() -> dict[str, dict[str, Any]]:
    """The experiments of presets.yaml, by name, as plain values."""
    text = resources.files("nano4m_audio.config").joinpath("presets.yaml").read_text("utf-8")
    return data_yaml(text)


class Experiment(RunSettings):
    """One training run, as config.yaml describes it."""

    preset: str | tuple[str, ...] | None = Field(
        None,
        exclude=True,
        description=f"start from these values of presets.yaml: {', '.join(presets())}, or a list, "
        "each laid over the one before; null: none",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or (preset := values.get("preset")) is None:
            return values
        start: dict[str, Any] = {}
        for name in preset if isinstance(preset, list | tuple) else [preset]:
            if str(name) not in presets():
                raise ValueError(f"preset: {name!r} is unknown{did_you_mean(name, presets())}")
            start = overlaid(start, presets()[name])
        return overlaid(start, {**values, "preset": None})


def run_keys() -> list[str]:
    """Every key that a grid may vary, with its section: model.dim, optim.lr, ..."""
    return [
        f"{name}.{key}" for name, section in RunSettings() for key in type(section).model_fields
    ]


class Grid(Section):
    """Every combination of some values, each an experiment; see grids.py for the names."""

    base: str = Field("base", description="the experiment whose values are varied")
    vary: dict[str, list[Any]] = Field(description="dotted key of an experiment -> its values")
