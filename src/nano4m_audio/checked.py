"""Parquet files whose content is checked when it is read, and that never give another value.

Parquet's page checksums leave headers and the footer open, and say nothing of what was decoded. So
a file carries, in the metadata of its footer, a digest of the values of each column in each row
group; whoever reads some columns of some groups compares exactly these. A digest is one of values:
chunks, offsets and unused bytes of Arrow's buffers do not matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_DIGESTS, _NOTES = b"nano4m_audio.digests", b"nano4m_audio.notes"
_TAIL_BYTES = 8  # length of the footer, and the magic


class DamagedError(Exception):
    """A file that can be read holds something else than was written."""

    def __init__(self, path: Path, why: object) -> None:
        self.path, self.why = path, " ".join(str(why).split())[:200]
        super().__init__(f"{path} is damaged ({self.why})")


def footer_digest(path: Path) -> str:
    """A digest of a file's size and footer, and by it of all digests in it. Raises OSError."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        handle.seek(max(0, size - _TAIL_BYTES))
        length = int.from_bytes(handle.read(4), "little") + _TAIL_BYTES
        handle.seek(max(0, size - length))
        digest = hashlib.blake2b(size.to_bytes(8, "big"), digest_size=16)
        digest.update(handle.read())
    return digest.hexdigest()


def write(
    path: Path,
    schema: pa.Schema,
    groups: Iterable[pa.Table],
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write each of ``groups`` as one row group, with digests and page checksums.

    ``notes`` are plain values for ``CheckedFile.notes``; they are looked up when all groups are
    written. The bytes are a function of schema, groups and notes.
    """
    digests: dict[str, list[str]] = {name: [] for name in schema.names}
    options = {"compression": "zstd", "compression_level": 3, "write_page_checksum": True}
    with pq.ParquetWriter(path, schema, **options) as writer:
        for group in groups:
            if not len(group):
                continue
            writer.write_table(group, row_group_size=len(group))
            for name in schema.names:
                digests[name].append(_digest(name, group[name]))
        texts = {_DIGESTS: json.dumps(digests), _NOTES: json.dumps(notes or {}, sort_keys=True)}
        writer.add_key_value_metadata(texts)


class CheckedFile:
    """A Parquet file of ``write``, open for reading; what it gives has been compared.

    Every method raises DamagedError for a file that is not what was written, and OSError for one
    that cannot be read: the two are never mixed up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb"), _damage(path):
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            metadata = self._file.metadata.metadata or {}
            self._digests: dict[str, list[str]] = json.loads(metadata[_DIGESTS])
            self.notes: dict[str, Any] = json.loads(metadata[_NOTES])
            self.schema: pa.Schema = self._file.schema_arrow.remove_metadata()
            if list(self._digests) != self.schema.names:
                raise ValueError("its columns are not those that were written")

    def __enter__(self) -> CheckedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def n_groups(self) -> int:
        """The number of row groups that were written."""
        return len(next(iter(self._digests.values()), []))

    def group(self, number: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one row group, in the order asked for."""
        with _damage(self.path):
            table = self._file.read_row_group(number, columns=list(columns)).select(list(columns))
            for name in columns:
                if _digest(name, table[name]) != self._digests[name][number]:
                    raise ValueError(f"column {name} of row group {number} has other values")
        return table.replace_schema_metadata(None)

    def groups(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of all row groups, one after the other."""
        if self.n_groups != self._file.num_row_groups:
            raise DamagedError(self.path, "a row group is missing")
        for number in range(self.n_groups):
            yield self.group(number, columns)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows."""
        with _damage(self.path):
            schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.concat_tables([schema.empty_table(), *self.groups(columns)])


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Tell damage from a file that cannot be read: the latter has the error number of a system call
    (Arrow raises OSError for both)."""
    try:
        yield
    except OSError as error:
        if error.errno is not None or not path.is_file():
            raise
        raise DamagedError(path, error) from None
    except MemoryError:
        raise
    except (pa.ArrowException, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise DamagedError(path, error) from None


def _digest(name: str, column: pa.ChunkedArray) -> str:
    """A digest of the name, type and values of a column."""
    head = f"{name}\0{_kind(column.type)}\0{len(column)}"
    digest = hashlib.blake2b(head.encode(), digest_size=16)
    _add(digest, column.combine_chunks())
    return digest.hexdigest()


def _kind(kind: pa.DataType) -> str:
    """A type without the names of list elements, which Parquet does not keep."""
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.list_size}x{_kind(kind.value_type)}"
    return f"list<{_kind(kind.value_type)}>" if pa.types.is_list(kind) else str(kind)


def _add(digest: Any, array: pa.Array) -> None:
    kind = array.type
    if array.null_count:
        digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)))
        array = array.drop_null()
    if pa.types.is_list(kind):
        digest.update(pc.list_value_length(array).to_numpy(zero_copy_only=False))
        _add(digest, array.flatten())
    elif pa.types.is_fixed_size_list(kind):
        _add(digest, array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        digest.update(pc.binary_length(array).to_numpy(zero_copy_only=False))
        _, offsets, values = array.buffers()
        if len(array) and values is not None:
            bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
            digest.update(memoryview(values)[int(bounds[0]) : int(bounds[-1])])
    elif pa.types.is_timestamp(kind):
        _add(digest, array.cast(pa.int64()))
    elif not pa.types.is_null(kind):
        digest.update(np.ascontiguousarray(array.to_numpy(zero_copy_only=False)))
