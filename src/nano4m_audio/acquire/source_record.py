"""The record of the source that a results folder belongs to; another source is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json

RECORD = "source.json"


def check_record(config: Config, results: Path) -> None:
    """Raise UserError, in one line, when ``results`` holds the results of another source."""
    path = results / RECORD
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        found = None
    wanted = _source(config, results)
    if found == wanted:
        return
    raise UserError(
        f"{results}/ holds the results of {_words(found)}, and this config reads {_words(wanted)}: "
        "give that --configfile again, or keep this run elsewhere with --directory FOLDER "
        f"(to overwrite what is here, delete {path})"
    )


def write_record(config: Config, results: Path) -> None:
    """Write down the source of ``results``, once."""
    if not (results / RECORD).exists():
        write_json(results / RECORD, _source(config, results))


def _source(config: Config, results: Path) -> dict[str, Any]:
    """A folder below the one of the results is named from there, so that both can move together."""
    if config.source != "folder":
        return {"source": config.source}
    root, here = Path(config.folder.root).resolve(), results.resolve().parent
    inside = root.is_relative_to(here)
    return {"source": "folder", "root": os.path.relpath(root, here) if inside else str(root)}


def _words(source: Any) -> str:
    if not isinstance(source, dict) or "source" not in source:
        return "an unknown source"
    root = source.get("root")
    return f"the folder {root!r}" if root is not None else f"source {source['source']!r}"
