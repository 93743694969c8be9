"""Version of each stage's code. Raise a number when the stage would write other values for the same
input: the number is part of every content key and a Snakemake param, so exactly the affected rows
are recomputed."""

from __future__ import annotations

from nano4m_audio.modalities import LABELS, MODALITIES

STAGE_VERSIONS: dict[str, int] = {
    "barnyard": 2,
    "candidates": 2,
    "media": 2,
    "clips": 2,
    "scores/audio": 1,
    "scores/visual": 1,
    "scores/speech": 1,
    "scores/prints": 1,
    "verdicts": 1,
    "split": 1,
    **{f"labels/{name}": 1 for name in LABELS},
    "labels/normals": 2,
    **{f"tokens/{name}": 1 for name in MODALITIES},
    "tokenizers": 1,
    "quality": 2,
    "train": 4,
    "evaluate": 4,
    "report": 4,
}
