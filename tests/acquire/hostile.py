"""Decoding that goes wrong in every way, run by child processes; and a file that fills memory."""

from __future__ import annotations

import os
import signal
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nano4m_audio.acquire import clip_rows


def decode_row(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """As the real one, but files whose names say so harm the process."""
    harm = path.stem.split("_")[0]
    if harm in _HARMS:
        with open(path.with_suffix(".log"), "a") as log:
            print(os.getpid(), file=log)
        _HARMS[harm]()
    return clip_rows.decode_row(path, options)


def decode_row_harmlessly(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """As the real one."""
    return clip_rows.decode_row(path, options)


def burn(seconds: float) -> int:
    """Use that much processor time; returns the id of the process."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return os.getpid()


def fail(number: int) -> int:
    raise ValueError(f"no {number}")


def act(harm: str) -> str:
    _HARMS[harm]()
    return f"{harm} in {os.getpid()}"


def _fill_memory() -> None:
    held = []
    while True:
        held.append(b"x" * (64 << 20))


def _spin() -> None:
    while True:
        pass


_HARMS = {
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "fill": _fill_memory,
    "spin": _spin,
    "hang": lambda: time.sleep(3600),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "nothing": lambda: None,
}


def write_inflating_mov(path: Path, size_bytes: int) -> Path:
    """A MOV whose compressed header inflates to ``size_bytes`` (a multiple of 16 MiB) of zeros."""
    block = 16 << 20
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = squeeze.compress(bytes(block)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    adler = struct.pack(">I", (size_bytes % 65521) << 16 | 1)
    data = b"\x78\x9c" + part * (size_bytes // block) + b"\x03\x00" + adler

    def atom(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    header = atom(b"dcom", b"zlib") + atom(b"cmvd", struct.pack(">I", size_bytes) + data)
    path.write_bytes(atom(b"ftyp", b"qt  \0\0\0\0qt  ") + atom(b"moov", atom(b"cmov", header)))
    return path
