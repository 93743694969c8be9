"""The tokens of the clips that have all five modalities, read from the token tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from nano4m_audio.errors import UserError
from nano4m_audio.tables import content_key, read_table

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class TokenSet:
    """Clips in the order of their ids, so that the number of shards changes nothing.

    ``tokens`` maps rgb, audio, depth and normals to uint16 [clips, keyframes, tokens]; ``captions``
    holds one uint16 array of ids per clip.
    """

    clip_ids: list[str]
    classes: list[str]
    tokens: dict[str, np.ndarray]
    captions: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.clip_ids)

    def digest(self) -> str:
        """A digest of ids, classes and all tokens."""
        parts = []
        for array in self.tokens.values():
            content = np.ascontiguousarray(array).tobytes()
            parts.append(hashlib.blake2b(content, digest_size=16).hexdigest())
        captions = [caption.tolist() for caption in self.captions]
        return content_key(self.clip_ids, self.classes, sorted(self.tokens), parts, captions)


def read_token_sets(split: Path, token_files: Mapping[str, Sequence[Path]]) -> dict[str, TokenSet]:
    """Read train, val and test: the clips that are in the split and ok in all modalities.

    ``token_files`` maps each modality to its shards. Raises UserError for a missing or wrong table.
    """
    columns = ["clip_id", "class_name", "split"]
    rows = read_table(split, "split", columns).to_pylist()
    where = {r["clip_id"]: r for r in rows if r["split"] in SPLITS}
    tables = {name: _read(name, files) for name, files in token_files.items()}
    complete = set(where)
    for table in tables.values():
        complete &= set(table["clip_id"].to_pylist())
    out = {}
    for name in SPLITS:
        ids = sorted(clip for clip in complete if where[clip]["split"] == name)
        columns_of = {m: _tokens(table, ids) for m, table in tables.items()}
        out[name] = TokenSet(
            clip_ids=ids,
            classes=[where[clip]["class_name"] for clip in ids],
            tokens={m: _grid(c) for m, c in columns_of.items() if m != "caption"},
            captions=_ragged(columns_of["caption"]),
        )
    return out


def _read(modality: str, files: Sequence[Path]) -> pa.Table:
    """The rows of one modality that are ok: clip_id and tokens."""
    name, columns = f"tokens/{modality}", ["clip_id", "status", "tokens"]
    tables = [read_table(path, name, columns) for path in files]
    if not tables:
        raise UserError(f"no token table of {modality} was given")
    table = pa.concat_tables(tables)
    return table.filter(pa.compute.equal(table["status"], "ok")).select(["clip_id", "tokens"])


def _tokens(table: pa.Table, ids: Sequence[str]) -> pa.Array:
    places = {clip: i for i, clip in enumerate(table["clip_id"].to_pylist())}
    column = table["tokens"].take(pa.array([places[clip] for clip in ids], pa.int64()))
    return column.combine_chunks()


def _grid(column: pa.Array) -> np.ndarray:
    """[clips, keyframes, tokens] of a column of nested fixed-size lists."""
    rows, width = column.type.list_size, column.type.value_type.list_size
    return column.flatten().flatten().to_numpy().reshape(len(column), rows, width)


def _ragged(column: pa.Array) -> list[np.ndarray]:
    return [np.array(ids, np.uint16) for ids in column.to_pylist()]
