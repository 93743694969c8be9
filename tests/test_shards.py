"""The number of shards is a fact of a results folder, not a default."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nano4m_audio.errors import UserError
from nano4m_audio.lineage import outdated, record
from nano4m_audio.paths import Results
from nano4m_audio.shards import RECORD, count_shards, drop_others, set_shards
from nano4m_audio.tables import write_rows
from tests.tokens import write_tokens

CLIPS = {f"clip{i}": "train" for i in range(12)}


def call(*arguments: object, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "nano4m_audio.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def make_clips(folder: Path, n: int) -> None:
    """A list of ``n`` files that are not there: enough for the first two stages."""
    (folder / "clips").mkdir(exist_ok=True)
    lines = [f"{i}.mp4,dog,v{i}" for i in range(n)]
    (folder / "clips/clips.csv").write_text("\n".join(["file,class,video_id", *lines]))


def list_candidates(folder: Path, shards: int) -> str:
    done = call(
        "candidates", "--settings", json.dumps({"source": "folder", "n_shards": shards}),
        folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_folder_without_a_record_is_counted(tmp_path):
    write_tokens(tmp_path, CLIPS, shards=3)
    assert count_shards(tmp_path) == 3


def test_a_missing_shard_is_named(tmp_path):
    write_tokens(tmp_path, CLIPS, shards=3)
    for path in (tmp_path / "tokens").glob("*/0001.parquet"):
        path.unlink()
    with pytest.raises(UserError, match="shard 0001 is missing"):
        count_shards(tmp_path)


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="run the stage `candidates`") as caught:
        count_shards(tmp_path)
    assert "--results" not in str(caught.value)  # of some commands it is an argument


@pytest.mark.parametrize("text", ["", "{}", "[2]", '{"n_shards": "2"}', '{"n_shards": 0}'])
def test_a_damaged_record_is_one_line(tmp_path, text):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(UserError, match="does not say how many shards") as error:
        count_shards(tmp_path)
    assert "\n" not in str(error.value)


def test_what_a_larger_number_left_is_removed_and_nothing_else(tmp_path, capsys):
    for name in ("candidates", "tokens/rgb"):
        for path in Results(tmp_path).tables(name, 5):
            write_rows(path, name, [])
            record(path, [])
    other = tmp_path / "candidates/notes.parquet"
    other.touch()
    costs = [tmp_path / "benchmarks" / name for name in ("decode/0001.tsv", "decode/0004.tsv",
                                                         "split.tsv")]  # fmt: skip
    for path in costs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    set_shards(tmp_path, 2)
    assert [path.exists() for path in costs] == [True, False, True]
    assert "removed 6 tables" in capsys.readouterr().err
    for name in ("candidates", "tokens/rgb"):
        assert [p.stem for p in sorted((tmp_path / name).glob("0*.parquet"))] == ["0000", "0001"]
    assert other.exists() and count_shards(tmp_path) == 2
    assert outdated(tmp_path) == []


def test_tables_of_a_modality_that_is_no_longer_asked_for_go(tmp_path):
    results = Results(tmp_path)
    write_tokens(tmp_path, CLIPS, shards=2)
    assert "semantic" not in results.modalities
    for path in results.tables("tokens/semantic", 2):
        write_rows(path, "tokens/semantic", [])
        record(path, [])
    assert "semantic" in results.modalities and len(results.token_files(2)) == 6
    drop_others(Results(tmp_path, planned=results.modalities))
    assert "semantic" in results.modalities
    five = tuple(name for name in results.modalities if name != "semantic")
    drop_others(Results(tmp_path, planned=five))
    assert results.modalities == five
    assert not [p for p in (tmp_path / "tokens/semantic").rglob("*") if p.is_file()]
    assert all(path.exists() for files in results.token_files(2).values() for path in files)


def test_fewer_shards_leave_nothing_of_more(tmp_path):
    make_clips(tmp_path, 20)
    list_candidates(tmp_path, 3)
    assert "removed 1 table " in list_candidates(tmp_path, 2)
    assert sorted(p.name for p in (tmp_path / "results/candidates").glob("*.parquet")) == [
        "0000.parquet", "0001.parquet",
    ]  # fmt: skip


def test_export_takes_every_shard_without_being_told(tmp_path):
    from nano4m_audio.backends import registry

    caption = {"tokens": registry.load("text_tokenizer", "gpt2").encode("dog barking")}
    changed = {("caption", clip): caption for clip in CLIPS}
    write_tokens(tmp_path / "results", CLIPS, shards=7, changed=changed)
    done = call("export", "tokens", "--out", "x", folder=tmp_path)
    assert "12 clips in x" in done.stderr
    audio = list((tmp_path / "x").rglob("*.npy"))
    assert len(audio) == 4 * len(CLIPS)
