"""How the config of this run differs from the one that the repository ships for its source."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.errors import UserError
from nano4m_audio.files import data_yaml
from nano4m_audio.report.changes import Changed, config_changes, flat

_PATHS = ("config.yaml", "configs/")


@dataclass(frozen=True)
class Shipped:
    """The committed config file ``name``, and the keys that this run has otherwise."""

    name: str
    changed: tuple[Changed, ...]


def git(repository: Path, *arguments: str) -> str:
    """What git prints. Raises OSError or CalledProcessError."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def compare_with_shipped(config: Mapping[str, Any], repository: Path | None) -> Shipped | None:
    """Against the committed file of the same source that differs in the fewest keys: what was
    edited in place is a difference, too. None outside a checkout, and where no file has the source.
    """
    if repository is None:
        return None
    try:
        names = git(repository, "ls-tree", "--name-only", "HEAD", *_PATHS).splitlines()
        texts = {
            name: git(repository, "show", f"HEAD:{name}")
            for name in names
            if name.endswith(".yaml")
        }
    except (OSError, subprocess.CalledProcessError):
        return None
    used = flat(config)
    found = [
        Shipped(name, config_changes(flat(shipped), used))
        for name, text in texts.items()
        if (shipped := _resolved(text, name, config["source"])) is not None
    ]
    return min(found, key=lambda shipped: len(shipped.changed), default=None)


def _resolved(text: str, name: str, source: str) -> dict[str, Any] | None:
    """All values of a config file that names this source; None for any other."""
    try:
        values = data_yaml(text)
        if not isinstance(values, dict) or values.get("source") != source:
            return None
        return parse_workflow(values, name).model_dump(mode="json")
    except (yaml.YAMLError, UserError):
        return None
