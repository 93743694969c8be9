"""Disks that are full or cannot be written: one line, nothing half written, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nano4m_audio.backends import registry
from nano4m_audio.errors import UserError
from nano4m_audio.files import atomic_path, write_bytes
from nano4m_audio.interchange.layout import export_tokens
from nano4m_audio.locks import locked
from nano4m_audio.paths import Results
from nano4m_audio.store import Item, RowStore, publish
from nano4m_audio.tables import write_rows
from tests.tokens import write_tokens


def mount(folder: Path, *options: str) -> None:
    command = ["mount", *options, str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=300k", "tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def files_of(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def fill_store(folder: Path) -> None:
    rows = [{"key": "a", "status": "ok", "frames": [os.urandom(900_000)]}]
    publish(
        RowStore(folder, "clips", "0000"), [Item("c", "a")], lambda _: rows, folder / "o.parquet"
    )


WRITES = {
    "bytes": lambda folder: write_bytes(folder / "x", os.urandom(500_000)),
    "table": lambda folder: write_rows(
        folder / "t.parquet", "candidates", [{"clip_id": os.urandom(4000).hex()}] * 200
    ),
    "store": fill_store,
}


@pytest.mark.parametrize("what", ["bytes", "store"])
def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk, what):
    with pytest.raises(UserError, match="no space left on the device") as error:
        WRITES[what](small_disk)
    assert "\n" not in str(error.value)
    assert files_of(small_disk) == []


def test_a_full_disk_keeps_the_old_table(small_disk):
    write_rows(small_disk / "t.parquet", "candidates", [{"clip_id": "a"}])
    before = (small_disk / "t.parquet").read_bytes()
    rows = [{"clip_id": os.urandom(2000).hex()} for _ in range(200)]
    with pytest.raises(UserError, match="no space left"):
        write_rows(small_disk / "t.parquet", "candidates", rows)
    assert files_of(small_disk) == ["t.parquet"]
    assert (small_disk / "t.parquet").read_bytes() == before


def test_a_full_disk_stops_an_export_in_one_line(small_disk, tmp_path):
    clips = [f"c{i}" for i in range(40)]
    caption = {"tokens": registry.load("text_tokenizer", "gpt2").encode("dog barking")}
    sound = {"tokens": [[0, 1024] * 256]}
    changed: dict[tuple[str, str], dict] = {("caption", clip): caption for clip in clips}
    changed |= {("audio", clip): sound for clip in clips}
    write_tokens(tmp_path, dict.fromkeys(clips, "train"), changed=changed)
    with pytest.raises(UserError, match="no space left"):
        export_tokens(Results(tmp_path), small_disk)
    assert not [name for name in files_of(small_disk) if "tmp" in name]
    for path in small_disk.rglob("*.npy"):
        assert np.load(path).shape[0] == 10  # none is half written


@pytest.mark.parametrize("what", WRITES)
def test_a_disk_that_is_read_only_is_one_line(small_disk, what):
    mount(small_disk, "-o", "remount,ro")
    with pytest.raises(UserError, match="Read-only file system") as error:
        WRITES[what](small_disk)
    assert "\n" not in str(error.value) and str(small_disk) in str(error.value)


def test_a_command_says_it_in_one_line(small_disk):
    write_rows(small_disk / "results/candidates/0000.parquet", "candidates", [])
    mount(small_disk, "-o", "remount,ro")
    command = [sys.executable, "-m", "nano4m_audio.cli", "media", "--shard", "0000"]
    done = subprocess.run(command, cwd=small_disk, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.fixture
def as_another_user(tmp_path: Path) -> list[str]:
    """How to run a command without root's right to read and write what others own."""
    rights = "-dac_override,-dac_read_search"
    words = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    owned = tmp_path / "owned"
    owned.mkdir()
    if os.getuid() or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv, can be another user")
    os.chown(owned, 65534, 65534)
    if not subprocess.run([*words, "touch", str(owned / "x")], capture_output=True).returncode:
        pytest.skip("this system lets root keep its rights")
    return words


@pytest.mark.parametrize(
    ("mode", "place"),
    [
        (0o644, "results/media"),
        (0o000, "results/candidates/0000.parquet"),
        (0o000, "results/settings/last.json"),
        (0o000, "results/settings/media.json"),
    ],
)
def test_what_another_user_owns_is_one_line(tmp_path, as_another_user, mode, place):
    write_rows(tmp_path / "results/candidates/0000.parquet", "candidates", [])
    (tmp_path / "results/media").mkdir()
    settings = tmp_path / "results/settings"
    write_bytes(settings / "last.json", b'{"media": "media.json"}')
    write_bytes(settings / "media.json", b'{"root": "in"}')
    os.chown(tmp_path / place, 65534, 65534)
    (tmp_path / place).chmod(mode)
    command = [sys.executable, "-m", "nano4m_audio.cli", "media", "--shard", "0000"]
    done = subprocess.run(
        [*as_another_user, *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: ") and "Permission denied" in line and place in line
    assert "Traceback" not in done.stderr


def half_written(folder: Path) -> Path:
    """The temp file of a writer that was killed while it wrote ``x``."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from nano4m_audio.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temp:\n"
        "    temp.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder / "x")])
    assert done.returncode == -signal.SIGKILL
    (temp,) = folder.glob(".x.tmp.*")
    return temp


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    temp = half_written(tmp_path)
    write_bytes(tmp_path / "y", b"")
    assert temp.exists()  # another file's
    write_bytes(tmp_path / "x", b"whole")
    assert files_of(tmp_path) == ["x", "y"]


def test_what_a_killed_writer_left_is_removed_under_the_lock(tmp_path):
    half_written(tmp_path)
    with locked(tmp_path):
        assert files_of(tmp_path) == []


def test_what_a_living_writer_writes_is_left_alone(tmp_path):
    elsewhere = tmp_path / ".x.tmp.another-host-1"
    elsewhere.touch()
    with atomic_path(tmp_path / "x") as temp:
        temp.write_bytes(b"1")
        living = tmp_path / f".x.tmp.{socket.gethostname()}-{os.getppid()}"
        living.touch()
        write_bytes(tmp_path / "y", b"2")
        with locked(tmp_path):
            assert temp.exists() and living.exists() and elsewhere.exists()
    assert (tmp_path / "x").read_bytes() == b"1"
    week_ago = time.time() - 7 * 24 * 3600
    os.utime(elsewhere, (week_ago, week_ago))
    living.unlink()
    write_bytes(tmp_path / "x", b"3")
    assert files_of(tmp_path) == ["x", "y"]
