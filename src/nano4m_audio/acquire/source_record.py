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
    wanted = _identity(config, results)
    if not path.exists() or (found := _recorded(path)) == wanted:
        return
    raise UserError(
        f"{results}/ holds the results of {_words(found)}, and this config reads {_words(wanted)}: "
        "give that --configfile again, or keep this run elsewhere with --directory FOLDER "
        f"(to overwrite what is here, delete {path})"
    )


def check_fetched(results: Path) -> None:
    """Raise UserError, in one line, when the clips of ``results`` are none of the web. A folder
    without a record may hold the candidates of lists alone."""
    path = results / RECORD
    found = _recorded(path) if path.exists() else {"source": "web"}
    if not isinstance(found, dict) or found.get("source") != "web":
        raise UserError(
            f"{results}/ holds the results of {_words(found)}: there is nothing to fetch "
            "(source: web is what is fetched)"
        )


def write_record(config: Sources, results: Path) -> None:
    """Write down the source of ``results``, once."""
    if not (results / RECORD).exists():
        write_json(results / RECORD, _identity(config, results))


def _recorded(path: Path) -> Any:
    """What the record says; None for one that cannot be read."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _identity(config: Sources, results: Path) -> dict[str, Any]:
    return {"source": config.source, **config.chosen_source.identity(results)}


def _words(source: Any) -> str:
    if not isinstance(source, dict) or "source" not in source:
        return "an unknown source"
    root = source.get("root")
    return f"the folder {root!r}" if root is not None else f"source {source['source']!r}"
