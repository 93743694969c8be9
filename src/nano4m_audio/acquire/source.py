"""A media file, read through one open handle that notices failed, short and inconsistent reads."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from nano4m_audio.reasons import Reason

MESSAGE_CHARS = 300
_CHUNK_BYTES = 1 << 20
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def clean_message(text: str) -> str:
    """Return ``text`` as one printable line of at most 300 characters, safe for tables and logs."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(line.split())[:MESSAGE_CHARS]


class MediaError(Exception):
    """A clip that cannot be used: ``reason`` is the cause, the message one printable line."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(clean_message(message))
        self.reason = reason


class Reader:
    """A place in an open file, with the methods by which libav reads: read, seek, tell."""

    def __init__(self, source: Source) -> None:
        self.name = source.name  # libav guesses the format from its suffix, too
        self._source = source
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end of the file."""
        data = self._source.read_at(self._at, size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._source.size_bytes}
        self._at = max(0, start[whence] + offset)
        return self._at

    def tell(self) -> int:
        return self._at


class Source:
    """A regular file that is open for reading, at any number of places at once.

    A disk or a network that fails looks to a demuxer like the end of the file, and a file that is
    written meanwhile like a damaged one. So whoever reads asks ``check`` before believing any
    result, good or bad. Raises MediaError when the file cannot be opened: MISSING_FILE,
    UNREADABLE, NOT_MEDIA (no regular file) or EMPTY_FILE.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._fault = ""
        self._sha256 = ""
        try:
            _check_regular(path.stat())
            self._file = io.FileIO(path, opener=_open_at_once)
            self._before = os.fstat(self._file.fileno())
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                raise MediaError(Reason.MISSING_FILE, "does not exist") from error
            raise MediaError(Reason.UNREADABLE, f"cannot be opened: {error.strerror}") from error
        _check_regular(self._before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: Any
    ) -> None:
        self._file.close()

    @property
    def size_bytes(self) -> int:
        return self._before.st_size

    def reader(self) -> Reader:
        """A place of its own at the beginning of the file."""
        return Reader(self)

    def read_at(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start``, or fewer at the end of the file."""
        try:
            self._file.seek(start)
            data = self._file.read(size) or b""
            while len(data) < size and (more := self._file.read(size - len(data))):
                data += more
        except OSError as error:
            self._fault = f"reading failed: {error.strerror}"
            raise
        if len(data) < size and start + len(data) < self.size_bytes:
            self._fault = f"reading ended at byte {start + len(data)} of {self.size_bytes}"
        return data

    def sha256(self) -> str:
        """The hex SHA-256 of the content. Raises MediaError when that cannot be had."""
        digest, reader = hashlib.sha256(), self.reader()
        try:
            while data := reader.read(_CHUNK_BYTES):
                digest.update(data)
        except OSError as error:
            raise MediaError(Reason.UNREADABLE, self._fault or str(error.strerror)) from error
        if reader.tell() != self.size_bytes:
            self.check()
        self._sha256 = digest.hexdigest()
        return self._sha256

    def check(self) -> None:
        """Raise MediaError when a read failed (UNREADABLE) or the file was written (CHANGED)."""
        now = os.fstat(self._file.fileno())
        if _identity(now) != _identity(self._before):
            known, self._sha256, self._before = self._sha256, "", now
            if not known or self.sha256() != known:  # a new link or owner changes no byte
                raise changed()
        if self._fault:
            raise MediaError(Reason.UNREADABLE, f"{self._fault}, run again")


@contextmanager
def opened(path: Path, sha256: str | None = None) -> Iterator[Source]:
    """Open a file whose content has this hex digest, where one is given.

    Raises MediaError, whatever else is raised while the file is open, when what was read cannot be
    believed: UNREADABLE or CHANGED.
    """
    try:
        source = Source(path)
    except MediaError as error:
        if sha256 and error.reason in (Reason.NOT_MEDIA, Reason.EMPTY_FILE):
            raise changed() from error  # what was hashed was a file, and not empty
        raise
    with source:
        try:
            if sha256 and source.sha256() != sha256:
                raise changed()
            yield source
        finally:
            source.check()


def changed() -> MediaError:
    """The failure of a file that is not, or no longer, the one that was hashed."""
    return MediaError(Reason.CHANGED, "the file changed while it was read, run again")


def _identity(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _check_regular(info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise MediaError(Reason.NOT_MEDIA, "is not a regular file")
    if info.st_size == 0:
        raise MediaError(Reason.EMPTY_FILE, "has zero bytes")


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a file may have been replaced by a pipe since it was looked at."""
    return os.open(path, flags | os.O_NONBLOCK)
