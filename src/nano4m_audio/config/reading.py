"""Reading a whole config: YAML into the schema, and every error as one line.

Snakemake validates the whole file once; each stage receives a file with the JSON of the one section
that changes its output and validates it again with the same model, so a command pasted by hand
meets the same checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.config.parsing import described, parse
from nano4m_audio.config.plain import check_plain, read_yaml, typed
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.files import data_yaml


def parse_workflow(values: Any, where: str = "config") -> Config:
    """Validate a whole config. Raises UserError with one line.

    Snakemake hands over ``--config 'verdict={audio_min: 0.4}'`` with all values as text; text is
    read as YAML wherever the schema wants something else.
    """
    check_plain(values, where)
    return parse(Config, typed(Config, values), where)


def load_config(
    *paths: Path, demo: Path | None = None, more: Mapping[str, Any] | None = None
) -> Config:
    """Read config files, each laid over those before it, ``more`` over all of them, and validate.

    As in the Snakefile, ``demo`` lies below them unless one of them names its source. Raises
    UserError with one line, about --config where the files alone are valid.
    """
    layers = [_read_layer(path) for path in paths]
    if demo and not any("source" in layer for layer in layers):
        layers.insert(0, _read_layer(demo))
    base, where = reduce(_laid_over, layers), ", ".join(map(str, paths))
    if not more:
        return parse_workflow(base, where)
    try:
        return parse_workflow(_laid_over(base, dict(more)), "--config")
    except UserError:
        parse_workflow(base, where)
        raise


def _read_layer(path: Path) -> dict[str, Any]:
    return read_yaml(path, lambda path: yaml.safe_load(path.read_text("utf-8")) or {})


def _laid_over(below: Any, above: Any) -> Any:
    """``above`` over ``below`` key by key, as Snakemake does it."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: _laid_over(below.get(key), value) for key, value in above.items()}}


#: The keys, or sections, that most users change: `nano4m-audio config` lists them first.
COMMON: list[str] = data_yaml(Path(__file__).with_name("common.yaml").read_text("utf-8"))


def rank(key: str) -> int:
    """The place in COMMON of a dotted key, or of its section; len(COMMON) for all the others."""
    places = (i for i, name in enumerate(COMMON) if key == name or key.startswith(f"{name}."))
    return next(places, len(COMMON))


def describe() -> list[tuple[str, str, str]]:
    """Every key of a config as (dotted name, default, meaning), depth first."""
    return described(Config)
