"""Reading a config: YAML or JSON into the schema, and every error as one line.

Snakemake validates the whole file once; each stage receives the JSON of the one section that
changes its output and validates it again with the same model, so a command pasted by hand meets
the same checks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nano4m_audio.config import Config
from nano4m_audio.config.base import Section
from nano4m_audio.errors import UserError, did_you_mean

_Model = TypeVar("_Model", bound=BaseModel)


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The known keys of the section that holds the last element of ``path``."""
    here: Any = model
    for step in path[:-1]:
        fields = here.model_fields
        if step in fields:  # otherwise a name of the user's choice, as in experiments.NAME
            here = next((m for m in _members(fields[step].annotation) if _is_section(m)), here)
    return list(here.model_fields)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _members(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", None)
    return [m for a in arguments for m in _members(a)] if arguments else [annotation]


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """One line for the first problem of a validation: key, value, what is allowed, a suggestion."""
    problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    path = tuple(p for p in problem["loc"] if p != "[key]")
    key = ".".join(str(p) for p in path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, path)
        hint = did_you_mean(str(path[-1]), known) or f" (known: {', '.join(known)})"
        return f"{where}: {key}: unknown key{hint}{more}"
    if problem["type"] == "missing":
        return f"{where}: {key}: this key is required{more}"
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(problem["input"], dict | BaseModel) else f" = {problem['input']!r}"
    return f"{where}: {key}{shown}: {message}{more}" if key else f"{where}: {message}{more}"


def parse(model: type[_Model], values: Any, where: str) -> _Model:
    """Validate plain values. Raises UserError with one line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, model, where)) from None


def parse_json(model: type[_Model], text: str, where: str = "--settings") -> _Model:
    """Validate the JSON of one section, as stage commands receive it."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    return parse(model, values, where)


def parse_workflow(values: Any) -> Config:
    """Validate what Snakemake hands over. Raises UserError with one line.

    Numbers inside ``--config 'verdict={audio_min: 0.4}'`` arrive as strings; they are read as YAML
    when the values are wrong as they are and right after that.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        try:
            return Config.model_validate(_read_scalars(values))
        except ValidationError:
            raise UserError(explain(error, Config, "config")) from None


def _read_scalars(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _read_scalars(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_read_scalars(value) for value in values]
    if not isinstance(values, str):
        return values
    try:
        return yaml.safe_load(values)
    except yaml.YAMLError:
        return values


def load_config(path: Path) -> Config:
    """Read and validate a YAML file. Raises UserError with one line."""
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a config file is a mapping of keys to values")
    return parse(Config, values, str(path))


def describe(model: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, str, str]]:
    """Every key as (dotted name, default, meaning), depth first."""
    out: list[tuple[str, str, str]] = []
    for name, info in model.model_fields.items():
        dotted = f"{prefix}{name}"
        sections = [m for m in _members(info.annotation) if _is_section(m)]
        inner = f"{dotted}.NAME." if name in ("experiments", "tokenizers") else f"{dotted}."
        for section in sections:
            out.extend(describe(section, inner))
        if not sections:
            default = "required" if info.is_required() else json.dumps(info.default)
            out.append((dotted, default, info.description or ""))
    return out
