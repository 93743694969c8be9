"""Candidates of a folder: ids, sources, and errors that name file, line and value."""

from __future__ import annotations

import os
import random

import pytest

from nano4m_audio.acquire.folder import found_classes, read_candidates, scan_folder
from nano4m_audio.errors import UserError
from nano4m_audio.tables import SCHEMAS

CLASSES = ("pig", "sheep", "dog", "cat")


def _read(root, text: str) -> list[dict]:
    (root / "clips.csv").write_text(text, encoding="utf-8")
    return read_candidates(root, root / "clips.csv", CLASSES)


def _problem(root, text: str) -> str:
    with pytest.raises(UserError) as caught:
        _read(root, text)
    assert "clips.csv" in str(caught.value)
    return str(caught.value)


def test_a_full_row(tmp_path):
    rows = _read(
        tmp_path,
        "source,note,file,video_id,start_s,class\nboth,x,m/-a_000040.mp4,-a,40.5,dog\n",
    )
    assert rows == [
        {
            "clip_id": "-a@40500",
            "video_id": "-a",
            "start_s": 40.5,
            "end_s": None,
            "class_name": "dog",
            "sources": ["audioset", "vggsound"],
            "path": "m/-a_000040.mp4",
            "byte_start": None,
            "byte_count": None,
            "url": "",
        }
    ]
    assert list(rows[0]) == SCHEMAS["candidates"].names


def test_defaults_blank_lines_and_byte_order_mark(tmp_path):
    (row,) = _read(tmp_path, "\ufefffile, class\n\n m/a.b.mp4 , dog \n\n")
    assert (row["clip_id"], row["video_id"], row["start_s"]) == ("a.b@0", "a.b", 0.0)
    assert row["sources"] == ["folder"]


def test_order_of_lines_does_not_matter(tmp_path):
    lines = [f"m/{i}.mp4,dog,{i % 3},{i % 2}" for i in range(20)]
    wanted = _read(tmp_path, "\n".join(["file,class,video_id,start_s", *lines]))
    random.Random(0).shuffle(lines)
    assert _read(tmp_path, "\n".join(["file,class,video_id,start_s", *lines])) == wanted


def test_the_same_file_twice_is_one_clip_with_both_sources(tmp_path):
    rows = _read(
        tmp_path, "file,class,source\nm/a.mp4,dog,vggsound\n./m/a.mp4,dog,audioset\nb.mp4,dog,x\n"
    )
    assert [row["sources"] for row in rows] == [["audioset", "vggsound"], ["x"]]
    assert rows[0]["path"] == "m/a.mp4"


def test_files_that_claim_one_id_are_told_apart_for_good(tmp_path):
    head = "file,class,video_id,start_s\n"
    rows = _read(tmp_path, head + "x/a.mp4,dog,v,1\ny/a.mp4,cat,v,1\nz.mp4,cat,v,2\n")
    ids = {row["path"]: row["clip_id"] for row in rows}
    assert ids["z.mp4"] == "v@2000"
    assert ids["x/a.mp4"].startswith("v@1000#")
    assert len(ids["x/a.mp4"]) == len("v@1000#") + 6
    assert len(set(ids.values())) == 3
    again = _read(tmp_path, head + "y/a.mp4,cat,v,1\nw.mp4,pig,v,1\nx/a.mp4,dog,v,1\n")
    assert {row["path"]: row["clip_id"] for row in again}["x/a.mp4"] == ids["x/a.mp4"]


def test_every_kind_of_problem_names_its_line(tmp_path):
    text = _problem(
        tmp_path,
        "file,class,start_s\na.mp4,dgo,0\n,dog,0\nb.mp4,dog,soon\nc.mp4,dog,-1\n"
        "d.mp4,dog,0\nd.mp4,cat,0\ne.mp4,dog,0,0\nf.mp4,dog,nan\n",
    )
    assert (
        "line 2: unknown class 'dgo', did you mean 'dog'? (known: pig, sheep, dog, cat; to add"
        in text
    )
    assert "line 3: no value in column 'file'" in text
    assert "line 4: start_s 'soon'" in text
    assert "line 5: start_s '-1'" in text
    assert "line 7: file 'd.mp4' is listed with class 'cat', and before with 'dog'" in text
    assert "line 8" not in text
    assert text.endswith("and 2 more")


def test_unusable_files(tmp_path):
    assert "no column 'file', did you mean 'files'?" in _problem(tmp_path, "files,class\na,dog\n")
    assert "no column 'file'" in _problem(tmp_path, "")
    assert "lists no clips" in _problem(tmp_path, "file,class\n")
    assert "UTF-8" in _problem(tmp_path, 'file,class\n"a.mp4,dog\n')
    (tmp_path / "latin.csv").write_bytes("file,class\né.mp4,dog\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        read_candidates(tmp_path, tmp_path / "latin.csv", CLASSES)
    with pytest.raises(UserError, match="does not exist"):
        read_candidates(tmp_path, tmp_path / "absent.csv", CLASSES)
    with pytest.raises(UserError, match="is no folder"):
        read_candidates(tmp_path / "absent", tmp_path / "clips.csv", CLASSES)


def test_scan_takes_folder_names_as_classes(tmp_path):
    for name in ("dog/a.mp4", "dog/deep/b.MKV", "cat/a.webm", "cat/notes.txt", "cat/.h.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "papers").mkdir()
    rows = scan_folder(tmp_path, CLASSES)
    assert {row["path"]: row["class_name"] for row in rows} == {
        "cat/a.webm": "cat",
        "dog/a.mp4": "dog",
        "dog/deep/b.MKV": "dog",
    }
    assert len({row["clip_id"] for row in rows}) == 3
    assert list(rows[0]) == SCHEMAS["candidates"].names


def test_scan_problems(tmp_path):
    with pytest.raises(UserError, match="no media files"):
        scan_folder(tmp_path, CLASSES)
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    with open(os.fsencode(tmp_path) + b"/dogs/\xff.mp4", "wb"):
        pass
    with pytest.raises(UserError) as caught:
        scan_folder(tmp_path, CLASSES)
    text = str(caught.value)
    assert "its folder is named after an unknown class 'dogs', did you mean 'dog'?" in text
    assert "to add it, write `dogs: {}` beside these under classes" in text
    assert "'b.mp4': move this file" in text
    assert "rename this file" in text
    text.encode("utf-8")


def test_classes_are_found_in_the_list_or_the_folders(tmp_path):
    for folder in ("dog", "cafe\u0301", "empty", ".hidden"):
        (tmp_path / folder).mkdir()
        if folder != "empty":
            (tmp_path / folder / "a.mp4").touch()
    (tmp_path / "outside.mp4").touch()
    (tmp_path / "clips.csv").write_text("file,class\na.mp4, frog\nb.mp4,dog\nc.mp4,\nd.mp4,dog\n")
    assert found_classes(tmp_path, None) == ["caf\u00e9", "dog"]
    assert found_classes(tmp_path, "clips.csv") == ["dog", "frog"]
    (tmp_path / "none.csv").write_text("file,class\n")
    with pytest.raises(UserError, match="there is no class in .*: put clips into one sub-folder"):
        found_classes(tmp_path, "none.csv")
    with pytest.raises(UserError, match="none.csv does not exist"):
        found_classes(tmp_path / "dog", "none.csv")


def test_a_folder_is_of_its_class_in_both_unicode_forms(tmp_path):
    (tmp_path / "cafe\u0301").mkdir()
    (tmp_path / "cafe\u0301/a.mp4").touch()
    assert [row["class_name"] for row in scan_folder(tmp_path, ("caf\u00e9",))] == ["caf\u00e9"]
    (tmp_path / "clips.csv").write_text("file,class\na.mp4,cafe\u0301\n", "utf-8")
    rows = read_candidates(tmp_path, tmp_path / "clips.csv", ("caf\u00e9",))
    assert [row["class_name"] for row in rows] == ["caf\u00e9"]


def test_what_is_quoted_of_a_list_is_short_and_printable(tmp_path):
    long = "x" * 100_000
    for row in ("a.mp4,\x1b[2J,,", f"{long},dog,,\n{long},cat,,", f"a.mp4,dog,{long},"):
        text = _problem(tmp_path, f"file,class,start_s,end_s\n{row}\n")
        lines = text.splitlines()
        assert max(map(len, lines)) < 1000 and all(line.isprintable() for line in lines)
