"""The published token layout, there and back; hostile names and wrapped ids are refused."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.backends import registry
from nano4m_audio.errors import UserError
from nano4m_audio.interchange.layout import check_name, export_tokens, import_tokens
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_rows
from nano4m_audio.training.token_sets import read_token_sets
from tests.tokens import MODALITIES, write_tokens

SPLITS = {"as_abc-D_000010": "train", "vgg_x_y_000000": "val", "clip@100#f": "test"}
GPT2 = registry.load("text_tokenizer", "gpt2")


def audio(seed: int) -> list:
    codes = np.random.default_rng(seed).integers(0, 1024, 512)
    codes[1::2] += 1024
    return [codes.tolist()]


def write(results: Path, splits: dict[str, str], captions: list[str], shards: int = 2):
    changed = {}
    for i, clip in enumerate(splits):
        changed["audio", clip] = {"tokens": audio(i)}
        changed["caption", clip] = {"tokens": GPT2.encode(captions[i % len(captions)])}
    return write_tokens(results, splits, shards, changed)


def read(results: Path, shards: int) -> dict:
    files = Results(results).token_files(shards)
    return read_token_sets(results / "split.parquet", files, MODALITIES, results / "store")


@pytest.fixture
def published(tmp_path) -> Path:
    """A published data set of three clips, one per split."""
    write(tmp_path / "a", SPLITS, ["cat meowing", "pigeon cooing"])
    assert export_tokens(Results(tmp_path / "a"), tmp_path / "published") == 3
    return tmp_path / "published"


def test_files_are_what_the_reference_reads(published):
    names = {str(p.relative_to(published)) for p in published.rglob("*.*") if p.is_file()}
    assert len(names) == 15 and "train/tok_rgb@196/as_abc-D_000010.npy" in names
    rgb = np.load(published / "train/tok_rgb@196/as_abc-D_000010.npy")
    sound = np.load(published / "train/tok_audio@512/as_abc-D_000010.npy")
    assert (rgb.shape, rgb.dtype, sound.shape, sound.dtype) == ((10, 196), "<i4", (10, 512), "<i4")
    for path in published.rglob("*.npy"):
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        assert not fortran_order and shape[0] == 10 and dtype == "<i4", path
    assert (sound == sound[0]).all() and sound[0].tolist() == audio(0)[0]
    captions = json.loads((published / "val/scene_desc/vgg_x_y_000000.json").read_text())
    assert captions == ["pigeon cooing"] * 10


def test_imported_clips_know_their_video_class_and_source(published, tmp_path):
    assert import_tokens(published, tmp_path / "b", 3) == 3
    rows = {r["clip_id"]: r for r in read_rows(tmp_path / "b/split.parquet", "split")}
    assert rows["as_abc-D_000010"]["video_id"] == "abc-D"
    assert rows["vgg_x_y_000000"]["source"] == "vggsound"
    assert rows["vgg_x_y_000000"]["class_name"] == "pigeon"
    assert rows["clip@100#f"]["class_name"] == "cat"


names = st.text("abcXYZ09-_@#.", min_size=1, max_size=12).filter(lambda s: not s.startswith("."))


@settings(max_examples=6, deadline=None)
@given(
    st.dictionaries(names, st.sampled_from(["train", "val", "test"]), min_size=1, max_size=5),
    st.lists(st.text(max_size=20).filter(lambda s: s.isprintable()), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_tokens_there_and_back_are_the_same(splits, captions, shards):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "a", splits, captions, shards)
        export_tokens(Results(folder / "a"), folder / "published")
        assert import_tokens(folder / "published", folder / "b", 2) == len(splits)
        before, after = read(folder / "a", shards), read(folder / "b", 2)
        for split in before:
            assert before[split].clip_ids == after[split].clip_ids
            for x, y in zip(before[split].data.arrays, after[split].data.arrays, strict=True):
                np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".", "", ".hidden", "a\\b", "a\nb", "a\0b", "/etc/x", "x" * 201]
)
def test_a_name_that_is_no_file_name_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(UserError, match="cannot be a file name"):
        check_name(name)
    write(tmp_path / "a", {name: "train"}, ["cat meowing"])
    with pytest.raises(UserError, match="cannot be a file name") as caught:
        export_tokens(Results(tmp_path / "a"), tmp_path / "deep" / "published")
    assert "\n" not in str(caught.value) and not (tmp_path / "deep").exists()


def spoil(path: Path, change) -> None:
    np.save(path, change(np.load(path)))


WRONG = [
    ("tok_rgb@196", lambda a: (a + 40_000).astype(np.int16), "ids below 0; written as int16"),
    ("tok_rgb@196", lambda a: a + 70_000, "does not fit into the tables"),
    ("tok_depth@196", lambda a: a[:1], r"int32 \[1, 196\], not whole numbers \[10, 196\]"),
    ("tok_normal@196", lambda a: a.astype(np.float32), "float32"),
    ("tok_audio@512", lambda a: a % 1024, "the second with 1024 added"),
    ("tok_audio@512", lambda a: a + (np.arange(10) == 3)[:, None], "its rows differ"),
]


@pytest.mark.parametrize(("modality", "change", "message"), WRONG)
def test_a_wrong_array_is_named(published, tmp_path, modality, change, message):
    path = published / "test" / modality / "clip@100#f.npy"
    spoil(path, change)
    with pytest.raises(UserError, match=message) as caught:
        import_tokens(published, tmp_path / "b", 1)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("modality", ["tok_rgb@196", "tok_audio@512"])
def test_a_missing_file_and_an_array_of_objects_are_refused(published, tmp_path, modality):
    path = published / "test" / modality / "clip@100#f.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not an array of tokens"):
        import_tokens(published, tmp_path / "b", 1)
    path.unlink()
    with pytest.raises(UserError, match="the clip is not complete"):
        import_tokens(published, tmp_path / "b", 1)


@pytest.mark.parametrize("content", ['["a", "b"]', '{"a": 1}', "[", "[]", "[1]"])
def test_a_wrong_caption_file_is_one_line(published, tmp_path, content):
    (published / "test/scene_desc/clip@100#f.json").write_text(content)
    with pytest.raises(UserError, match=r"scene_desc/clip@100#f\.json") as caught:
        import_tokens(published, tmp_path / "b", 1)
    assert "\n" not in str(caught.value)


def test_a_clip_in_two_splits_is_refused(published, tmp_path):
    source = published / "test/scene_desc/clip@100#f.json"
    shutil.copy(source, published / "train/scene_desc")
    with pytest.raises(UserError, match="is in train and in test"):
        import_tokens(published, tmp_path / "b", 1)


def test_a_folder_without_the_layout_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no captions in train/scene_desc, val/scene_desc"):
        import_tokens(tmp_path, tmp_path / "b", 1)
