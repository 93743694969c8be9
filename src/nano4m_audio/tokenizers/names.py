"""Names of tokenizers: as config.yaml writes them, as backends, and as parts of file names."""

from __future__ import annotations

from pathlib import Path

from nano4m_audio.backends.registry import TRAINED


def trained_folder(name: str, results: Path) -> Path:
    """Where the tokenizer ``name`` of the config's section ``tokenizers`` is trained to."""
    return results / "tokenizers" / name


def backend_name(name: str, results: Path) -> str:
    """The backend that a name of the config means: ``trained:rgb`` is a folder of ``results``."""
    if not name.startswith(TRAINED):
        return name
    return f"{TRAINED}{trained_folder(name.removeprefix(TRAINED), results)}"


def file_name(name: str) -> str:
    """``trained:rgb`` -> ``trained-rgb``; names of backends have no hyphen."""
    return name.replace(":", "-")


def from_file_name(stem: str) -> str:
    """The inverse of file_name."""
    return stem.replace("-", ":")
