"""Reading that fails or changes on the way is never taken for a property of the file."""

from __future__ import annotations

import errno
import hashlib
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.acquire import source as source_module
from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.acquire.media import check_media
from nano4m_audio.acquire.source import MediaError, Source
from nano4m_audio.reasons import PASSING, Reason


class FaultyFile(io.FileIO):
    """A file on a bad disk: read number ``at`` fails with an error, or finds an early end."""

    at: int
    error: int | None

    def read(self, size: int = -1) -> bytes:
        type(self).at -= 1
        if self.at == 0 and self.error:
            raise OSError(self.error, os.strerror(self.error))
        return b"" if self.at in (0, -1) and not self.error else super().read(size)


def _faulty(at: int, error: int | None) -> type[FaultyFile]:
    return type("Faulty", (FaultyFile,), {"at": at, "error": error})


@pytest.fixture(scope="module")
def clip(film, clicks, tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "a.mp4", sound=clicks(4, [2.0]), size=(480, 320))


@pytest.fixture(scope="module")
def healthy(clip):
    return decode_clip(clip)


@settings(max_examples=40, deadline=None)
@given(
    at=st.integers(1, 12),
    error=st.sampled_from([None, errno.EIO, errno.ESTALE, errno.EACCES]),
    hashed=st.booleans(),
)
def test_no_fault_of_a_disk_becomes_a_property_of_the_file(clip, healthy, at, error, hashed):
    digest = hashlib.sha256(clip.read_bytes()).hexdigest() if hashed else None
    with pytest.MonkeyPatch.context() as patch:
        faulty = _faulty(at, error)
        patch.setattr(source_module.io, "FileIO", faulty)
        try:
            decoded = decode_clip(clip, sha256=digest)
        except MediaError as failure:
            assert failure.reason == Reason.UNREADABLE
            assert failure.reason in PASSING
        else:
            assert decoded == healthy


@settings(max_examples=20, deadline=None)
@given(at=st.integers(1, 3), error=st.sampled_from([None, errno.EIO]))
def test_no_fault_of_a_disk_gives_a_wrong_hash(clip, at, error):
    with pytest.MonkeyPatch.context() as patch:
        faulty = _faulty(at, error)
        patch.setattr(source_module.io, "FileIO", faulty)
        (row,) = check_media([{"clip_id": "a@0", "path": clip.name}], clip.parent)
    if row["status"] == "ok":
        assert row["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    else:
        assert row["reason"] == Reason.UNREADABLE


def test_a_file_that_may_not_be_opened(clip, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(source_module.os, "open", refuse)
    (row,) = check_media([{"clip_id": "a@0", "path": clip.name}], clip.parent)
    assert row["reason"] == Reason.UNREADABLE
    assert "Permission denied" in row["message"]


@pytest.mark.parametrize("new", [b"other", b"film!", b"", None])
def test_a_file_that_is_written_meanwhile(tmp_path, new):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"films")
    with Source(path) as source:
        source.sha256()
        if new is None:
            with open(path, "ab") as handle:
                handle.write(b"more")
        else:
            path.write_bytes(new)
        with pytest.raises(MediaError) as caught:
            source.check()
    assert caught.value.reason == Reason.CHANGED
    assert "changed while it was read, run again" in str(caught.value)


def test_a_second_name_or_a_replacement_changes_no_byte_that_is_read(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")
    with Source(path) as source:
        digest = source.sha256()
        os.link(path, tmp_path / "b.mp4")
        source.check()
        (tmp_path / "new").write_bytes(b"other")
        os.replace(tmp_path / "new", path)
        source.check()
        assert source.read_at(0, 99) == b"film"
    assert digest == hashlib.sha256(b"film").hexdigest()


@pytest.mark.parametrize("kind", ["other", "empty", "folder"])
def test_another_file_than_the_hashed_one_is_not_decoded(clip, tmp_path, kind):
    path = tmp_path / "a.mp4"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(clip.read_bytes() if kind == "other" else b"")
    with pytest.raises(MediaError) as caught:
        decode_clip(path, sha256=hashlib.sha256(b"film").hexdigest())
    assert caught.value.reason == Reason.CHANGED


def test_a_header_that_leads_far_beyond_the_end_is_no_fault_of_the_disk(clip):
    with Source(clip) as source:
        assert source.read_at(5_600_000_000_000_000_000, 10) == b""
        assert source.read_at(0, 4) == clip.read_bytes()[:4]
        source.check()
