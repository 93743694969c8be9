"""Files that appear whole or not at all, and errors of the disk as one line."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nano4m_audio.errors import UserError

#: A temp file older than this has no writer any more, whichever machine it ran on.
_LEFTOVER_S = 2 * 24 * 3600.0

_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO, errno.ENOTDIR)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temp path beside ``path``; on success fsync and rename it, on failure remove it.

    Temp files that a killed process of this machine left of the same file are removed. Raises
    UserError when the disk is full or cannot be written, so that the user reads one line and
    nothing is half written.
    """
    with user_errors(path), replacing(path) as temp:
        yield temp


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """What ``atomic_path`` does, for those who answer errors of the disk themselves (OSError)."""
    temp = temp_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    try:
        yield temp
        put_in_place(temp, path)
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def temp_path(path: Path) -> Path:
    """Where this process writes a file until it is whole."""
    return path.with_name(f".{path.name}.tmp.{socket.gethostname()}-{os.getpid()}")


def put_in_place(temp: Path, path: Path) -> None:
    """Rename a finished file, once the disk has it. Raises OSError."""
    with open(temp, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(temp, path)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove temp files of ``name`` (of any file) whose writer is dead, or that are days old."""
    for temp in leftovers(folder, name):
        with suppress(FileNotFoundError):
            temp.unlink()


def leftovers(folder: Path, name: str = "") -> Iterator[Path]:
    """The temp files that ``remove_leftovers`` removes."""
    pattern = f".{glob.escape(name)}.tmp.*" if name else ".*.tmp.*"
    for temp in folder.glob(pattern):
        host, _, pid = temp.name.rpartition(".tmp.")[2].rpartition("-")
        here = host == socket.gethostname() and pid.isdecimal()
        with suppress(FileNotFoundError):
            old = time.time() - temp.stat().st_mtime > _LEFTOVER_S
            if old or (here and not _alive(int(pid))):
                yield temp


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def user_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, or a place that cannot be written, into one line about ``path``."""
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            text = f"no space left on the device while writing {path}: free some space"
        elif number in _UNWRITABLE:
            where = getattr(error, "filename", None) or path
            text = f"{where} cannot be written ({os.strerror(number)}): put that right"
        else:
            raise
        raise UserError(f"{text} and run again") from error


def _system_error(error: Exception) -> int:
    """The number of the system call's error, also where a library only quotes it; 0 for none."""
    if isinstance(error, OSError):
        return error.errno or 0
    quoted = re.search(r"os error (\d+)|\[Errno (\d+)\]", str(error))
    return int(quoted[1] or quoted[2]) if quoted else 0


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temp:
        temp.write_bytes(data)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; the copy appears whole or not at all."""
    with atomic_path(target) as temp:
        shutil.copyfile(source, temp)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises OSError."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def data_yaml(text: str) -> Any:
    """What YAML of this package says, by libyaml where PyYAML has it: that is twelve times as fast,
    and a job reads five such files before it does anything."""
    import yaml

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def read_json(path: Path, advice: str, missing: str = "") -> Any:
    """The JSON of a file. Raises UserError in one line: what is wrong, and the ``advice``; that
    for a file that is not there may be another one (``missing``)."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {missing or advice}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): {advice}") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically with sorted keys and a final newline: equal values, equal bytes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())
