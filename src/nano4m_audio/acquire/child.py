"""Call a function in a child process with limits on memory and time; a crash becomes a result.

libav runs in C over files of unknown origin. What it may do wrong (a crash, an endless loop, all of
the memory) ends a child that does one call after another; the next call gets a new child.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any, Self

from nano4m_audio.reasons import Reason

_START = "from nano4m_audio.acquire.child import serve; serve()"
_START_S = 300.0
_PR_SET_PDEATHSIG = 1
#: Who ends a process with these acts from outside: the user, the system short of memory, a cluster.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@dataclass(frozen=True)
class Limits:
    """What one call may take: private memory of the process, processor time, time on the clock."""

    memory_mb: int
    cpu_s: float
    wall_s: float


class Died(Exception):
    """The child gave no answer: CRASHED, OUT_OF_MEMORY, OUT_OF_TIME or INTERRUPTED is why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


class Child:
    """Calls ``function`` (importable by name, as pickle needs it) in a process of its own.

    The process starts at the first call and again after each death. It ignores Ctrl-C, which its
    parent answers, and on Linux the system ends it with its parent, however that ends.
    """

    def __init__(self, function: Callable[..., Any], limits: Limits) -> None:
        self.function = function
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, *arguments: Any) -> Any:
        """Return what ``function`` returns. Raises Died, or RuntimeError for what it raises.

        A crash or a lack of memory may come from what the process did before, so that the call is
        tried once more in a new one.
        """
        try:
            return self._call(arguments)
        except Died as death:
            if death.reason not in (Reason.CRASHED, Reason.OUT_OF_MEMORY):
                raise
        return self._call(arguments)

    def close(self) -> int:
        """End the process, whatever it does; return its exit status."""
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if pipe is not None:
            pipe.close()
        if process is None:
            return 0
        process.kill()
        return process.wait()

    def _call(self, arguments: tuple[Any, ...]) -> Any:
        try:
            if self._pipe is None:
                self._start()
            done, answer = self._ask(arguments)
        except BaseException:
            self.close()
            raise
        if not done:
            self.close()
            raise answer
        return answer

    def _ask(self, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        assert self._pipe is not None
        try:
            self._pipe.send(arguments)
            if self._pipe.poll(self.limits.wall_s):
                return self._pipe.recv()
        except (EOFError, OSError):
            raise self._death() from None
        raise Died(Reason.INTERRUPTED, f"no end after {self.limits.wall_s:g} s")

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-P", "-c", _START, str(theirs.fileno()), str(os.getpid())]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            self._pipe.send((self.function, self.limits))
            started = self._pipe.poll(_START_S) and self._pipe.recv()
        except (EOFError, OSError):
            started = False
        if not started:
            raise RuntimeError(f"no process for {self.function} could be started")

    def _death(self) -> Died:
        """Why the process is gone."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)  # it has closed its end: let it say how it ended
        status = self.close()
        if status == -signal.SIGXCPU:
            return Died(Reason.OUT_OF_TIME, f"more than {self.limits.cpu_s:g} s of processor time")
        if -status in _FROM_OUTSIDE:
            return Died(Reason.INTERRUPTED, f"ended from outside ({signal.Signals(-status).name})")
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return Died(Reason.CRASHED, f"the decoder crashed twice ({how})")


def serve() -> None:
    """What the child does: answer calls until the parent is gone."""
    pipe, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    function, limits = pipe.recv()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, limits.memory_mb << 20)
    pipe.send(True)
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + limits.cpu_s))
        pipe.send_bytes(_answer(function, arguments, limits))


def _limit(kind: int, value: int) -> None:
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...], limits: Limits) -> bytes:
    """What is sent: whether the call succeeded, and its result or what the caller shall raise."""
    try:
        return pickle.dumps((True, function(*arguments)))
    except MemoryError:
        error: Exception = Died(Reason.OUT_OF_MEMORY, f"more than {limits.memory_mb} MB of memory")
    except Exception:
        error = RuntimeError(traceback.format_exc())
    return pickle.dumps((False, error))
