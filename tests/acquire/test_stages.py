"""The stages over real files: what is kept, what is tried again, and what one file can harm."""

from __future__ import annotations

import hashlib
import os
import shutil

import pyarrow.parquet as pq
import pytest

from nano4m_audio.acquire import clip_rows
from nano4m_audio.acquire.child import Limits
from nano4m_audio.acquire.stage import check_files, decode_clips
from nano4m_audio.config.schema import DecodeFiles
from nano4m_audio.config.sources import Files
from nano4m_audio.paths import Results
from nano4m_audio.store import RowStore
from nano4m_audio.tables import write_rows
from tests.acquire import hostile
from tests.conftest import ROOT

SETTINGS = DecodeFiles(memory_max_mb=600, cpu_max_s=1, wall_max_s=12)


@pytest.fixture(scope="module")
def films(film, clicks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for number, name in enumerate("abc"):
        film(folder / f"{name}.mp4", sound=clicks(4, [1.0 + number]))
    return folder


class Folder:
    """A folder of clips, and the two stages that read it."""

    def __init__(self, path, names):
        self.path, self.root = path, path / "in"
        self.root.mkdir()
        self.names = names
        self.results = Results(path / "results")
        self.files = Files(root=str(self.root))

    def media(self):
        rows = [{"clip_id": f"{n}@0", "video_id": n, "path": n} for n in self.names]
        write_rows(self.results.table("candidates", "0000"), "candidates", rows)
        check_files(self.results, "0000", self.files)
        return pq.read_table(self.results.table("media", "0000")).to_pylist()

    def clips(self, settings=SETTINGS):
        decode_clips(self.results, "0000", settings.model_copy(update={"files": self.files}))
        rows = pq.read_table(self.results.table("clips", "0000")).to_pylist()
        return {row["clip_id"][:-2]: row for row in rows}

    def kept(self):
        return set(RowStore(self.results.store, "clips", "0000").known())


def _computed(capsys) -> int:
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("clips: ")]
    return int(line.split()[3])


def test_a_file_that_was_away_is_tried_again(tmp_path, films, capsys):
    folder = Folder(tmp_path, ["a.mp4", "b.mp4"])
    for name in folder.names:
        shutil.copy(films / name, folder.root)
    folder.media()
    (folder.root / "b.mp4").rename(tmp_path / "away")
    rows = folder.clips()
    assert [row["reason"] for row in rows.values()] == ["", "missing_file"]
    assert folder.kept() == {rows["a.mp4"]["key"]}
    (tmp_path / "away").rename(folder.root / "b.mp4")
    assert [row["status"] for row in folder.clips().values()] == ["ok", "ok"]
    capsys.readouterr()
    folder.clips()
    assert _computed(capsys) == 0


@pytest.mark.parametrize("how", ["replaced", "overwritten"])
def test_a_file_that_was_swapped_is_not_decoded_as_the_one_that_was_hashed(tmp_path, films, how):
    folder = Folder(tmp_path, ["a.mp4"])
    shutil.copy2(films / "a.mp4", folder.root)
    (before,) = folder.media()
    if how == "replaced":
        shutil.copy2(films / "b.mp4", tmp_path / "b.mp4")
        os.replace(tmp_path / "b.mp4", folder.root / "a.mp4")
    else:
        shutil.copyfile(films / "b.mp4", folder.root / "a.mp4")
    row = folder.clips()["a.mp4"]
    assert (row["status"], row["reason"]) == ("failed", "changed")
    assert "changed while it was read, run again" in row["message"]
    assert not folder.kept()
    (after,) = folder.media()
    assert after["sha256"] != before["sha256"]
    assert folder.clips()["a.mp4"]["status"] == "ok"


@pytest.mark.slow
def test_no_file_harms_the_others(tmp_path, films, monkeypatch, capsys):
    """Every harm is a row that names it; the clips around it are decoded and kept."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(clip_rows, "decode_row", hostile.decode_row)
    harms = {
        "crash_1.mp4": "crashed",
        "fill_2.mp4": "out_of_memory",
        "spin_3.mp4": "out_of_time",
        "hang_4.mp4": "interrupted",
    }
    folder = Folder(tmp_path, ["a.mp4", *harms, "b.mp4"])
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(films / name, folder.root)
    for name in harms:
        (folder.root / name).write_bytes(name.encode())
    folder.media()
    rows = folder.clips()
    assert {n: r["reason"] for n, r in rows.items()} == {"a.mp4": "", "b.mp4": "", **harms}
    assert all(name in rows[name]["message"] for name in harms)
    assert _computed(capsys) == 6

    def tries():
        return {n: len((folder.root / n).with_suffix(".log").read_text().split()) for n in harms}

    assert tries() == {"crash_1.mp4": 2, "fill_2.mp4": 2, "spin_3.mp4": 1, "hang_4.mp4": 1}
    published = folder.results.table("clips", "0000")
    first = published.read_bytes()
    assert folder.clips() == rows  # what the bytes and the limits decide is kept
    assert tries() == {"crash_1.mp4": 2, "fill_2.mp4": 2, "spin_3.mp4": 1, "hang_4.mp4": 2}
    monkeypatch.setattr(clip_rows, "decode_row", hostile.decode_row_harmlessly)
    assert published.read_bytes() == first
    wider = SETTINGS.model_copy(update={"memory_max_mb": 700})
    reasons = [row["reason"] for row in folder.clips(wider).values()]
    assert reasons == ["", "crashed", *["not_media"] * 3, ""]


def test_a_compressed_header_that_fills_the_memory_is_refused(tmp_path, films):
    folder = Folder(tmp_path, ["a.mp4", "bomb.mov"])
    shutil.copy(films / "a.mp4", folder.root)
    bomb = hostile.write_inflating_mov(folder.root / "bomb.mov", 2032 << 20)
    assert bomb.stat().st_size < 2_100_000
    folder.media()
    rows = folder.clips(DecodeFiles())
    assert [row["reason"] for row in rows.values()] == ["", "out_of_memory"]
    assert "2000 MB" in rows["bomb.mov"]["message"]


@pytest.mark.slow
def test_a_lack_of_memory_is_never_taken_for_a_damaged_file(tmp_path, film, clicks):
    """libav turns refused memory into packets that do not decode, or into crashes."""
    path = film(tmp_path / "a.mp4", sound=clicks(4, [1.0]), size=(3840, 2160), fps=2)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = {"file": path, "path": path.name, "sha256": digest}
    reasons = []
    for memory_mb in range(140, 460, 40):
        (row,) = clip_rows.decode_rows([file], {}, Limits(memory_mb, 60, 120))
        reasons.append(row["reason"])
    assert set(reasons) == {"", "out_of_memory"}
    assert reasons == sorted(reasons, reverse=True)  # once it is enough, more is enough
