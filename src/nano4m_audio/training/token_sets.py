"""The tokens of the clips that have all modalities, read from the token tables.

Only identities are read at first; then every shard is read once, row group by row group, straight
into one packed array per modality. When those would not fit in the memory budget they are files in
the store, built once and mapped, and a batch reads its own rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.errors import UserError
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.tables import read_table
from nano4m_audio.training.packing import Packed, Source, pack, size_bytes

SPLITS = ("train", "val", "test")
#: Tokens up to this size are held in memory; larger ones stay on disk as packed, mapped files.
IN_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True)
class TokenSet:
    """The clips of one split, in the order of their ids, so that the number of shards changes
    nothing. ``digest`` covers ids, classes and all tokens."""

    clip_ids: list[str]
    classes: list[str]
    data: TokenData
    digest: str

    def __len__(self) -> int:
        return len(self.clip_ids)


@dataclass(frozen=True)
class PackedClips:
    """The complete clips of all splits in one order: clip_id, class_name and split of each, sorted
    by split, then id; their tokens; and the folder where these lie (None: in memory)."""

    clips: pa.Table
    packed: Packed
    folder: Path | None


def read_token_sets(
    split: Path,
    token_files: Mapping[str, Sequence[Path]],
    modalities: Sequence[Modality],
    store: Path,
    *,
    train_clips: int | None = None,
    seed: int = 0,
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> dict[str, TokenSet]:
    """Read train, val and test: the clips that are in the split and ok in all modalities.

    ``train_clips`` keeps that many training clips, chosen by ``seed``: see ``subset``. Takes and
    raises what ``read_packed`` does.
    """
    chosen = None if train_clips is None else (train_clips, seed)
    found = read_packed(split, token_files, modalities, store, chosen, in_memory_bytes)
    starts = np.searchsorted(_split_numbers(found.clips), range(len(SPLITS) + 1))
    return {
        name: _token_set(found.packed, found.clips, modalities, int(starts[i]), int(starts[i + 1]))
        for i, name in enumerate(SPLITS)
    }


def read_packed(
    split: Path,
    token_files: Mapping[str, Sequence[Path]],
    modalities: Sequence[Modality],
    store: Path,
    chosen: tuple[int, int] | None = None,
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> PackedClips:
    """The complete clips, in memory unless their tokens take more than ``in_memory_bytes``.

    ``token_files`` maps each modality to its shards. A modality with fewer ``max_tokens`` than the
    tables hold gets the first of them (a shorter audio window). ``chosen`` is how many training
    clips to keep, and the seed. Raises UserError for a missing, damaged or wrong table, and names
    the shard and clip of a wrong id.
    """
    clips, rows, sources = _arranged(split, token_files, modalities, chosen)
    folder = None
    if len(clips) and size_bytes(sources.values(), len(clips)) > in_memory_bytes:
        folder = store / "packed" / _pack_key(clips, rows, sources)
    return PackedClips(clips, pack(list(sources.values()), len(clips), folder), folder)


def packed_key(
    split: Path,
    token_files: Mapping[str, Sequence[Path]],
    modalities: Sequence[Modality],
    *,
    train_clips: int | None = None,
    seed: int = 0,
) -> str:
    """The name of the folder of ``store/packed`` in which ``read_token_sets`` keeps what does not
    fit into memory. Reads identities alone, no token."""
    chosen = None if train_clips is None else (train_clips, seed)
    return _pack_key(*_arranged(split, token_files, modalities, chosen))


def _arranged(
    split: Path,
    token_files: Mapping[str, Sequence[Path]],
    modalities: Sequence[Modality],
    chosen: tuple[int, int] | None,
) -> tuple[pa.Table, dict[str, pa.Table], dict[str, Source]]:
    """The clips in their order, the identities of all token rows, and where each row belongs."""
    rows = {name: _identities(name, files) for name, files in token_files.items()}
    clips = _complete_clips(split, rows)
    if chosen is not None:
        clips = subset(clips, *chosen)
    sources = {
        m.name: Source(m, token_files[m.name], _places(rows[m.name], clips, m.name))
        for m in modalities
    }
    return clips, rows, sources


def subset(clips: pa.Table, count: int, seed: int) -> pa.Table:
    """Keep ``count`` training clips, and every clip of the other splits.

    Stratified: each class keeps its share. Nested: a smaller count keeps a subset of a larger one.
    A clip's place within its class depends on the seed and its id alone.
    Raises UserError when there are fewer.
    """
    train = np.flatnonzero(_split_numbers(clips) == 0)
    if count > len(train):
        raise UserError(f"train_clips = {count:,}, but only {len(train):,} clips are complete")
    ids = [clips["clip_id"][i].as_py() for i in train.tolist()]
    draws = np.array([hashlib.blake2b(f"{seed}:{i}".encode()).digest()[:8] for i in ids], "S8")
    _, classes, sizes = np.unique(
        clips["class_name"].take(train).to_numpy(), return_inverse=True, return_counts=True
    )
    by_class = np.lexsort((draws, classes))
    rank = np.empty(len(train), np.int64)
    rank[by_class] = np.arange(len(train)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    order = np.lexsort((draws, (rank + 0.5) / sizes[classes]))
    dropped = np.zeros(len(clips), bool)
    dropped[train[order[count:]]] = True
    return clips.filter(pa.array(~dropped))


def _identities(modality: str, files: Sequence[Path]) -> pa.Table:
    """clip_id, key and whether the row is ok, of all rows of one modality in the order of files."""
    if not files:
        raise UserError(f"no token table of {modality} was given")
    columns = ["clip_id", "key", "status"]
    table = pa.concat_tables([read_table(path, f"tokens/{modality}", columns) for path in files])
    return table.set_column(2, "ok", pc.equal(table["status"], "ok")).combine_chunks()


def _complete_clips(split: Path, rows: Mapping[str, pa.Table]) -> pa.Table:
    """clip_id, class_name and split of the complete clips, sorted by split, then id."""
    table = read_table(split, "split", ["clip_id", "class_name", "split"])
    table = table.filter(pc.is_in(table["split"], pa.array(SPLITS)))
    for found in rows.values():
        table = table.filter(pc.is_in(table["clip_id"], found["clip_id"].filter(found["ok"])))
    number = pc.index_in(table["split"], pa.array(SPLITS))
    table = table.append_column("number", number)
    return table.sort_by([("number", "ascending"), ("clip_id", "ascending")]).combine_chunks()


def _split_numbers(clips: pa.Table) -> np.ndarray:
    return clips["number"].to_numpy()


def _places(rows: pa.Table, clips: pa.Table, modality: str) -> np.ndarray:
    """The packed row of every table row, int64; -1 for a row that is not used."""
    found = pc.index_in(rows["clip_id"], clips["clip_id"].combine_chunks())
    places = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    places[~rows["ok"].to_numpy()] = -1
    counts = np.bincount(places[places >= 0], minlength=len(clips))
    if (counts > 1).any():
        clip = clips["clip_id"][int(counts.argmax())].as_py()
        raise UserError(f"tokens/{modality}: clip {clip!r} has more than one row")
    return places


def _pack_key(clips: pa.Table, rows: Mapping[str, pa.Table], sources: Mapping[str, Source]) -> str:
    """Identifies the packed tokens: the clips, and the content key of every row that is used."""
    digest = hashlib.sha256()
    for column in clips.columns:
        digest.update("\n".join(map(str, column.to_pylist())).encode())
    for name, source in sources.items():
        keys = rows[name]["key"].filter(pa.array(source.places >= 0)).to_pylist()
        digest.update("\n".join([repr(source.modality), *keys]).encode())
        digest.update(source.places.tobytes())
    return digest.hexdigest()[:32]


def _token_set(
    packed: Packed, clips: pa.Table, modalities: Sequence[Modality], start: int, stop: int
) -> TokenSet:
    clip_ids, classes = (
        clips[name].slice(start, stop - start).to_pylist() for name in ("clip_id", "class_name")
    )
    digest = hashlib.sha256("\n".join([*clip_ids, *classes]).encode())
    for modality in modalities:
        digest.update(f"{modality.name}:{modality.max_tokens}".encode())
        digest.update(packed.row_digests[modality.name][start:stop].tobytes())
    arrays = {name: array[start:stop] for name, array in packed.arrays.items()}
    data = TokenData(modalities, arrays, packed.captions[start:stop], check=False)
    return TokenSet(clip_ids, classes, data, digest.hexdigest()[:32])
