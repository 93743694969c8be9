"""Damage is found wherever it is, and never becomes a value."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio import checked
from nano4m_audio.checked import CheckedFile, DamagedError
from nano4m_audio.tables import SCHEMAS


def values_of(kind: pa.DataType) -> st.SearchStrategy:
    """Values of a type, some of them missing."""
    some: st.SearchStrategy[Any]
    if pa.types.is_list(kind):
        some = st.lists(values_of(kind.value_type), max_size=3)
    elif pa.types.is_fixed_size_list(kind):
        shape, inner = [kind.list_size], kind.value_type
        while pa.types.is_fixed_size_list(inner):
            shape, inner = [*shape, inner.list_size], inner.value_type
        some = st.integers(0, 900).map(lambda n: np.full(shape, n).tolist())
    elif pa.types.is_string(kind):
        some = st.text(max_size=5)
    elif pa.types.is_binary(kind):
        some = st.binary(max_size=8)
    elif pa.types.is_boolean(kind):
        some = st.booleans()
    elif pa.types.is_floating(kind):
        some = st.floats(width=kind.bit_width)
    else:
        some = st.integers(0, 2 ** (kind.bit_width - 1) - 1)
    return st.none() | some


def rows_of(name: str) -> st.SearchStrategy:
    columns = {field.name: values_of(field.type) for field in SCHEMAS[name]}
    return st.lists(st.fixed_dictionaries(columns), max_size=5)


def write(path: Path, table: pa.Table, size: int = 2) -> None:
    groups = (table.slice(i, size) for i in range(0, len(table), size))
    checked.write(path, table.schema, groups)


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_table_comes_back_as_it_was(tmp_path_factory, name, data):
    table = pa.Table.from_pylist(data.draw(rows_of(name)), schema=SCHEMAS[name])
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    write(path, table)
    with CheckedFile(path) as file:
        found = file.read(table.schema.names)
        assert found.schema == table.schema
        assert repr(found.to_pylist()) == repr(table.to_pylist())  # NaN equals NaN
        for column in table.schema.names[::-3]:
            assert repr(file.read([column]).to_pylist()) == repr(table.select([column]).to_pylist())
    assert pq.read_table(path).num_rows == len(table)  # any reader can


@settings(max_examples=50, deadline=None)
@given(rows=rows_of("verdicts"), cuts=st.lists(st.integers(0, 5), max_size=3))
def test_the_bytes_depend_on_values_alone(tmp_path_factory, rows, cuts):
    folder = tmp_path_factory.mktemp("t")
    whole = pa.Table.from_pylist(rows, schema=SCHEMAS["verdicts"])
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    pieces = [whole.slice(a, b - a) for a, b in zip(bounds, bounds[1:], strict=False)]
    padded = pa.concat_tables([whole, whole]).slice(len(whole), len(whole))
    for number, table in enumerate((whole, pa.concat_tables(pieces), padded)):
        write(folder / f"{number}.parquet", table)
    assert len({(folder / f"{number}.parquet").read_bytes() for number in range(3)}) == 1


def sample_table() -> pa.Table:
    rng = np.random.default_rng(3)
    rows = [
        {
            "clip_id": f"clip{i}", "key": f"{i:032x}", "status": "ok", "reason": "", "message": "",
            "lowest": rng.random(10).tolist(), "highest": None if i == 2 else [1.0],
            "maps": [rng.bytes(30), b"", None],
        }
        for i in range(6)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMAS["labels/depth"])


def test_no_flipped_bit_becomes_a_value(tmp_path):
    """Bits of every region: magic, pages and their headers, footer, digests."""
    path, table = tmp_path / "t.parquet", sample_table()
    write(path, table)
    good, generator, found = path.read_bytes(), random.Random(4), 0
    for _ in range(1500):
        position = generator.randrange(len(good) * 8)
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        path.write_bytes(bad)
        try:
            with CheckedFile(path) as file:
                assert file.read(table.schema.names).equals(table), position
        except DamagedError:
            found += 1
    assert found > 1000


@pytest.mark.parametrize("cut", [0, 3, 7, 8, 100, -1, -8, -200])
def test_a_cut_file_is_damaged(tmp_path, cut):
    path = tmp_path / "t.parquet"
    write(path, sample_table())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedError), CheckedFile(path):
        pass


def test_a_file_that_cannot_be_read_is_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError), CheckedFile(tmp_path / "absent.parquet"):
        pass
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(IsADirectoryError), CheckedFile(tmp_path / "folder.parquet"):
        pass


def test_a_file_without_digests_is_not_trusted(tmp_path):
    pq.write_table(sample_table(), tmp_path / "t.parquet")
    with pytest.raises(DamagedError), CheckedFile(tmp_path / "t.parquet"):
        pass
