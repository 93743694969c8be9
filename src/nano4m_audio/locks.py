"""Writer locks of folders, which the operating system drops when their holder dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from nano4m_audio.files import remove_leftovers, user_errors


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the writer lock of a folder; a second writer waits, then finds the work already done.

    What a killed writer left half written in the folder is removed.
    """
    with user_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")  # noqa: SIM115 (closed below)
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        remove_leftovers(folder)
        yield


@contextmanager
def try_locked(folder: Path) -> Iterator[bool]:
    """Hold the writer lock if nobody does, without waiting; yields whether it is held."""
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(open(folder / ".lock", "w"))
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another writer is at work, or nothing can be written here
            held = False
        else:
            held = True
        yield held


def in_use(folder: Path) -> IO[str]:
    """Note that somebody works in a folder until the handle is closed or its process ends.

    Any number may do so at once; who then asks ``try_locked`` for the folder gets no lock. Where a
    clean-up has it, this waits for its end.
    """
    with user_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")  # noqa: SIM115 (closed by the caller)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle
