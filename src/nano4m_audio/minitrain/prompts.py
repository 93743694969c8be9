"""The texts that the scorer is trained on; see prompts.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

_TEXTS = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text("utf-8"))
TEMPLATES, SYNONYMS = _TEXTS["templates"], _TEXTS["synonyms"]
EMPTY, UNRELATED = _TEXTS["empty"], _TEXTS["unrelated"]


def sample_texts(classes: tuple[str, ...], generator: torch.Generator) -> list[str]:
    """One random text for every class, then one for empty scenes, then an unrelated one."""

    def pick(options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    # The plain class name matters most: half of the draws use it.
    words = [pick((name, pick(SYNONYMS.get(name, (name,))))) for name in classes]
    return [*(pick(TEMPLATES).format(word) for word in words), pick(EMPTY), pick(UNRELATED)]
