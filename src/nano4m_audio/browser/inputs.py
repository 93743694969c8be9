"""What the browser of clips is made from: the rules ask here, without loading what makes it."""

from __future__ import annotations

from pathlib import Path

from nano4m_audio.modalities import LABELS
from nano4m_audio.paths import Results, shard_names

#: The tables of a shard, beside those of tokens, that say what is shown of its clips.
_TABLES = ("candidates", "media", "clips", "verdicts", "selected",
           *(f"labels/{name}" for name in LABELS))  # fmt: skip
#: The tables that the maps of the dataset are made from.
_MAPS = ("scores/audio", "scores/visual", "scores/fingerprints")


def shard_inputs(results: Results, shard: str = "{shard}") -> list[Path]:
    """What the media of a shard are made from, other than finished rows and the truth."""
    names = (*_TABLES, *results.token_tables)
    return [results.split, *(results.table(name, shard) for name in names)]


def page_inputs(results: Results, n_shards: int | None = None) -> list[Path]:
    """What the page is made from, other than the truth: tables, and indexes of media.

    ``n_shards`` where they are not made yet.
    """
    shards = results.shards if n_shards is None else shard_names(n_shards)
    names = (*_TABLES, *results.token_tables, *_MAPS)
    tables = (path for name in names for path in results.tables(name, n_shards))
    return [results.split, *tables, *map(results.clip_media, shards)]
