"""Plain values before the schema sees them: their shape, and text that stands for other values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from nano4m_audio.errors import UserError, dotted, shown
from nano4m_audio.section import Section
from nano4m_audio.yaml_text import MAX_VALUES, check_yaml

MAX_DEPTH, MAX_INT = 20, 2**63 - 1
_NULLS = ("null", "Null", "NULL", "~", "")
#: What YAML 1.1 takes for text although it is a number: 1e-4.
_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def check_plain(values: Any, where: str) -> None:
    """Raise UserError, in one line, for values that no section can hold, however deep they lie:
    keys that are not text, numbers that are not finite or have more than 64 bits, and nesting or
    sizes out of all proportion."""
    todo: list[tuple[tuple[Any, ...], Any]] = [((), values)]
    seen = 0
    while todo:
        path, value = todo.pop()
        seen += 1
        at = f"{where}: {dotted(path[:3])}" + ("..." if len(path) > 3 else "")
        if len(path) > MAX_DEPTH:
            raise UserError(f"{at}: nested more than {MAX_DEPTH} levels deep")
        if seen > MAX_VALUES:
            raise UserError(f"{where}: more than {MAX_VALUES:,} values")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    name = dotted(path) + ": " if path else ""
                    raise UserError(
                        f"{where}: {name}the key {shown(key)} is not text: put it in quotes"
                    )
            todo.extend(((*path, key), inner) for key, inner in value.items())
        elif isinstance(value, list | tuple):
            todo.extend(((*path, place), inner) for place, inner in enumerate(value))
        elif (problem := _number_problem(value)) is not None:
            name = f"{dotted(path)} = " if path else ""
            raise UserError(f"{where}: {name}{problem}")


def _number_problem(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}: a finite number is wanted"
    if isinstance(value, int) and abs(value) > MAX_INT:
        return f"a whole number of {value.bit_length()} bits: at most {MAX_INT:,}"
    return None


def typed(annotation: Any, value: Any) -> Any:
    """``value`` with text read as YAML wherever ``annotation`` wants something else than text.

    Snakemake hands over ``--config 'verdict={audio_min: 0.4}'`` with every number as text.
    """
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return typed(arguments[0], value)
    if kind in (Union, UnionType):
        return _typed_union(arguments, value)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        if not isinstance(value, Mapping):
            return value
        fields = annotation.model_fields
        return {
            key: typed(fields[key].annotation, inner) if key in fields else inner
            for key, inner in value.items()
        }
    if kind is dict and isinstance(value, Mapping):
        return {key: typed(arguments[1], inner) for key, inner in value.items()}
    if kind in (list, tuple) and isinstance(value, list | tuple):
        every = kind is list or arguments[-1] is Ellipsis
        kinds = [arguments[0]] * len(value) if every else [*arguments, *[Any] * len(value)]
        return [typed(inner, item) for inner, item in zip(kinds, value, strict=False)]
    if annotation is Any and isinstance(value, Mapping):
        return {key: typed(Any, inner) for key, inner in value.items()}
    if annotation is Any and isinstance(value, list | tuple):
        return [typed(Any, item) for item in value]
    return _scalar(value) if isinstance(value, str) and not admits_text(annotation) else value


def _typed_union(members: tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, str):
        if type(None) in members and value in _NULLS:
            return None
        return value if any(admits_text(member) for member in members) else _scalar(value)
    for member in members:
        inner = get_args(member)[0] if get_origin(member) is Annotated else member
        kind = get_origin(inner) or inner
        is_section = isinstance(kind, type) and issubclass(kind, Section)
        if isinstance(value, Mapping) and (kind is dict or is_section):
            return typed(inner, value)
        if isinstance(value, list | tuple) and kind in (list, tuple):
            return typed(inner, value)
    return value


def admits_text(annotation: Any) -> bool:
    """Whether text is a value of ``annotation`` as it is."""
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return admits_text(arguments[0])
    if kind in (Union, UnionType):
        return any(admits_text(member) for member in arguments)
    return annotation is str or kind is Literal


def _scalar(text: str) -> Any:
    if _FLOAT.fullmatch(text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def read_yaml(path: Path | str, read: Callable[[Any], Any]) -> dict[str, Any]:
    """The mapping in a config file, by a function that reads YAML. Raises UserError (one line)."""
    try:
        check_yaml(Path(path).read_text("utf-8"), str(path))
        values = read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a config file is a mapping of keys to values")
    check_plain(values, str(path))
    return values
