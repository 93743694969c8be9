"""Snakemake and the command line, started by a fork of a process that has imported their libraries.

Most of the time of a small world's run goes into importing torch, once a job. The programs are the
same, with arguments, folder, environment and files of their own; what is told to Python before it
starts, as PYTHONPATH, they cannot see. Tests of kills and of Slurm start real processes.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

TOOLS = Path(sys.executable).parent
#: Says who calls, lends its files 0 to 2, and ends as the program did.
CLIENT = """#!{python} -IS
import json, os, socket, sys
name = os.path.basename(sys.argv[0])
request = {{"argv": [name, *sys.argv[1:]], "folder": os.getcwd(), "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as server:
    server.connect("{address}")
    content = json.dumps(request).encode()
    socket.send_fds(server, [len(content).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(content)
    status = int.from_bytes(server.recv(4), "big", signed=True)
sys.exit(status) if status >= 0 else os.kill(os.getpid(), -status)
"""


@functools.cache
def programs(source: str = "") -> Path:
    """A folder with ``snakemake`` and ``nano4m-audio``, served as long as this process lives;
    ``source``: the folder of another nano4m_audio than the one that is tested."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    address = folder / "socket"
    for name in ("snakemake", "nano4m-audio"):
        (folder / name).write_text(CLIENT.format(python=sys.executable, address=address))
        (folder / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        command = [sys.executable, "-P", __file__, str(listener.fileno())]
        own = {"OMP_NUM_THREADS": "1", **({"PYTHONPATH": source} if source else {})}
        server = subprocess.Popen(
            command, pass_fds=[listener.fileno()], stdin=subprocess.PIPE,
            env={**os.environ, **own},  # no threads before a fork
        )  # fmt: skip

    def stop() -> None:
        server.communicate()  # it ends when its input does
        for path in (address, folder / "snakemake", folder / "nano4m-audio"):
            path.unlink(missing_ok=True)
        folder.rmdir()

    atexit.register(stop)
    return folder


@dataclass(frozen=True)
class Request:
    """A call of a program, and the files 0 to 2 of the caller."""

    argv: list[str]
    folder: str
    environment: dict[str, str]
    files: list[int]

    @classmethod
    def read(cls, caller: socket.socket) -> Request | None:
        """None from a caller that was killed while it spoke."""
        head, files, _, _ = socket.recv_fds(caller, 8, 3)
        length = int.from_bytes(head, "big")
        content = caller.recv(length, socket.MSG_WAITALL)
        if not length or len(content) < length:
            for file in files:
                os.close(file)
            return None
        return cls(**json.loads(content), files=list(files))

    def run(self) -> None:
        """Be that program, in a process of its own."""
        for number, file in enumerate(self.files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        if threads := self.environment.get("OMP_NUM_THREADS"):  # is read when torch is imported
            torch = importlib.import_module("torch")
            torch.set_num_threads(int(threads))
        sys.argv = self.argv
        if self.argv[0] == "snakemake":
            runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
        else:
            sys.argv[0] = str(TOOLS / self.argv[0])
            runpy.run_path(sys.argv[0], run_name="__main__")


def serve(listener: socket.socket) -> Request | None:
    """Fork a process for every call, in which the request is returned; None when nobody calls any
    more."""
    waiting = selectors.DefaultSelector()
    waiting.register(0, selectors.EVENT_READ, ("stop", 0))
    waiting.register(listener, selectors.EVENT_READ, ("call", 0))
    callers: dict[int, tuple[int, socket.socket]] = {}  # process -> its descriptor, who called
    while True:
        for key, _ in waiting.select():
            event, process = key.data
            if event == "stop":
                return None
            if event == "call":
                caller, _ = listener.accept()
                request = Request.read(caller)
                if request is None:
                    caller.close()
                    continue
                process = os.fork()
                if not process:
                    waiting.close()
                    for one in (listener, caller, *(sock for _, sock in callers.values())):
                        one.close()
                    for descriptor, _ in callers.values():
                        os.close(descriptor)
                    return request
                for file in request.files:
                    os.close(file)
                descriptor = os.pidfd_open(process)
                callers[process] = descriptor, caller
                waiting.register(descriptor, selectors.EVENT_READ, ("ended", process))
                waiting.register(caller, selectors.EVENT_READ, ("gone", process))
            elif event == "ended":
                descriptor, caller = callers.pop(process)
                waiting.unregister(descriptor)
                os.close(descriptor)
                if caller.fileno() in waiting.get_map():
                    waiting.unregister(caller)
                status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                with caller, contextlib.suppress(BrokenPipeError):  # it may have been killed
                    caller.sendall(status.to_bytes(4, "big", signed=True))
            elif process in callers:  # the caller has gone: its program goes, too
                waiting.unregister(callers[process][1])
                os.kill(process, signal.SIGKILL)


def import_all() -> None:
    """What the programs import; of the models, what the small world uses."""
    import nano4m_audio

    for name in ("torch", "pyarrow.parquet", "av", "snakemake.cli"):
        importlib.import_module(name)
    for found in pkgutil.walk_packages(nano4m_audio.__path__, "nano4m_audio."):
        if "__main__" not in found.name and not re.search(r"backends\.(?!mini)", found.name):
            importlib.import_module(found.name)


def end(status: object) -> NoReturn:
    """End as Python does, but do not take all those modules apart."""
    if status is not None and not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status or 0))


if __name__ == "__main__":
    import_all()
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request:
        try:
            request.run()
        except SystemExit as done:
            end(done.code)
        except BaseException:
            traceback.print_exc()
            end(1)
        end(0)
