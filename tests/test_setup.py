"""``make setup`` with a uv that writes down what it is asked for; TORCH=cpu leaves CUDA out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

CUDA = re.compile(r"(cuda|nvidia)-|triton$")
TORCH = {"torch", "torchvision", "torchaudio"}
UV = """#!/bin/sh
echo "$@" >> asked
if [ "$1" = venv ]; then mkdir -p .venv/bin && ln -s "$(command -v python3)" .venv/bin/python; fi
"""


@pytest.fixture
def checkout(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    uv = tmp_path / "tools/uv"
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(0o755)
    (tmp_path / "src").mkdir()
    return tmp_path


def asked(checkout: Path, *arguments: str) -> list[str]:
    """What ``make setup`` asks uv for."""
    path = f"{checkout / 'tools'}:{os.environ['PATH']}"
    subprocess.run(
        ["make", "setup", *arguments],
        cwd=checkout, env={**os.environ, "PATH": path, "MAKEFLAGS": ""}, check=True,
    )  # fmt: skip
    return (checkout / "asked").read_text().splitlines()


def packages(lock: Path) -> dict[str, str]:
    """Name -> whole entry of a lock."""
    entries = re.split(r"\n(?=\S)", lock.read_text().rstrip("\n"))
    return {entry.partition("==")[0]: entry for entry in entries}


def test_setup_asks_for_the_lock_and_names_no_index(checkout):
    venv, lock, project = asked(checkout)
    assert venv.startswith("venv ") and "--require-hashes -r requirements.lock" in lock
    assert "--no-deps" in project and "-e ." in project
    assert not any("index" in line for line in (venv, lock, project))
    assert "://" not in (checkout / "requirements.lock").read_text()


def test_setup_without_cuda_takes_torch_elsewhere_and_the_rest_of_the_lock(checkout):
    venv, torch, rest, project = asked(checkout, "TORCH=cpu")
    locked = packages(checkout / "requirements.lock")
    assert venv.startswith("venv ") and "-e ." in project
    assert "--no-deps --index-url https://download.pytorch.org/whl/cpu " in torch
    found = dict(word.split("==") for word in torch.split() if "==" in word)
    assert found == {name: re.split(r"==| ", locked[name])[1] for name in TORCH}
    assert rest.endswith("--no-deps --require-hashes -r .venv/cpu.lock")
    left = packages(checkout / ".venv/cpu.lock")
    assert set(locked) - set(left) == TORCH | {name for name in locked if CUDA.match(name)}
    assert len(set(locked) - set(left)) > 15 and "open-clip-torch" in left
    assert all(locked[name] == entry and "--hash=sha256:" in entry for name, entry in left.items())


def test_another_index_may_be_named(checkout):
    torch = asked(checkout, "TORCH=cpu", "TORCH_INDEX=https://mirror.example/cpu")[1]
    assert "--index-url https://mirror.example/cpu " in torch and "pytorch.org" not in torch
