"""Atomic, deterministic tables with checked schemas."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio import files, tables
from nano4m_audio.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_content_keys_are_equal_exactly_for_equal_content(a, b):
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (tables.content_key(a) == tables.content_key(b)) == same


@given(st.text(), st.integers(1, 500))
def test_shards_are_stable_and_in_range(video_id, n_shards):
    shard = tables.shard_of(video_id, n_shards)
    assert 0 <= shard < n_shards
    assert shard == tables.shard_of(video_id, n_shards)


def test_equal_rows_give_equal_bytes(tmp_path):
    rows = [
        {"clip_id": f"v@{i}", "video_id": "v", "start_s": 1.5, "sources": ["a"]} for i in range(3)
    ]
    tables.write_rows(tmp_path / "a.parquet", "candidates", rows)
    tables.write_rows(tmp_path / "b.parquet", "candidates", rows)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert tables.read_rows(tmp_path / "a.parquet", "candidates", ["clip_id"])[2] == {
        "clip_id": "v@2"
    }


def test_heavy_columns_are_not_published():
    assert "frames" in tables.SCHEMAS["clips"].names
    assert "frames" not in tables.published_schema("clips").names


def test_a_failed_write_leaves_the_old_file_and_no_temp_file(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), files.atomic_path(path) as temp:
        temp.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_full_disk_is_one_line(tmp_path):
    with (
        pytest.raises(UserError, match="no space left"),
        files.atomic_path(tmp_path / "x") as temp,
    ):
        temp.write_text("half")
        raise OSError(28, "No space left on device")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no parquet", None])
def test_unreadable_tables_are_one_line(tmp_path, content):
    path = tmp_path / "t.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"t\.parquet"):
        tables.read_table(path, "media")


def test_a_table_of_another_kind_is_refused(tmp_path):
    tables.write_table(tmp_path / "t.parquet", pa.table({"clip_id": ["a"]}))
    with pytest.raises(UserError, match="not a media table"):
        tables.read_table(tmp_path / "t.parquet", "media")
