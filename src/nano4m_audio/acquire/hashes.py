"""The hashes of files as they were read last: with one new file among many, no other is read again.

A hash stands for a file while size, both times, device and inode are what they were when it was
read. The time of change is the file system's own: it moves with every write and every replacement,
also by a file of equal size whose modification time was set back. Where it was too recent to tell
one write from the next (see source.py), nothing is remembered.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from nano4m_audio.acquire.source import Region, Source
from nano4m_audio.files import write_bytes


class Hashes:
    """What is remembered of the files of one shard, in ``path``; a damaged record is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: dict[str, list[int | str]] = {}
        self._now: dict[str, list[int | str]] = {}
        try:
            digest, _, text = path.read_bytes().partition(b"\n")
        except OSError:
            return
        if digest == _digest(text):
            self._before = json.loads(text)

    def sha256(self, source: Source, region: Region | None, path: Path) -> str:
        """The hex SHA-256 of an open file, which is read if it may not be the one of last time.

        Raises MediaError when that cannot be had.
        """
        name, state = json.dumps([str(path), region]), list(source.state)
        known = self._before.get(name)
        if known and known[:-1] == state:
            self._now[name] = known
            return str(known[-1])
        sha256 = source.sha256()
        source.check()
        if source.settled and list(source.state) == state:
            self._now[name] = [*state, sha256]
        return sha256

    def keep(self) -> None:
        """Write what was asked for since this was made: files that are gone are forgotten."""
        if self._now != self._before:
            text = json.dumps(self._now, sort_keys=True).encode()
            write_bytes(self._path, _digest(text) + b"\n" + text)


def hashes_of(store: Path, shard: str) -> Hashes:
    """The hashes of the files of a shard."""
    return Hashes(store / "hashes" / shard)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode()
