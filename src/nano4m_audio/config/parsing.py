"""Reading one section: plain values or JSON into its model, and every error as one line.

Stages need no more than this: who reads a whole config imports its models with reading.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nano4m_audio.config.plain import check_plain
from nano4m_audio.errors import UserError, did_you_mean, dotted, shown
from nano4m_audio.section import Section

_Model = TypeVar("_Model", bound=BaseModel)
MAX_MESSAGE = 400
#: Old name of a key -> the name that it has now.
_RENAMED = {"voiced_max": "speech_max"}


def _section_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """The section that holds the last element of ``path``."""
    here: Any = model
    for step in path[:-1]:
        fields = here.model_fields
        if step in fields:  # otherwise a name of the user's choice, as in experiments.NAME
            here = next((m for m in _members(fields[step].annotation) if _is_section(m)), here)
    return here


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _members(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", None)
    return [m for a in arguments for m in _members(a)] if arguments else [annotation]


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """One line for the first problem of a validation: key, value, what is allowed, a suggestion."""
    problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    path = tuple(p for p in problem["loc"] if p != "[key]")
    key = dotted(path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key{_advice(model, path)}{more}"
    if problem["type"] == "missing":
        return f"{where}: {key}: this key is required{more}"
    message = " ".join(problem["msg"].removeprefix("Value error, ").split())
    message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."
    value = (
        "" if isinstance(problem["input"], dict | BaseModel) else f" = {shown(problem['input'])}"
    )
    return f"{where}: {key}{value}: {message}{more}" if key else f"{where}: {message}{more}"


def _advice(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    """What to do about an unknown key."""
    last, section = str(path[-1]), _section_at(model, path)
    keys = [name for name, _, _ in described(section)]
    inside = [key for key in keys if key == last or key.endswith(f".{last}")]
    if len(inside) == 1 and "." in inside[0]:
        *sections, leaf = inside[0].split(".")
        nested = ": {".join([*sections, f"{leaf}: ..."]) + "}" * len(sections)
        return f": in a file, write {nested}"
    known = list(section.model_fields)
    return did_you_mean(_RENAMED.get(last, last), known) or f" (known: {', '.join(known)})"


def parse(model: type[_Model], values: Any, where: str) -> _Model:
    """Validate plain values. Raises UserError with one line."""
    check_plain(values, where)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, model, where)) from None


def read_json(text: str, where: str) -> Any:
    """The values of an option that takes JSON or the path of a file that holds it.

    Raises UserError, in one line, for what is neither.
    """
    if not text.lstrip().startswith(("{", "[")):
        try:
            text, where = Path(text).read_text("utf-8"), f"{where} {text}"
        except FileNotFoundError:
            raise UserError(f"{where}: {shown(text)} is neither JSON nor a file") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{where}: {shown(text)} cannot be read ({reason})") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})") from None


def parse_json(model: type[_Model], text: str, where: str = "--settings") -> _Model:
    """Validate the JSON of one section, or the file that holds it, as stage commands get it."""
    return parse(model, read_json(text, where), where)


def described(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    """Every key as (dotted name, default, meaning), depth first."""
    out: list[tuple[str, str, str]] = []
    for name, info in model.model_fields.items():
        full = f"{prefix}{name}"
        sections = [m for m in _members(info.annotation) if _is_section(m)]
        named = any(get_origin(m) is dict for m in (info.annotation, *get_args(info.annotation)))
        inner = f"{full}.NAME." if named else f"{full}."
        for section in sections:
            out.extend(described(section, inner))
        if not sections:
            default = "required" if info.is_required() else json.dumps(info.default)
            out.append((full, default, info.description or ""))
    return out
