"""What a folder holds: links, endings, first bytes; all that is left out is named."""

from __future__ import annotations

import os
import shutil

import pytest

from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.acquire.folder import Findings, read_candidates, scan_folder
from nano4m_audio.acquire.listing import folder_digest
from nano4m_audio.acquire.media import check_media
from nano4m_audio.acquire.tree import MEDIA_SUFFIXES, begins_like_media, walk
from nano4m_audio.errors import UserError

CLASSES = ("dog", "cat")


def _touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _scan(root):
    findings = Findings()
    rows = scan_folder(root, CLASSES, findings)
    return [row["path"] for row in rows], {k["why"]: k["files"] for k in findings.left_out}


def test_linked_folders_are_listed_once_and_circles_end(tmp_path):
    root = tmp_path / "in"
    _touch(tmp_path / "disk2/z.mp4", tmp_path / "disk2/deep/y.mp4", root / "cat/a.mp4")
    (root / "dog").symlink_to(tmp_path / "disk2")
    (root / "cat/again").symlink_to(root / "cat")
    (root / "cat/up").symlink_to(root)
    (tmp_path / "disk2/loop").symlink_to(tmp_path / "disk2")
    (tmp_path / "disk2/gone").symlink_to(tmp_path / "nowhere")
    (root / "cat/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    paths, left_out = _scan(root)
    assert sorted(paths) == ["cat/a.mp4", "cat/gone.mp4", "dog/deep/y.mp4", "dog/z.mp4"]
    assert left_out == {"a link to a folder that is listed": 3, "no regular file": 1}


def test_what_is_left_out_is_counted(tmp_path):
    _touch(
        tmp_path / "dog/a.mp4", tmp_path / "dog/.hidden.mp4", tmp_path / "dog/.git/b.mp4",
        tmp_path / "dog/a.jpg", tmp_path / "dog/b.JPG", tmp_path / "cat/README",
    )  # fmt: skip
    paths, left_out = _scan(tmp_path)
    assert paths == ["dog/a.mp4"]
    assert left_out == {"hidden": 2, ".jpg file": 2, "file without an ending": 1}
    (tmp_path / "dog/a.mp4").unlink()
    with pytest.raises(UserError, match=r"2 x \.jpg file, such as 'dog/a.jpg'"):
        _scan(tmp_path)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    _touch(tmp_path / "dog/a.mp4", tmp_path / "cat/a.mp4")
    scandir = os.scandir

    def broken(path):
        if path == tmp_path / "cat":
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(UserError, match=r"cat cannot be listed: Input/output error"):
        _scan(tmp_path)
    assert "cat cannot be listed" in folder_digest(str(tmp_path), None)


@pytest.mark.parametrize(
    "suffix", ["mp4", "mts", "m2ts", "MTS", "vob", "3g2", "f4v", "asf", "m2t", "mpg", "avi", "mkv"]
)
def test_endings_of_films(tmp_path, suffix):
    _touch(tmp_path / f"dog/a.{suffix}")
    assert _scan(tmp_path) == ([f"dog/a.{suffix}"], {})


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "flv", "ts"])
def test_films_are_known_by_their_first_bytes(tmp_path, film, clicks, suffix):
    made = film(tmp_path / f"a.{suffix}", sound=clicks(4, [2.0]))
    names = ["dog/clip", "dog/clip.tod", "dog/clip.mp4.bin"]
    (tmp_path / "dog").mkdir()
    for name in names:
        shutil.copy(made, tmp_path / name)
    made.unlink()
    assert set(_scan(tmp_path)[0]) == set(names)
    assert len(decode_clip(tmp_path / names[0]).frames) >= 11


def test_sound_and_pictures_are_no_films():
    """(MPEG program streams, and M2TS with its four bytes of time, are.)"""
    boxes = [b"\0\0\0\x20ftyp" + brand for brand in (b"M4A ", b"heic", b"avif", b"mif1")]
    others = [b"RIFF____WAVE", b"OggS\0\2vorbis", b"\x89PNG\r\n", b"ID3", b"GGGG", b""]
    assert not any(map(begins_like_media, [*boxes, *others]))
    m2ts = (b"\0\0\0\0G" + bytes(187)) * 6
    films = [b"\0\0\1\xba", m2ts[:1024], b"OggS\0\2\0\0\x80theora", b"RIFF____AVI "]
    assert all(map(begins_like_media, films))


def test_the_digest_sees_what_a_scan_sees(tmp_path):
    root = tmp_path / "in"
    _touch(tmp_path / "disk2/z.mp4", root / "cat/a.mp4")
    (root / "dog").symlink_to(tmp_path / "disk2")
    digests = [folder_digest(str(root), None)]

    def changed():
        digests.append(folder_digest(str(root), None))
        return digests[-1] not in digests[:-1]

    _touch(tmp_path / "disk2/new.mp4")
    assert changed()
    (tmp_path / "disk2/new.mp4").write_bytes(b"film")
    assert changed()
    (root / "cat/l.mp4").symlink_to("nowhere")
    assert changed()
    assert folder_digest(str(root), None) == digests[-1]


def test_the_digest_sees_a_file_of_equal_size_and_time(tmp_path):
    path = tmp_path / "in/a.mp4"
    _touch(path)
    path.write_bytes(b"one")
    before, time_ns = folder_digest(str(path.parent), None), path.stat().st_mtime_ns
    for replace in (path.write_bytes, (tmp_path / "new").write_bytes):
        replace(b"two")
        source = tmp_path / "new"
        if source.exists():
            source.rename(path)
        os.utime(path, ns=(time_ns, time_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (3, time_ns)
        assert folder_digest(str(path.parent), None) != before


def test_clips_that_are_links_out_of_the_folder(tmp_path):
    root = tmp_path / "in"
    _touch(root / "clips.csv")
    (tmp_path / "blob").write_bytes(b"film")
    (root / "a.mp4").symlink_to("../blob")
    (row,) = check_media([{"clip_id": "a@0", "path": "a.mp4"}], root)
    assert row["reason"] == "unsafe_path"
    assert "folder.follow_links" in row["message"]
    (row,) = check_media([{"clip_id": "a@0", "path": "a.mp4"}], root, follow_links=True)
    assert (row["status"], row["size_bytes"]) == ("ok", 4)
    for path in ("../blob", str(tmp_path / "blob"), "x/../../blob"):
        (row,) = check_media([{"clip_id": "a@0", "path": path}], root, follow_links=True)
        assert row["reason"] == "unsafe_path"
        assert "follow_links" not in row["message"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_both_unicode_forms_find_the_file(tmp_path, on_disk):
    from unicodedata import normalize

    names = [normalize(form, "älter/café.mp4") for form in ("NFC", "NFD")]
    _touch(tmp_path / normalize(on_disk, "älter/café.mp4"))
    (tmp_path / normalize(on_disk, "älter/café.mp4")).write_bytes(b"film")
    rows = check_media([{"clip_id": n, "path": n} for n in names], tmp_path)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert [row["path"] for row in rows] == names


def test_lists_that_would_be_misread(tmp_path):
    _touch(tmp_path / "dog/a.mp4")

    def problem(text):
        (tmp_path / "clips.csv").write_text(text)
        with pytest.raises(UserError) as caught:
            read_candidates(tmp_path, tmp_path / "clips.csv", CLASSES)
        return str(caught.value)

    assert "names the column 'class' more than once" in problem("file,class, class\na.mp4,dog,cat")
    assert "column 'note', 'x' more" in problem("file,class,note,x,note,x\na.mp4,dog,,,,")
    assert "write paths with '/': 'dog/a.mp4'" in problem("file,class\ndog\\a.mp4,dog\n")
    (row,) = check_media([{"clip_id": "b", "path": "dog\\b.mp4"}], tmp_path)
    assert "paths are written with '/', as in 'dog/b.mp4'" in row["message"]
    shutil.copy(tmp_path / "dog/a.mp4", tmp_path / "dog\\a.mp4")  # an odd name, but it is there
    (tmp_path / "clips.csv").write_text("file,class\ndog\\a.mp4,dog\n")
    assert len(read_candidates(tmp_path, tmp_path / "clips.csv", CLASSES)) == 1


def test_walk_is_sorted_and_relative(tmp_path):
    _touch(tmp_path / "b/x", tmp_path / "a/.y", tmp_path / "c")
    assert walk(tmp_path).files == ["b/x", "c"]
    assert walk(tmp_path, hidden=True).files == ["a/.y", "b/x", "c"]
    assert all(suffix == suffix.lower() for suffix in MEDIA_SUFFIXES)


def test_what_runs_write_is_not_listed(tmp_path):
    """A project whose clips lie beside its results: ``folder.root: .``."""
    for name in ("dog/a.mp4", "results/source.json", "results/settings/x.json", "results/web/b.mp4",
                 ".snakemake/log/c", ".git/d"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert walk(tmp_path).files == ["dog/a.mp4"]
    assert walk(tmp_path, hidden=True).files == [".git/d", "dog/a.mp4"]
    (tmp_path / "dog/source.json").touch()
    assert walk(tmp_path).files == ["dog/a.mp4", "dog/source.json"]
