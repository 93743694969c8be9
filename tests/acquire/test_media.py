"""The media check: present, inside the folder, not empty; hostile paths are never opened."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from nano4m_audio.acquire.hashes import hashes_of
from nano4m_audio.acquire.media import check_media, clean_message
from nano4m_audio.acquire.source import Source
from nano4m_audio.reasons import Reason


def _check(root, path: str) -> dict:
    (row,) = check_media([{"clip_id": "a@0", "path": path}], root)
    assert row["clip_id"] == "a@0"
    assert row["path"] == path
    assert row["message"].isprintable()
    return row


def test_good_file(tmp_path):
    (tmp_path / "-a b.mp4").write_bytes(b"film")
    row = _check(tmp_path, "-a b.mp4")
    assert (row["status"], row["reason"], row["size_bytes"]) == ("ok", "", 4)
    assert row["sha256"] == hashlib.sha256(b"film").hexdigest()


def test_only_files_that_are_not_the_ones_of_last_time_are_read(tmp_path, monkeypatch):
    """Replaced by one of equal size and modification time, too; and nothing of a damaged record."""
    root, store, read = tmp_path / "root", tmp_path / "store", []
    root.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (root / name).write_bytes(f"film {name}".encode())
    real_sha256 = Source.sha256

    def counted(source):
        read.append(source.name)
        return real_sha256(source)

    def look(now_s=10.0) -> list[str]:
        """The files that a job reads, ``now_s`` after now."""
        read.clear()
        later = time.time_ns() + int(now_s * 1e9)
        monkeypatch.setattr("nano4m_audio.acquire.source.time.time_ns", lambda: later)
        names = sorted(path.name for path in root.iterdir())
        hashes = hashes_of(store, "0000")
        rows = check_media([{"clip_id": n, "path": n} for n in names], root, hashes=hashes)
        hashes.keep()
        monkeypatch.undo()
        monkeypatch.setattr(Source, "sha256", counted)
        for row in rows:
            assert row["sha256"] == hashlib.sha256((root / row["path"]).read_bytes()).hexdigest()
        return list(read)

    monkeypatch.setattr(Source, "sha256", counted)
    assert len(look(now_s=0)) == 3
    assert len(look()) == 3  # they were too young to be remembered
    assert look() == []
    (root / "d.mp4").write_bytes(b"new")
    assert look() == ["d.mp4"]
    before = (root / "b.mp4").stat()
    other = tmp_path / "other.mp4"
    other.write_bytes(b"FILM b.mp4")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(root / "b.mp4")
    after = (root / "b.mp4").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert look() == ["b.mp4"]
    (root / "c.mp4").write_bytes(b"Film c.mp4")  # in place
    os.utime(root / "c.mp4", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look() == ["c.mp4"] and look() == []
    (root / "a.mp4").unlink()
    assert look() == [] and b"a.mp4" not in (store / "hashes/0000").read_bytes()
    kept = (store / "hashes/0000").read_bytes()
    (store / "hashes/0000").write_bytes(kept.replace(b"d.mp4", b"e.mp4"))
    assert len(look()) == 3 and (store / "hashes/0000").read_bytes() == kept


def test_bad_files(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    wanted = {
        "absent.mp4": Reason.MISSING_FILE,
        "empty.mp4": Reason.EMPTY_FILE,
        "empty.mp4/x.mp4": Reason.MISSING_FILE,
        "folder": Reason.NOT_MEDIA,
        "pipe": Reason.NOT_MEDIA,
        "n" * 300: Reason.MISSING_FILE,
    }
    for path, reason in wanted.items():
        row = _check(tmp_path, path)
        assert (row["status"], row["reason"]) == ("failed", reason)
        assert (row["size_bytes"], row["sha256"]) == (0, "")


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "link", "links/secret", "x\0y"])
def test_paths_that_leave_the_folder(tmp_path, path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "links").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    assert _check(root, path)["reason"] == Reason.UNSAFE_PATH
    assert _check(root, str(tmp_path / "secret"))["reason"] == Reason.UNSAFE_PATH
    assert _check(root, "loop")["status"] == "failed"


def test_links_inside_the_folder_are_followed(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"film")
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    assert _check(tmp_path, "b.mp4")["status"] == "ok"


def test_messages_are_one_printable_line():
    assert clean_message("a\nb\x1b[31m\tc") == "a b [31m c"
    assert len(clean_message("x" * 1000)) == 300
