"""Token tables become the same packed arrays however they lie, and a wrong row is named."""

from __future__ import annotations

import mmap
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.errors import UserError
from nano4m_audio.training.token_sets import read_token_sets, subset
from tests.tokens import MODALITIES, token_row, write_tokens

SPLITS = {f"clip{i}": ("train", "train", "train", "val", "test", "")[i % 6] for i in range(23)}


def read(results, files, modalities=MODALITIES, **more):
    return read_token_sets(results / "split.parquet", files, modalities, results / "store", **more)


def same(a, b) -> bool:
    return all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(a.data.arrays, b.data.arrays, strict=True)
    ) and np.array_equal(a.data.lengths, b.data.lengths)


def on_disk(tokens) -> bool:
    array = tokens.data.arrays[0]
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def test_every_token_arrives_at_its_clip(tmp_path):
    sets = read(tmp_path, write_tokens(tmp_path, SPLITS))
    assert {n: len(s) for n, s in sets.items()} == {"train": 12, "val": 4, "test": 4}
    for name, found in sets.items():
        assert found.clip_ids == sorted(c for c, s in SPLITS.items() if s == name)
        for row, clip in enumerate(found.clip_ids):
            for m, modality in enumerate(MODALITIES):
                wanted = np.array(token_row(clip, modality.name)["tokens"])
                got = found.data.arrays[m][row]
                if modality.name == "caption":
                    assert found.data.lengths[row, m] == len(wanted)
                    assert not got[0, len(wanted) :].any()
                    got = got[0, : len(wanted)]
                np.testing.assert_array_equal(got, wanted)


def test_shards_and_memory_change_nothing(tmp_path):
    one = read(tmp_path / "a", write_tokens(tmp_path / "a", SPLITS, shards=1))
    files = write_tokens(tmp_path / "b", SPLITS, shards=3)
    in_memory, mapped = read(tmp_path / "b", files), read(tmp_path / "b", files, in_memory_bytes=0)
    assert on_disk(mapped["train"]) and not on_disk(in_memory["train"])
    for name in one:
        assert same(one[name], in_memory[name]) and same(one[name], mapped[name])
        assert one[name].digest == in_memory[name].digest == mapped[name].digest


def test_the_packed_files_are_built_once(tmp_path):
    files = write_tokens(tmp_path, SPLITS)
    first = read(tmp_path, files, in_memory_bytes=0)
    built = sorted((tmp_path / "store/packed").rglob("*.npy"))
    before = [p.stat().st_mtime_ns for p in built]
    again = read(tmp_path, files, in_memory_bytes=0)
    assert [p.stat().st_mtime_ns for p in built] == before and len(built) == 4
    assert same(first["train"], again["train"])
    row = {"key": "another", "tokens": token_row("x", "rgb")["tokens"]}
    files = write_tokens(tmp_path, SPLITS, changed={("rgb", "clip0"): row})
    changed = read(tmp_path, files, in_memory_bytes=0)
    assert changed["train"].digest != first["train"].digest
    assert changed["val"].digest == first["val"].digest


def test_a_killed_build_is_built_again(tmp_path):
    files = write_tokens(tmp_path, SPLITS)
    first = read(tmp_path, files, in_memory_bytes=0)
    (folder,) = (tmp_path / "store/packed").iterdir()
    (folder / "done").unlink()
    (folder / "rgb.npy").write_bytes(b"half")
    assert same(read(tmp_path, files, in_memory_bytes=0)["train"], first["train"])


def test_a_clip_that_failed_in_one_modality_is_left_out(tmp_path):
    failed = {"status": "failed", "tokens": None}
    sets = read(tmp_path, write_tokens(tmp_path, SPLITS, changed={("depth", "clip0"): failed}))
    assert "clip0" not in sets["train"].clip_ids and len(sets["train"]) == 11


WRONG = [
    ({"tokens": [[4_096] * 196] * 10}, "rgb", "'clip4' has id 4096, outside 0..4095"),
    ({"tokens": None}, "rgb", "'clip4' has no tokens, yet its status is ok"),
    ({"tokens": []}, "caption", "'clip4' has 0 ids, not 1..64"),
    ({"tokens": [1] * 65}, "caption", "'clip4' has 65 ids, not 1..64"),
    ({"tokens": [1, 50_304]}, "caption", "'clip4' has id 50304, outside 0..50303"),
    ({"clip_id": "clip2"}, "audio", "clip 'clip2' has more than one row"),
]


@pytest.mark.parametrize("in_memory_bytes", [0, 1 << 30])
@pytest.mark.parametrize(("columns", "modality", "message"), WRONG)
def test_a_wrong_row_is_named(tmp_path, columns, modality, message, in_memory_bytes):
    files = write_tokens(tmp_path, SPLITS, changed={(modality, "clip4"): columns})
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, files, in_memory_bytes=in_memory_bytes)
    assert f"tokens/{modality}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [0.2, 0.4, 0.6, 0.8])
def test_a_flipped_bit_is_found_and_its_shard_named(tmp_path, place):
    files = write_tokens(tmp_path, SPLITS)
    content = bytearray(files["depth"][1].read_bytes())
    content[int(len(content) * place)] ^= 8
    files["depth"][1].write_bytes(content)
    with pytest.raises(UserError, match=r"tokens/depth/0001\.parquet is not a readable"):
        read(tmp_path, files)


def test_damaged_packed_tokens_are_packed_again(tmp_path):
    files = write_tokens(tmp_path, SPLITS)
    before = read(tmp_path, files)["train"]
    read(tmp_path, files, in_memory_bytes=0)
    for path in sorted((tmp_path / "store/packed").rglob("*.np?")):
        content = bytearray(path.read_bytes())
        content[-20] ^= 4
        path.write_bytes(content)
    after = read(tmp_path, files, in_memory_bytes=0)["train"]
    assert after.digest == before.digest and same(after, before)


def test_a_shorter_audio_window_is_the_beginning_of_the_long_one(tmp_path):
    files = write_tokens(tmp_path, SPLITS)
    short = tuple(replace(m, max_tokens=256) if m.name == "audio" else m for m in MODALITIES)
    full, cut = read(tmp_path, files)["train"], read(tmp_path, files, short)["train"]
    np.testing.assert_array_equal(cut.data.arrays[1], full.data.arrays[1][:, :, :256])
    assert cut.digest != full.digest


@st.composite
def clip_tables(draw):
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    names = [f"c{c}_{i}" for c, size in enumerate(sizes) for i in range(size)]
    classes = [f"class{c}" for c, size in enumerate(sizes) for _ in range(size)]
    held = draw(st.integers(0, 5))
    return pa.table(
        {
            "clip_id": [*names, *(f"v{i}" for i in range(held))],
            "class_name": [*classes, *["class0"] * held],
            "number": [0] * len(names) + [1] * held,
        }
    )


@settings(max_examples=60)
@given(clip_tables(), st.integers(0, 3), st.data())
def test_subsets_are_exact_nested_stratified_and_spare_the_other_splits(clips, seed, data):
    n = sum(number == 0 for number in clips["number"].to_pylist())
    small = data.draw(st.integers(0, n))
    large = data.draw(st.integers(small, n))
    found = [subset(clips, count, seed).to_pylist() for count in (small, large)]
    few, many = ({r["clip_id"] for r in rows if r["number"] == 0} for rows in found)
    assert (len(few), len(many)) == (small, large) and few <= many
    held = {r["clip_id"] for r in clips.to_pylist() if r["number"]}
    assert held <= {r["clip_id"] for r in found[0]}
    sizes = Counter(r["class_name"] for r in clips.to_pylist() if r["number"] == 0)
    kept = Counter(r["class_name"] for r in found[0] if r["number"] == 0)
    for name, size in sizes.items():
        assert abs(kept[name] - small * size / n) <= 1 + len(sizes) / 2


def test_a_subset_is_chosen_by_id_not_by_order(tmp_path):
    files = write_tokens(tmp_path, SPLITS)
    first = read(tmp_path, files, train_clips=5, seed=1)["train"]
    other = read(tmp_path, files, train_clips=5, seed=2)["train"]
    assert len(first) == len(other) == 5 and first.clip_ids != other.clip_ids
    files = write_tokens(tmp_path, dict(reversed(SPLITS.items())), shards=3)
    backwards = read(tmp_path, files, train_clips=5, seed=1)["train"]
    assert backwards.clip_ids == first.clip_ids and backwards.digest == first.digest
