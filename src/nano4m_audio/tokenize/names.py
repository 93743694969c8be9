"""Names of tokenizers: as config.yaml writes them, as backends, and as parts of file names."""

from __future__ import annotations

from nano4m_audio.backends.registry import TRAINED
from nano4m_audio.paths import Results


def backend_name(name: str, results: Results) -> str:
    """The backend that a name of the config means: ``trained:rgb`` is a folder of ``results``."""
    if not name.startswith(TRAINED):
        return name
    return f"{TRAINED}{results.tokenizer(name.removeprefix(TRAINED))}"


def from_file_name(stem: str) -> str:
    """``trained-rgb`` -> ``trained:rgb``; names of backends have no hyphen. See Results.quality."""
    return stem.replace("-", ":")
