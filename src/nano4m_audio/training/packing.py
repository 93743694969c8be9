"""One array per modality for a whole dataset, in memory or as files of the store that are mapped.

Ids are stored in the smallest dtype that holds the vocabulary. Every row is checked as it passes,
and leaves its SHA-256: the digest of a dataset needs no second pass over the tokens.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from nano4m_audio.errors import UserError
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.nano4m.data import Ragged, smallest_dtype
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.seals import intact, seal
from nano4m_audio.store import locked
from nano4m_audio.tables import read_batches

_DONE = "done"
_CAPTIONS, _ROW_DIGESTS = "captions.npz", "digests.npz"


@dataclass(frozen=True)
class Source:
    """The shards of one modality, and the packed row of each of their rows (-1: not used)."""

    modality: Modality
    files: Sequence[Path]
    places: np.ndarray

    @property
    def row_shape(self) -> tuple[int, int]:
        """(keyframes, tokens) of a clip."""
        return MODALITIES[self.modality.name].rows, self.modality.max_tokens

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(smallest_dtype(self.modality.vocab_size))


@dataclass(frozen=True)
class Packed:
    """Tokens of all clips: arrays [clips, keyframes, tokens] by modality, captions, and the SHA-256
    of every row, uint8 [clips, 32] by modality."""

    arrays: dict[str, np.ndarray]
    captions: Ragged
    row_digests: dict[str, np.ndarray]


def size_bytes(sources: Iterable[Source], clips: int) -> int:
    """What the arrays take; captions are left out, they are short."""
    grids = [s for s in sources if s.modality.name != "caption"]
    return sum(clips * int(np.prod(s.row_shape)) * s.dtype.itemsize for s in grids)


def pack(sources: Sequence[Source], clips: int, folder: Path | None) -> Packed:
    """Read every shard into place: in memory, or into ``folder``, where it is done only once.

    Raises UserError naming the shard and clip of an id outside the vocabulary, of a missing value
    or of a caption without ids.
    """
    if folder is None:
        return _read(sources, clips, None)
    with locked(folder):
        if not ((folder / _DONE).exists() and intact(*_files(sources, folder))):
            if size_bytes(sources, clips) > shutil.disk_usage(folder).free:
                raise UserError(f"{folder}: no space for the packed tokens of {clips:,} clips")
            _save(_read(sources, clips, folder), folder)
            seal(*_files(sources, folder))
            (folder / _DONE).touch()
    return _load(sources, folder)


def _read(sources: Sequence[Source], clips: int, folder: Path | None) -> Packed:
    arrays, digests, captions = {}, {}, Ragged.of([])
    for source in sources:
        name = source.modality.name
        digests[name] = np.zeros((clips, hashlib.sha256().digest_size), np.uint8)
        if name == "caption":
            captions = _read_captions(source, clips, digests[name])
        else:
            arrays[name] = _read_grid(source, clips, digests[name], folder)
    return Packed(arrays, captions, digests)


def _read_grid(source: Source, clips: int, digests: np.ndarray, folder: Path | None) -> np.ndarray:
    shape = (clips, *source.row_shape)
    if folder is None:
        array = np.empty(shape, source.dtype)
        _fill_grid(source, array.__setitem__, digests)
        return array
    path = folder / f"{source.modality.name}.npy"
    with _RowFile(path, shape, source.dtype) as file:
        _fill_grid(source, file.put, digests)
    return np.load(path, mmap_mode="r")


class _RowFile:
    """A .npy file that is written row by row at any place, so that it is never held in memory."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 (closed by __exit__)
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._start = self._file.tell()
        self._row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        self._file.truncate(self._start + shape[0] * self._row_bytes)

    def __enter__(self) -> _RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, places: np.ndarray, rows: np.ndarray) -> None:
        for place, row in zip(places.tolist(), rows, strict=True):
            os.pwrite(self._file.fileno(), row, self._start + place * self._row_bytes)


def _fill_grid(
    source: Source, put: Callable[[np.ndarray, np.ndarray], None], digests: np.ndarray
) -> None:
    """``put`` takes places and the rows that belong there."""
    keyframes, width = source.row_shape
    for path, places, batch in _used_rows(source):
        ids = _grid(path, batch, keyframes, width)
        rows = np.ascontiguousarray(ids, source.dtype)
        _check_ids(source, path, batch, ids.reshape(len(batch), -1).max(axis=1))
        for place, row in zip(places.tolist(), rows, strict=True):
            digests[place] = np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint8)
        put(places, rows)


def _grid(path: Path, batch: pa.RecordBatch, rows: int, width: int) -> np.ndarray:
    """The first ``width`` ids of every row of tokens: uint16 [clips, rows, width]."""
    inner = batch["tokens"].flatten()
    flat = inner.flatten()
    if inner.null_count or flat.null_count:
        raise _bad_row(path, batch, "has missing values")
    found = batch["tokens"].value_lengths().to_numpy()
    if len(wrong := np.flatnonzero(found != rows)):
        clip = int(wrong[0])
        raise _bad_row(path, batch, f"has {found[clip]} rows of tokens, not {rows}", clip)
    lengths = inner.value_lengths().to_numpy()
    if len(wrong := np.flatnonzero((lengths != lengths[0]) | (lengths < width))):
        clip, length = divmod(int(wrong[0]), rows)[0], lengths[wrong[0]]
        raise _bad_row(path, batch, f"has {length} tokens in a row, not {width}", clip)
    return flat.to_numpy().reshape(len(batch), rows, -1)[:, :, :width]


def _read_captions(source: Source, clips: int, digests: np.ndarray) -> Ragged:
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    longest = source.modality.max_tokens
    for path, places, batch in _used_rows(source):
        column = batch["tokens"]
        lengths = column.value_lengths().fill_null(0).to_numpy()
        wrong = np.flatnonzero((lengths < 1) | (lengths > longest))
        if len(wrong):
            length = lengths[wrong[0]]
            raise _bad_row(path, batch, f"has {length} ids, not 1..{longest}", int(wrong[0]))
        ids = column.flatten().to_numpy().astype(source.dtype)
        starts = np.cumsum(lengths) - lengths
        _check_ids(source, path, batch, np.maximum.reduceat(ids, starts))
        for place, row in zip(places.tolist(), np.split(ids, starts[1:]), strict=True):
            digests[place] = np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint8)
        parts.append((places, lengths.astype(np.int64), ids))
    return _in_order(parts, clips, source.dtype)


def _in_order(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], clips: int, dtype: np.dtype
) -> Ragged:
    """Put pieces of (places, lengths, ids) into the order of their places."""
    all_lengths = np.zeros(clips, np.int64)
    for places, lengths, _ in parts:
        all_lengths[places] = lengths
    offsets = np.concatenate([[0], np.cumsum(all_lengths)])
    out = np.empty(offsets[-1], dtype)
    for places, lengths, ids in parts:
        within = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        out[np.repeat(offsets[places], lengths) + within] = ids
    return Ragged(out, offsets)


def _used_rows(source: Source) -> Iterator[tuple[Path, np.ndarray, pa.RecordBatch]]:
    """The used rows of all row groups: (shard, places, batch of clip_id and tokens)."""
    name, done = f"tokens/{source.modality.name}", 0
    for path in source.files:
        for batch in read_batches(path, name, ["clip_id", "tokens"]):
            places = source.places[done : done + len(batch)]
            done += len(batch)
            used = places >= 0
            if not used.any():
                continue
            if not used.all():
                batch, places = batch.filter(pa.array(used)), places[used]
            if batch["tokens"].null_count:
                raise _bad_row(path, batch, "has no tokens, yet its status is ok")
            yield path, places, batch


def _check_ids(source: Source, path: Path, batch: pa.RecordBatch, largest: np.ndarray) -> None:
    wrong = np.flatnonzero(largest >= source.modality.vocab_size)
    if len(wrong):
        row, size = int(wrong[0]), source.modality.vocab_size
        raise _bad_row(path, batch, f"has id {largest[row]}, outside 0..{size - 1}", row)


def _bad_row(path: Path, batch: pa.RecordBatch, problem: str, row: int | None = None) -> UserError:
    nulls = batch["tokens"].is_null().to_numpy(zero_copy_only=False)
    row = int(nulls.argmax()) if row is None else row
    clip = batch["clip_id"][row].as_py()
    return UserError(f"{path}: clip {clip!r} {problem}: delete this shard and run again")


def _save(packed: Packed, folder: Path) -> None:
    """Write what is not on disk yet."""
    np.savez(folder / _CAPTIONS, ids=packed.captions.ids, offsets=packed.captions.offsets)
    np.savez(folder / _ROW_DIGESTS, **packed.row_digests)  # type: ignore[arg-type]


def _files(sources: Sequence[Source], folder: Path) -> list[Path]:
    grids = [f"{s.modality.name}.npy" for s in sources if s.modality.name != "caption"]
    return [folder / name for name in (*grids, _CAPTIONS, _ROW_DIGESTS)]


def _load(sources: Sequence[Source], folder: Path) -> Packed:
    names = [s.modality.name for s in sources if s.modality.name != "caption"]
    with np.load(folder / _ROW_DIGESTS) as file:
        digests = dict(file)
    return Packed(*load(folder, names), digests)


def load(folder: Path, grids: Iterable[str]) -> tuple[dict[str, np.ndarray], Ragged]:
    """What ``pack`` left in a folder: mapped arrays of the modalities ``grids``, and captions."""
    with np.load(folder / _CAPTIONS) as file:
        captions = Ragged(file["ids"], file["offsets"])
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in grids}, captions
