"""Files with what each stage is told: results/settings/<stage>-<digest>.json.

A command names such a file instead of holding its JSON: it stays short enough to paste, whatever
the size of the config. The name changes with the content, so Snakemake sees a change of settings as
a change of the command's parameters.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nano4m_audio.errors import UserError
from nano4m_audio.files import read_json, write_bytes, write_json

_LAST = "last.json"
#: How and when the last run was started.
COMMAND = "command.json"


class SettingsFiles:
    """Names the files while a workflow is read, and writes them when a run starts."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._texts = folder, dict[Path, bytes]()
        self._last: dict[str, str] = {}

    def path(self, stage: str, values: BaseModel | Mapping[str, Any]) -> str:
        """The file with the settings of ``stage``."""
        plain = values.model_dump(mode="json") if isinstance(values, BaseModel) else values
        canonical = json.dumps(plain, sort_keys=True).encode()  # the order of keys says nothing
        digest = hashlib.blake2b(canonical, digest_size=6).hexdigest()
        path = self._folder / f"{stage}-{digest}.json"
        self._last[stage] = path.name
        self._texts[path] = json.dumps(plain, indent=1, ensure_ascii=False).encode()
        return str(path)

    def write(self) -> None:
        """Write every file that was named, and which of them each stage is told by this run."""
        for path, text in self._texts.items():
            write_bytes(path, text)
        write_json(self._folder / _LAST, self._last)


def last_settings(folder: Path, stage: str) -> Path | None:
    """The file with what the last run told ``stage``; None before the first run.

    Raises UserError for a damaged record, which the next run writes anew.
    """
    path = folder / _LAST
    if not path.exists():
        return None
    advice = "delete it and run snakemake, or name a file with --settings"
    names = read_json(path, advice)
    if not isinstance(names, dict) or not all(isinstance(v, str) for v in names.values()):
        raise UserError(f"{path} does not name files of settings: {advice}")
    return folder / names[stage] if stage in names else None


def record_command(folder: Path, arguments: Sequence[str]) -> None:
    """Keep the command line of a run that starts now, for the report."""
    program = Path(arguments[0]).name
    program = "snakemake" if program == "__main__.py" else program
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = shlex.join([program, *arguments[1:]])
    write_json(folder / COMMAND, {"command": command, "started": started})
