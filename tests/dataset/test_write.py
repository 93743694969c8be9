"""``export dataset``: readers of others find the same clips, and a folder is whole or absent."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nano4m_audio import open_dataset
from nano4m_audio.cli.app import app
from nano4m_audio.dataset.write import FORMS, export_dataset, new_folder
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.shards import set_shards
from nano4m_audio.tables import read_rows, write_rows
from tests.dataset.test_clips import HOSTILE
from tests.tokens import MODALITIES, token_row, write_tokens

SPLITS = {
    **{f"clip{i:02d}": ("train", "train", "val", "test")[i % 4] for i in range(12)},
    **dict.fromkeys(HOSTILE, "train"),
}
HF_NAMES = {"train": "train", "val": "validation", "test": "test"}
EVIL_CLASS = "</td><script>|\n# cat\u202e"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    folder = tmp_path_factory.mktemp("data") / "results"
    captions = {("caption", clip): {"tokens": [50258, 9246, 50259]} for clip in SPLITS}
    write_tokens(folder, SPLITS, changed=captions)
    rows = read_rows(folder / "split.parquet", "split")
    for row in rows:
        row |= {"source": "audioset+vggsound", "group": row["clip_id"]}
        row["class_name"] = EVIL_CLASS if row["clip_id"] == HOSTILE[0] else row["class_name"]
    write_rows(folder / "split.parquet", "split", rows)
    set_shards(folder, 2)
    return Results(folder)


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", "dataset", *map(str, arguments)])


def check_row(row: dict[str, Any]) -> None:
    clip = row["clip_id"]
    for modality in MODALITIES[:-1]:
        rows = token_row(clip, modality.name)["tokens"]
        assert np.array_equal(row[modality.name], rows[0] if modality.name == "audio" else rows)
    assert list(row["caption"]) == [50258, 9246, 50259] and row["caption_text"] == "cat"
    assert row["split"] == SPLITS[clip] and row["video_id"] == clip
    assert row["source"] == "audioset+vggsound"


@pytest.mark.parametrize("form", ["parquet", "hf"])
def test_parquet_holds_every_clip_with_class_and_split(results, tmp_path, form):
    out = tmp_path / "out"
    done = call("--to", form, out, "--results", results)
    assert done.exit_code == 0, done.output
    for split, name in HF_NAMES.items():
        path = out / (f"data/{name}-00000-of-00001.parquet" if form == "hf" else f"{split}.parquet")
        rows = pq.read_table(path).to_pylist()
        dataset = open_dataset(results, split)
        assert [row["clip_id"] for row in rows] == dataset.clip_ids
        for row, item in zip(rows, dataset, strict=True):  # type: ignore[call-overload]
            check_row(row)
            assert row["class_name"] == item["class_name"]


@pytest.mark.parametrize("form", ["parquet", "hf"])
def test_the_package_datasets_reads_it(results, tmp_path, form):
    datasets = pytest.importorskip("datasets", reason="reads what is exported for it")
    export_dataset(results, form, tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in found.items()} == {
        HF_NAMES[split]: len(open_dataset(results, split)) for split in HF_NAMES
    }
    for row in found["train"]:
        check_row(row)
    pattern = "data/train-*.parquet" if form == "hf" else "train.parquet"
    plain = datasets.load_dataset(
        "parquet",
        data_files={"train": str(tmp_path / "out" / pattern)},
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert plain["clip_id"][:] == open_dataset(results, "train").clip_ids
    assert np.array(plain.with_format("numpy")[0]["rgb"]).shape == (10, 196)


def test_large_splits_are_several_files(results, tmp_path, monkeypatch):
    monkeypatch.setattr("nano4m_audio.dataset.write._HF_CLIPS", 4)
    monkeypatch.setattr("nano4m_audio.dataset.write._TAR_CLIPS", 4)
    monkeypatch.setattr("nano4m_audio.dataset.write._CHUNK", 3)
    expected = open_dataset(results, "train").clip_ids
    export_dataset(results, "hf", tmp_path / "hf")
    files = sorted((tmp_path / "hf/data").glob("train-*"))
    number = -(-len(expected) // 4)
    assert files[-1].name == f"train-{number - 1:05d}-of-{number:05d}.parquet"
    assert [c for f in files for c in pq.read_table(f)["clip_id"].to_pylist()] == expected
    # The card leaves out what was uploaded when there were other numbers of clips.
    assert f"data/train-*-of-{number:05d}.parquet" in (tmp_path / "hf/README.md").read_text()
    export_dataset(results, "webdataset", tmp_path / "tar")
    assert len(list((tmp_path / "tar").glob("train-*.tar"))) == number


# The package leaves its files to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed")
def test_the_package_webdataset_reads_it_whatever_clips_are_called(results, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="reads what is exported for it")
    export_dataset(results, "webdataset", tmp_path / "out")
    for split in HF_NAMES:
        url = str(tmp_path / "out" / f"{split}-000000.tar")
        samples = list(webdataset.WebDataset(url, shardshuffle=False).decode())
        assert [s["json"]["clip_id"] for s in samples] == open_dataset(results, split).clip_ids
        assert len({sample["__key__"] for sample in samples}) == len(samples)
        for sample in samples:
            assert not set(sample["__key__"]) & set("./\\\u202e<")
            tokens = {m.name: sample[f"{m.name}.npy"] for m in MODALITIES}
            assert all(array.dtype == np.uint16 for array in tokens.values())
            check_row({**sample["json"], **tokens})


def test_the_npy_layout_is_the_published_one(results, tmp_path):
    with pytest.raises(UserError, match="cannot be a file name"):
        export_dataset(results, "npy", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    plain = Results(tmp_path / "results")
    caption = {("caption", "one@0"): {"tokens": [50258, 9246, 50259]}}
    write_tokens(plain.root, {"one@0": "val"}, changed=caption)
    set_shards(plain.root, 2)
    assert export_dataset(plain, "npy", tmp_path / "out") == 1
    tokens = np.load(tmp_path / "out/val/tok_rgb@196/one@0.npy")
    assert tokens.tolist() == token_row("one@0", "rgb")["tokens"]
    assert (tmp_path / "out/README.md").is_file()
    with pytest.raises(UserError, match="npy layout has tokens only"):
        export_dataset(plain, "npy", tmp_path / "other", sound=True)


@pytest.mark.parametrize("form", FORMS[:3])
def test_equal_clips_give_equal_bytes_and_no_byte_tells_of_this_machine(results, tmp_path, form):
    for name in ("one", "two"):
        export_dataset(results, form, tmp_path / name)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        assert content == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        assert os.fsencode(tmp_path) not in content and os.fsencode(results.root) not in content


def test_the_card_counts_the_clips_and_shows_names_as_text(results, tmp_path):
    export_dataset(results, "hf", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "other"
    (config,) = head["configs"]
    assert [f["split"] for f in config["data_files"]] == ["train", "validation", "test"]
    counts = [len(open_dataset(results, split)) for split in HF_NAMES]
    row = f"| audioset+vggsound | {' | '.join(map(str, counts))} | {sum(counts)} |"
    assert row in card and f"{sum(counts)} clips as tokens" in card
    assert r"&lt;/td&gt;&lt;script&gt;\| \# cat" in card and "<script" not in card
    assert "ICASSP 2017" in card and "| `class_name` |" in card


@pytest.mark.parametrize("what", ["full", "file", "link"])
def test_what_is_there_stays_as_it_is(results, tmp_path, what):
    out = tmp_path / "out"
    if what == "full":
        out.mkdir()
        (out / "mine").write_text("precious")
    elif what == "file":
        out.write_text("precious")
    else:
        out.symlink_to(tmp_path / "nowhere")
    done = call("--to", "hf", out, "--results", results)
    assert isinstance(done.exception, UserError) and "\n" not in str(done.exception)
    assert "name a new" in str(done.exception)
    assert (what != "full" or (out / "mine").read_text() == "precious") and not list(
        tmp_path.glob(".*")
    )


def test_an_empty_folder_is_taken(results, tmp_path):
    (tmp_path / "out").mkdir()
    assert call("--to", "parquet", tmp_path / "out", "--results", results).exit_code == 0
    assert (tmp_path / "out/README.md").is_file()


@given(st.sampled_from([UserError("x"), KeyboardInterrupt(), RuntimeError("x")]))
def test_a_failure_leaves_nothing(tmp_path_factory, error):
    folder = tmp_path_factory.mktemp("place")
    with pytest.raises(type(error)), new_folder(folder / "a/out") as temp:
        (temp / "half").write_text("half")
        raise error
    assert not list((folder / "a").iterdir())


def test_a_full_disk_is_one_line(results, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nano4m_audio.dataset.write._add_sample", full)
    with pytest.raises(UserError, match="no space left on the device while writing"):
        export_dataset(results, "webdataset", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_results_that_are_not_finished_are_one_line(tmp_path):
    done = call("--to", "hf", tmp_path / "out", "--results", tmp_path / "nothing")
    assert isinstance(done.exception, UserError)
    assert "holds no finished dataset" in str(done.exception) and not (tmp_path / "out").exists()


def test_text_of_samples_is_json(results, tmp_path):
    """Scores that nobody computed are null, never NaN, which is no JSON."""
    rows = open_dataset(results).table().to_pylist()
    assert all(row["audio_score"] is None for row in rows)
    json.dumps(rows, allow_nan=False)
