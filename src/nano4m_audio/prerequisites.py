"""What a run needs before it starts: the pretrained weights of the backends it will load."""

from __future__ import annotations

from collections.abc import Iterable

from nano4m_audio.backends import weights
from nano4m_audio.backends.registry import TRAINED, get_spec
from nano4m_audio.config.schema import BACKEND_KEYS, Config
from nano4m_audio.errors import UserError
from nano4m_audio.modalities import IMAGES

#: (config key, name of the backend)
Use = tuple[str, str]


def backend_uses(config: Config) -> list[Use]:
    """Every backend that a run of this config loads: those in use and those that are measured."""
    measured = [(f"tokenize.{p}", name) for p in IMAGES for name in config.measured_tokenizers(p)]
    return list(dict.fromkeys([*config.backends().items(), *measured, *heard_uses(config)]))


def heard_uses(config: Config) -> list[Use]:
    """The features that semantic tokens in use are clusters of."""
    name = (config.backend("tokenize.semantic") or "").removeprefix(TRAINED)
    return [(f"semantic.{name}", config.semantic[name].features)] if name else []


def _kind(key: str) -> str:
    return "sound_features" if key.startswith("semantic.") else BACKEND_KEYS[key]


def weights_of(uses: Iterable[Use]) -> dict[str, str]:
    """Weights ids that are fetched, with the config key that first needs each."""
    found: dict[str, str] = {}
    for key, name in uses:
        if not name.startswith(TRAINED) and (needed := get_spec(_kind(key), name).weights):
            found.setdefault(needed, key)
    return found


def check_weights(uses: Iterable[Use]) -> None:
    """Raise UserError, with one list of all of them, when weights are missing or wrong.

    A file that was verified before is not read again.
    """
    needed = weights_of(uses)
    missing = weights.missing_files(needed)
    if missing:
        names = ", ".join(f"{weights_id} ({needed[weights_id]})" for weights_id in missing)
        raise UserError(f"weights are missing: {names}\n{weights.advice(missing)}")
    for weights_id in needed:
        weights.folder(weights_id)
