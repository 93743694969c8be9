"""A media file, read through one open handle that notices failed, short and inconsistent reads."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from nano4m_audio.reasons import Reason

#: The bytes of a file that are a file of their own, such as a member of an archive: start, count.
Region = tuple[int, int]

MESSAGE_CHARS = 300
_CHUNK_BYTES = 1 << 20
#: A file may be written again within one tick of its clock: younger changes are not trusted.
_SETTLED_NS = 2_000_000_000
#: What was hashed by this process, by file and region: the segments of a long file follow each
#: other, and it is hashed for the first of them.
_HASHED: dict[tuple[str, Region | None], tuple[tuple[int, ...], str]] = {}
_MOST_HASHED = 16
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
    """A regular file, or a ``region`` of one, that is open for reading at any number of places.

    A disk or a network that fails looks to a demuxer like the end of the file, and a file that is
    written meanwhile like a damaged one. So whoever reads asks ``check`` before believing any
    result, good or bad. Raises MediaError when the file cannot be opened: MISSING_FILE,
    UNREADABLE, NOT_MEDIA (no regular file), EMPTY_FILE or TRUNCATED (it ends inside the region).
    """

    def __init__(self, path: Path, region: Region | None = None) -> None:
        self.name = path.name
        self._place = (os.fspath(path), region)
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
        try:
            _check_regular(self._before)
            self._start, self.size_bytes = _inside(self._before.st_size, region)
        except MediaError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: Any
    ) -> None:
        self._file.close()

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells this content from any other, as far as the file system knows it."""
        return (*self._place, *_identity(self._before))

    @property
    def state(self) -> tuple[int, ...]:
        """Size, times, device and inode of the whole file, as it was when it was opened."""
        return _identity(self._before)

    @property
    def settled(self) -> bool:
        """Whether it was changed long enough ago that another write now would have another time."""
        return self._before.st_ctime_ns < time.time_ns() - _SETTLED_NS

    def reader(self) -> Reader:
        """A place of its own at the beginning of the file."""
        return Reader(self)

    def read_at(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start``, or fewer at the end of the file."""
        size = max(0, min(size, self.size_bytes - start))
        if not size:  # also far beyond the end, where a damaged header may lead
            return b""
        try:
            self._file.seek(self._start + start)
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

    def known_sha256(self) -> str:
        """The same, without reading where this process has hashed just this file before.

        A file whose time of change is recent is always read: it may have been written twice within
        one tick of the clock.
        """
        identity, known = _identity(self._before), _HASHED.get(self._place)
        if known and known[0] == identity:
            self._sha256 = known[1]
            return self._sha256
        settled = self.settled
        sha256 = self.sha256()
        self.check()
        if settled and _identity(self._before) == identity:
            while len(_HASHED) >= _MOST_HASHED:
                _HASHED.pop(next(iter(_HASHED)))
            _HASHED[self._place] = identity, sha256
        return sha256

    def check(self) -> None:
        """Raise MediaError when a read failed (UNREADABLE) or the file was written (CHANGED)."""
        now = os.fstat(self._file.fileno())
        if _identity(now) != _identity(self._before):
            same_size = now.st_size == self._before.st_size
            known, self._sha256, self._before = self._sha256, "", now
            # A new link or owner changes no byte.
            if not (same_size and known and self.sha256() == known):
                raise changed()
        if self._fault:
            raise MediaError(Reason.UNREADABLE, f"{self._fault}, run again")


@contextmanager
def opened(path: Path, sha256: str | None = None, region: Region | None = None) -> Iterator[Source]:
    """Open a file, or a region of it, whose content has this hex digest, where one is given.

    Raises MediaError, whatever else is raised while the file is open, when what was read cannot be
    believed: UNREADABLE or CHANGED.
    """
    try:
        source = Source(path, region)
    except MediaError as error:
        if sha256 and error.reason in (Reason.NOT_MEDIA, Reason.EMPTY_FILE, Reason.TRUNCATED):
            raise changed() from error  # what was hashed was a file, and not empty
        raise
    with source:
        try:
            if sha256 and source.known_sha256() != sha256:
                raise changed()
            yield source
        finally:
            source.check()


def changed() -> MediaError:
    """The failure of a file that is not, or no longer, the one that was hashed."""
    return MediaError(Reason.CHANGED, "the file changed while it was read, run again")


def _identity(info: os.stat_result) -> tuple[int, ...]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_dev, info.st_ino


def _inside(size: int, region: Region | None) -> tuple[int, int]:
    """Where a region of a file of so many bytes begins, and how long it is."""
    start, count = region or (0, size)
    if count == 0:
        raise MediaError(Reason.EMPTY_FILE, "has zero bytes")
    if start < 0 or count < 0:
        raise MediaError(Reason.NOT_MEDIA, f"has no {count} bytes from byte {start}")
    if start + count > size:
        raise MediaError(Reason.TRUNCATED, f"ends at byte {size}, inside this clip's part of it")
    return start, count


def _check_regular(info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise MediaError(Reason.NOT_MEDIA, "is not a regular file")
    if info.st_size == 0:
        raise MediaError(Reason.EMPTY_FILE, "has zero bytes")


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a file may have been replaced by a pipe since it was looked at."""
    return os.open(path, flags | os.O_NONBLOCK)
