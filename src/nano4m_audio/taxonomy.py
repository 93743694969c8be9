"""The classes and what they are called in each source: names, captions, labels, prompts, ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from nano4m_audio.errors import UserError, did_you_mean


@dataclass(frozen=True)
class AnimalClass:
    """One class and its names elsewhere.

    ``*_core`` labels mean this animal and nothing else; ``*_ambiguous`` and ``*_other`` labels also
    occur for other animals. ``imagenet_*`` are ImageNet-1k class indices (0..999), ``panns_*`` rows
    of AudioSet's class_labels_indices.csv (0..526).
    """

    name: str
    caption: str
    prompt: str
    audioset_core: tuple[str, ...]
    audioset_core_names: tuple[str, ...]
    audioset_ambiguous: tuple[str, ...]
    audioset_ambiguous_names: tuple[str, ...]
    panns_core: tuple[int, ...]
    panns_ambiguous: tuple[int, ...]
    vggsound_core: tuple[str, ...]
    vggsound_other: tuple[str, ...]
    imagenet_core: tuple[int, ...]
    imagenet_lenient: tuple[int, ...]


def _indices(entries: list[int | str]) -> tuple[int, ...]:
    """Expand ``[7, "151-153"]`` to ``(7, 151, 152, 153)``."""
    out: list[int] = []
    for entry in entries:
        first, _, last = str(entry).partition("-")
        out.extend(range(int(first), int(last or first) + 1))
    return tuple(out)


@cache
def all_classes() -> dict[str, AnimalClass]:
    """Every known class by name, in the order of taxonomy.yaml."""
    text = resources.files("nano4m_audio").joinpath("taxonomy.yaml").read_text("utf-8")
    return {
        name: AnimalClass(
            name=name,
            caption=entry["caption"],
            prompt=entry["prompt"],
            audioset_core=tuple(entry["audioset"]["core"]),
            audioset_core_names=tuple(entry["audioset"]["core_names"]),
            audioset_ambiguous=tuple(entry["audioset"]["ambiguous"]),
            audioset_ambiguous_names=tuple(entry["audioset"]["ambiguous_names"]),
            panns_core=_indices(entry["panns"]["core"]),
            panns_ambiguous=_indices(entry["panns"]["ambiguous"]),
            vggsound_core=tuple(entry["vggsound"]["core"]),
            vggsound_other=tuple(entry["vggsound"]["other"]),
            imagenet_core=_indices(entry["imagenet"]["core"]),
            imagenet_lenient=_indices(entry["imagenet"]["lenient"]),
        )
        for name, entry in yaml.safe_load(text).items()
    }


def class_names() -> tuple[str, ...]:
    """The names of all classes: pig, sheep, dog, ..."""
    return tuple(all_classes())


def get_class(name: str) -> AnimalClass:
    """Return one class. Raises UserError with a suggestion for an unknown name."""
    try:
        return all_classes()[name]
    except KeyError:
        known = class_names()
        raise UserError(
            f"unknown class {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})"
        ) from None
