"""The record of the source that a results folder belongs to; another source is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nano4m_audio.config.sources import Sources
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json

RECORD = "source.json"


def check_record(config: Sources, results: Path) -> None:
    """Raise UserError, in one line, when ``results`` holds the results of another source."""
    path = results / RECORD
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        found = None
    wanted = _identity(config, results)
    if found == wanted:
        return
    raise UserError(
        f"{results}/ holds the results of {_words(found)}, and this config reads {_words(wanted)}: "
        "give that --configfile again, or keep this run elsewhere with --directory FOLDER "
        f"(to overwrite what is here, delete {path})"
    )


def write_record(config: Sources, results: Path) -> None:
    """Write down the source of ``results``, once."""
    if not (results / RECORD).exists():
        write_json(results / RECORD, _identity(config, results))


def _identity(config: Sources, results: Path) -> dict[str, Any]:
    return {"source": config.source, **config.chosen_source.identity(results)}


def _words(source: Any) -> str:
    if not isinstance(source, dict) or "source" not in source:
        return "an unknown source"
    root = source.get("root")
    return f"the folder {root!r}" if root is not None else f"source {source['source']!r}"
