"""``open_dataset``: what PyTorch gets, in this process and in workers, is what the tables hold."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nano4m_audio import TokenDataset, collate, open_dataset
from nano4m_audio.backends.gpt2 import PAD
from nano4m_audio.errors import UserError
from nano4m_audio.nano4m.data import spread_keyframes
from nano4m_audio.shards import set_shards
from nano4m_audio.tables import read_rows, write_rows
from tests.tokens import CLASSES, MODALITIES, number_of, token_row, write_tokens

HOSTILE = ("../../etc/passwd", "<script>'\"", "\u202eevil", "a.b/c", "x" * 10_000, "-rf@0", "=1+1")
SPLITS = {
    **{f"clip{i:02d}": ("train", "train", "val", "test")[i % 4] for i in range(20)},
    **dict.fromkeys(HOSTILE, "train"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "results"
    failed = {"status": "failed", "tokens": None}
    changed = {("depth", "clip04"): failed, ("rgb", "clip05"): failed}
    write_tokens(folder, SPLITS, changed=changed)
    set_shards(folder, 2)
    return folder


def expected(split: str | None) -> list[str]:
    """The complete clips: by split, then by id."""
    order = ("train", "val", "test")
    kept = [c for c, s in SPLITS.items() if c not in ("clip04", "clip05") and split in (None, s)]
    return sorted(kept, key=lambda c: (order.index(SPLITS[c]), c.encode()))


@pytest.mark.parametrize("split", [None, "train", "val", "test"])
def test_every_item_is_the_row_of_its_clip(results, split):
    dataset = open_dataset(results, split=split, keyframes="all")
    assert isinstance(dataset, torch.utils.data.Dataset)
    assert dataset.clip_ids == expected(split) and len(dataset) == len(expected(split))
    for i, clip in enumerate(dataset.clip_ids):
        item = dataset[i]
        assert item["clip_id"] == clip
        assert item["class_name"] == CLASSES[number_of(clip) % 3]
        assert dataset.classes[item["label"]] == item["class_name"]
        for modality in MODALITIES:
            tokens = item[modality.name]
            assert tokens.dtype == torch.int64
            rows = token_row(clip, modality.name)["tokens"]
            assert tokens.tolist() == (rows[0] if modality.name == "audio" else rows)
    assert dataset.table()["clip_id"].to_pylist() == dataset.clip_ids


@given(st.integers(1, 10), st.lists(st.sampled_from([m.name for m in MODALITIES]), min_size=1))
def test_keyframes_and_modalities_are_those_asked_for(results, keyframes, names):
    dataset = open_dataset(results, "val", names, keyframes)
    item = dataset[1]
    assert set(item) == {*names, "label", "class_name", "clip_id"}
    assert list(dataset.vocab_sizes) == [n for n in dict.fromkeys(names)]
    for name in set(names) & {"rgb", "depth", "normals"}:
        rows = np.array(token_row(item["clip_id"], name)["tokens"])[spread_keyframes(keyframes)]
        assert (item[name].numpy() == (rows[0] if keyframes == 1 else rows)).all()
        assert item[name].shape == ((196,) if keyframes == 1 else (keyframes, 196))


def test_places_count_from_both_ends_and_end(results):
    dataset = open_dataset(results, "train")
    assert dataset[-1]["clip_id"] == dataset[np.int64(len(dataset) - 1)]["clip_id"]
    for place in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=f"clip {place} of"):
            dataset[place]
    assert [item["clip_id"] for item in dataset] == dataset.clip_ids  # type: ignore[attr-defined]


def test_pickled_it_is_small_and_opens_the_same_clips(results):
    dataset = open_dataset(results, "train")
    dataset[0]
    small = pickle.dumps(dataset)
    assert len(small) < 1_000
    again: TokenDataset = pickle.loads(small)
    assert again.clip_ids == dataset.clip_ids
    assert again[3]["rgb"].tolist() == dataset[3]["rgb"].tolist()


@pytest.mark.slow
def test_workers_that_are_spawned_give_what_one_process_gives(results):
    dataset = open_dataset(results, "train")
    options: dict = {"batch_size": 4, "collate_fn": collate}
    plain = list(DataLoader(dataset, **options))
    spawned = DataLoader(dataset, num_workers=2, multiprocessing_context="spawn", **options)
    for one, other in zip(plain, spawned, strict=True):
        assert one["clip_id"] == other["clip_id"]
        for name, value in one.items():
            assert not isinstance(value, torch.Tensor) or torch.equal(value, other[name])


def test_a_batch_pads_captions_and_nothing_else(results):
    dataset = open_dataset(results, "train")
    items = [dataset[i] for i in range(8)]
    batch = collate(items)
    assert batch["rgb"].shape == (8, 196) and batch["audio"].shape == (8, 512)
    lengths = batch["caption_length"].tolist()
    assert len(set(lengths)) > 1 and batch["caption"].shape == (8, max(lengths))
    for row, length, item in zip(batch["caption"], lengths, items, strict=True):
        assert row[:length].tolist() == item["caption"].tolist()
        assert (row[length:] == PAD).all()
    assert batch["clip_id"] == dataset.clip_ids[:8] and batch["label"].shape == (8,)


def test_tokens_are_packed_once_and_again_after_a_change(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("store"))
    first = open_dataset(folder, "train")
    (packed,) = (folder / "store/packed").iterdir()
    before = (packed / "rgb.npy").stat().st_mtime_ns
    assert open_dataset(folder, "val", ["rgb"], keyframes=3).clip_ids == expected("val")
    assert (packed / "rgb.npy").stat().st_mtime_ns == before
    path = folder / "tokens/rgb/0000.parquet"
    rows = read_rows(path, "tokens/rgb")
    rows[0] |= {"key": "another", "tokens": [[7] * 196] * 10}
    write_rows(path, "tokens/rgb", rows)
    again = open_dataset(folder)
    assert again[again.clip_ids.index(rows[0]["clip_id"])]["rgb"].unique().tolist() == [7]
    lazily = pickle.loads(pickle.dumps(first))
    assert lazily[0]["clip_id"] == expected("train")[0]  # what was opened stays as it was
    shutil.rmtree(folder / "store")
    with pytest.raises(UserError, match="is gone: open the dataset again"):
        pickle.loads(pickle.dumps(first))[0]


def test_tokens_can_be_packed_elsewhere(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("store"))
    assert len(open_dataset(folder, store=tmp_path / "mine")) == len(expected(None))
    assert not (folder / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "trian"}, "split 'trian' is not known, did you mean 'train'"),
        ({"split": ""}, "is not known: it is one of train, val, test"),
        ({"modalities": ["rgb", "dept"]}, "did you mean 'depth'"),
        ({"modalities": "rgbd"}, "did you mean 'rgb'"),
        ({"modalities": []}, "name some of rgb"),
        ({"keyframes": 0}, "keyframes = 0: 1 to 10"),
        ({"keyframes": 11}, "keyframes = 11"),
        ({"keyframes": True}, "keyframes = True"),
        ({"keyframes": "al"}, "keyframes = 'al'"),
    ],
)
def test_a_wrong_name_is_one_line(results, arguments, message):
    with pytest.raises(UserError) as error:
        open_dataset(results, **arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_a_finished_dataset_is_one_line(results, tmp_path):
    with pytest.raises(UserError, match=r"holds no finished dataset \(split.parquet is missing\)"):
        open_dataset(tmp_path / "nothing")
    folder = tmp_path / "results"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("store"))
    (folder / "tokens/depth/0001.parquet").unlink()
    with pytest.raises(UserError, match=r"tokens/depth/0001.parquet is missing"):
        open_dataset(folder)
    write_tokens(folder, {"a": ""})
    set_shards(folder, 2)
    with pytest.raises(UserError, match="no clip has tokens of all 5 modalities"):
        open_dataset(folder)


def test_originals_that_were_never_there_are_one_line(results):
    dataset = open_dataset(results, "train")
    for call in (lambda: dataset.frame(0), lambda: dataset.audio(0)):
        with pytest.raises(UserError, match="does not exist"):
            call()
    with pytest.raises(UserError, match="which tokenizers made the tokens"):
        dataset.decode("rgb", dataset[0]["rgb"])
    with pytest.raises(UserError, match="keyframe 10"):
        dataset.frame(0, 10)
    with pytest.raises(UserError, match="'caption' has no pictures"):
        dataset.frame(0, modality="caption")
