"""How good the image tokenizers are: the measurements of the run and their example pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.modalities import IMAGES
from nano4m_audio.paths import Results
from nano4m_audio.report import media
from nano4m_audio.report.runs import read_json

_TILE_PX = 168


@dataclass(frozen=True)
class Quality:
    """One tokenizer: its JSON, and the data URIs of example pictures decoded from its tokens."""

    name: str
    in_use: bool
    facts: Mapping[str, Any]
    decoded: list[str]


@dataclass(frozen=True)
class Pictures:
    """One modality: the example pictures, and every tokenizer that was measured on them."""

    modality: str
    originals: list[str]
    tokenizers: list[Quality]

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """Title and pictures of every row of the strip, the originals first."""
        return [("original", self.originals), *((t.name, t.decoded) for t in self.tokenizers)]


def read_quality(results: Path, config: Mapping[str, Any]) -> list[Pictures]:
    """The measurements that are there of the tokenizers that the config names."""
    found = []
    for modality in IMAGES:
        selected = config["tokenize"][modality]
        originals: list[str] = []
        tokenizers = []
        for name in dict.fromkeys([selected, *config["quality"][modality]]):
            path = Results(results).quality(modality, name)
            if path.is_file():
                facts = read_json(path)
                originals, decoded = _tiles(path.with_suffix(".png"))
                tokenizers.append(Quality(name, name == selected, facts, decoded))
        if tokenizers:
            found.append(Pictures(modality, originals, tokenizers))
    return found


def _tiles(path: Path) -> tuple[list[str], list[str]]:
    """The upper and the lower row of a sheet of examples; two empty lists if it has none."""
    from PIL import Image

    sheet = np.asarray(Image.open(path).convert("RGB"))
    side = sheet.shape[0] // 2
    columns = [slice(x, x + side) for x in range(0, sheet.shape[1], side)] if side else []
    rows = sheet[:side], sheet[side:]
    upper, lower = ([media.jpeg_uri(row[:, x], 82, _TILE_PX) for x in columns] for row in rows)
    return upper, lower


def rgb_fidelity(pictures: list[Pictures]) -> dict[str, Any] | None:
    """PSNR of the RGB tokenizer in use, in the form of an evaluation metric."""
    for tokenizer in (t for p in pictures if p.modality == "rgb" for t in p.tokenizers):
        if tokenizer.in_use and tokenizer.facts["n"]:
            facts = tokenizer.facts
            note = f"{tokenizer.name}: keyframes of the {facts['split']} split"
            values = {"name": "rgb_psnr", "n": facts["n"], "unit": "dB", "note": note}
            return {**values, **facts["psnr_db"]}
    return None
