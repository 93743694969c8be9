"""``--config verdict.audio_min=0.5``: dotted keys on Snakemake's command line.

``nano4m-audio config`` and every error name keys this way; Snakemake itself takes keys of the top
level only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

import yaml

from nano4m_audio.config.plain import admits_text
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError, dotted, shown
from nano4m_audio.section import Section
from nano4m_audio.yaml_text import check_yaml

FORM = "KEY=VALUE, such as verdict.audio_min=0.5"


def read_entries(
    entries: Sequence[str], read_plain: Callable[[list[str]], dict[str, Any]]
) -> dict[str, Any]:
    """The nested config of ``--config`` entries. ``read_plain`` reads an entry without dots.

    Raises UserError for what is not KEY=VALUE, and for two entries that contradict each other.
    """
    out: dict[str, Any] = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        steps = key.split(".")
        if not equals or not all(step.isidentifier() for step in steps):
            raise UserError(f"--config {shown(entry)}: {FORM}")
        if len(steps) > 1:
            value = _value(steps, text)
            for step in reversed(steps):
                value = {step: value}
        else:
            try:
                check_yaml(text, f"--config {key}")
                value = read_plain([entry])
            except (ValueError, RecursionError) as error:
                raise UserError(f"--config {shown(entry)}: {FORM} ({error})") from None
        _merge(out, value, ())
    return out


def _value(steps: Sequence[str], text: str) -> Any:
    """Where the schema wants text, the text as it is; elsewhere YAML, with scalars left as text."""
    annotation: Any = Config
    for step in steps:
        annotation = _inside(annotation, step)
    if admits_text(annotation):
        return text
    try:
        check_yaml(text, f"--config {'.'.join(steps)}")
        return yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return text


def _inside(annotation: Any, step: str) -> Any:
    """The annotation of the value that ``step`` names; Any where the schema does not say."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        field = annotation.model_fields.get(step)
        return field.annotation if field else Any
    return get_args(annotation)[1] if get_origin(annotation) is dict else Any


def _merge(out: dict[str, Any], more: dict[str, Any], path: tuple[str, ...]) -> None:
    for key, value in more.items():
        if key not in out:
            out[key] = value
        elif isinstance(out[key], dict) and isinstance(value, dict):
            _merge(out[key], value, (*path, key))
        elif out[key] != value:
            name = dotted((*path, key))
            raise UserError(
                f"--config: {name} is given twice: {shown(out[key])} and {shown(value)}"
            )
