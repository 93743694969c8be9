"""The media check: present, inside the folder, not empty; hostile paths are never opened."""

from __future__ import annotations

import hashlib
import os

import pytest

from nano4m_audio.acquire.media import check_media, clean_message
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
