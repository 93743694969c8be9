"""Of the files that a job reads, those that its rule has to name: the last ones.

Snakemake's planning takes time for every file that a rule names, and a rule over all shards would
name thousands. A file that another named file is made from is there before it, and is made again
before it; that the job read it is in the job's record (lineage), which each run looks at first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.paths import Results

_TOKENS = tuple(f"tokens/{name}" for name in MODALITIES)
_SCORES = tuple(f"scores/{name}" for name in ("audio", "visual", "speech", "fingerprints"))
#: An artifact -> those that the job which makes a shard of it, or all of it, reads or writes too.
_FROM = {
    "candidates": ("candidates/listing.json",),
    "fetched": ("candidates",),
    "media": ("candidates", "fetched"),
    "clips": ("media",),
    **dict.fromkeys(_SCORES, ("clips",)),
    "verdicts": _SCORES,
    "selected": ("verdicts", "split.parquet"),
    **{f"labels/{name}": ("selected",) for name in LABELS},
    **{f"tokens/{name}": ("selected", row.source) for name, row in MODALITIES.items()},
    "clips_media": (*_TOKENS, *(f"labels/{name}" for name in LABELS)),
    "proof.json": (*_TOKENS, *(f"labels/{name}" for name in LABELS)),
    "runs": _TOKENS,
}
_SHARD = re.compile(r"(\d{4}|\{shard\})\.(parquet|json)")


@cache
def _before(artifact: str) -> frozenset[str]:
    """All that is made before an artifact."""
    direct = _FROM.get(artifact, ())
    return frozenset(direct).union(*map(_before, direct))


def _artifact(results: Results, path: Path) -> str:
    """The name of what a file is one of: that of its table, without the shard."""
    try:
        within = path.relative_to(results.root)
    except ValueError:
        return ""
    if _SHARD.fullmatch(within.name):
        return within.parent.as_posix()
    return within.parts[0] if within.parts[0] == "runs" else within.as_posix()


def last_of(results: Results, paths: Iterable[Path]) -> list[Path]:
    """Those of ``paths`` that no other of them is made from, in their order.

    Of every table that is among them all shards are, or the one that all the others are of.
    """
    named = [(path, _artifact(results, path)) for path in paths]
    before = frozenset().union(*(_before(artifact) for _, artifact in named))
    return [path for path, artifact in named if artifact not in before]
