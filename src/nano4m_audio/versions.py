"""Version of each stage's code. Raise a number when the stage would write other values for the same
input: the number is part of every content key and a Snakemake param, so exactly the affected rows
are recomputed."""

from __future__ import annotations

STAGE_VERSIONS: dict[str, int] = {
    "barnyard": 2,
    "candidates": 2,
    "media": 2,
    "clips": 2,
    "scores/audio": 1,
    "scores/visual": 1,
    "scores/speech": 1,
    "scores/fingerprints": 1,
    "verdicts": 1,
    "split": 1,
    "labels/depth": 1,
    "labels/normals": 2,
    "tokens/rgb": 1,
    "tokens/depth": 1,
    "tokens/normals": 1,
    "tokens/audio": 1,
    "tokens/caption": 1,
    "tokenizers": 1,
    "quality": 2,
    "train": 4,
    "evaluate": 4,
    "report": 4,
}
