"""The command line: quick help, an example per command, one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
from typer.main import get_command

from nano4m_audio.cli.app import app

GROUP: Any = get_command(app)
COMMANDS = sorted(GROUP.commands)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nano4m_audio.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_is_quick_and_lists_every_stage():
    spent = []
    for _ in range(3):
        before = os.times()
        output = call("--help").stdout
        after = os.times()
        spent.append(sum(after[2:4]) - sum(before[2:4]))  # CPU time of children
    assert min(spent) < 0.7
    for name in (
        "barnyard", "candidates", "media", "decode", "score", "verdict", "split", "label",
        "tokenize", "train", "evaluate", "report",
    ):  # fmt: skip
        assert name in output


def test_help_imports_nothing_heavy():
    heavy = "torch", "numpy", "pyarrow", "av"
    code = f"import sys, nano4m_audio.cli.app; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name):
    group = GROUP.commands[name]
    for command in getattr(group, "commands", {name: group}).values():
        assert command.help
        assert "Example: nano4m-audio" in (command.epilog or "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["verdict", "--shard", "0000", "--settings", '{"audio_mn": 1}'],
            "did you mean 'audio_min'",
        ),
        (["verdict", "--shard", "0000", "--settings", "{"], "--settings: not JSON"),
        (["verdict", "--shard", "0000", "--results", "nowhere"], "does not exist"),
        (
            ["candidates", "--settings", '{"source": "folder", "folder": {"root": "nowhere"}}'],
            "is not a folder",
        ),
        (["candidates", "--settings", '{"classes": ["pgi"]}'], "did you mean 'pig'"),
        (["config", "nowhere.yaml"], "no such config file"),
    ],
)
def test_errors_are_one_line_and_exit_status_one(tmp_path, arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "nano4m_audio.cli", *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_version_is_that_of_the_package():
    assert call("--version").stdout == f"nano4m-audio {version('nano4m-audio')}\n"


def test_config_lists_every_key():
    output = call("config").stdout
    assert "verdict.audio_min = 0.3" in output
    assert "experiments.NAME.dim = 512" in output
