"""The command line: quick help, an example per command, one-line errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from nano4m_audio.cli.app import HOMES, SECTIONS, SPINS, app, command_line, share_cores
from nano4m_audio.config.reading import describe
from nano4m_audio.tables import write_rows

GROUP: Any = command_line()
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
        "tokenize", "train", "evaluate", "generations", "report",
    ):  # fmt: skip
        assert name in output


def test_help_lists_every_command_once_in_a_section():
    output = call("--help").stdout
    at = [output.index(f"\n{title}:\n") for title in SECTIONS]
    assert at == sorted(at) and "Others:" not in output
    assert output.index("  config ") < output.index("  decode ")
    for name in COMMANDS:
        assert len(re.findall(rf"^  {name} ", output, re.MULTILINE)) == 1, name
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))


def test_help_imports_nothing_heavy():
    heavy = "torch", "numpy", "pyarrow", "av"
    code = f"import sys, nano4m_audio.cli.app; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_every_command_has_its_home():
    """A command that HOMES does not name could not be called."""
    assert {*HOMES, "config"} == set(COMMANDS) == {n for names in SECTIONS.values() for n in names}


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    code = (
        "import sys; from nano4m_audio.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('imported', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("imported ")[2].split())


def test_a_stage_imports_no_more_than_it_needs(tmp_path):
    """A run starts a process for every shard of every stage: each pays for what is imported."""
    results = tmp_path / "results"
    write_rows(results / "selected/0000.parquet", "selected", [])
    asked = "label", "depth", "--shard", "0000", "--results", str(results)
    found = imported_by(*asked, "--settings", '{"backend": "mini"}')
    assert (results / "labels/depth/0000.parquet").exists()
    others = {f"nano4m_audio.cli.{name}" for name in ("model", "generate", "tools", "publish")}
    heavy = {"torch", "pandas", "av", "scipy", "matplotlib", "snakemake", "transformers"}
    whole_config = {"nano4m_audio.config.schema", "nano4m_audio.config.experiment"}
    assert not found & (others | heavy | whole_config)
    assert "nano4m_audio.cli.data" in found


def test_one_command_makes_several_modalities_each_as_told(tmp_path):
    results = tmp_path / "results"
    write_rows(results / "selected/0000.parquet", "selected", [])
    told = ("--settings", '{"backend": "mini"}', "--settings", '{"backend": "dsine"}')
    arguments = ("label", "depth", "normals", "--shard", "0000", "--results", str(results))
    done = CliRunner().invoke(app, [*arguments, *told, "--dtype", "float32"])
    assert done.exit_code == 0, done.output
    for name in ("depth", "normals"):
        assert (results / f"labels/{name}/0000.parquet").exists()
        assert (results / f"labels/{name}/.made_from/0000.parquet.json").exists()


def test_pandas_is_not_imported_by_a_command_and_is_by_who_asks(tmp_path):
    """Arrow would import it with the first list that it is given."""
    (tmp_path / "pandas.py").write_text("__version__ = '9.0.0'\n")
    code = (
        "import importlib.util, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import pandas; del sys.modules['pandas']\n"
        "from nano4m_audio.cli.without import without\n"
        "without('pandas')\n"
        "import pyarrow; print(pyarrow.array([1]).to_pylist(), 'pandas' in sys.modules)\n"
        "without('nowhere_at_all'); print(importlib.util.find_spec('nowhere_at_all'))\n"
        "import pandas"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[1] False\nNone\n"
    assert "ModuleNotFoundError: pandas is not used by commands" in done.stderr


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
        (
            ["label", "depth", "--shard", "0000", "--settings", '{"modality": "normals"}'],
            "modality = 'normals', and depth was asked for",
        ),
        (["label", "dpth", "--shard", "0000"], "did you mean 'depth'"),
        (["tokenize", "rgb", "audio", "rgb", "--shard", "0000"], "rgb: asked for more than once"),
        (
            ["label", "depth", "normals", "--shard", "0000", "--settings", "{}"],
            "--settings: given 1 times, for 2 modalities",
        ),
        (["tokenize", "rgb", "--shard", "0000", "--dtype", "float23"], "did you mean 'float32'"),
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
    common, every = call("config").stdout, call("config", "--all").stdout
    assert every.startswith(common.rpartition("\n")[0].rpartition("\n")[0])
    assert "verdict.audio_min = 0.3\n    least" in common
    assert "experiments.NAME.model.dim = 512" in every and "model.dim" not in common
    assert every.count("\n") == 2 * len(describe())


def test_config_prints_what_files_say_together(tmp_path):
    """As Snakemake lays them: over the demo's, unless one of them names its source."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("verdict: {audio_min: 0.5, visual_min: 0.6}\n")
    second.write_text("verdict: {visual_min: 0.7}\nexperiments: {base: {optim: {steps: 50}}}\n")
    found = yaml.safe_load(call("config", str(first), str(second)).stdout)
    assert (found["source"], found["n_shards"]) == ("barnyard", 2)
    assert (found["verdict"]["audio_min"], found["verdict"]["visual_min"]) == (0.5, 0.7)
    base = found["experiments"]["base"]
    assert (base["optim"]["steps"], base["optim"]["lr"], base["model"]["dim"]) == (50, 0.004, 64)
    first.write_text("source: folder\n")
    found = yaml.safe_load(call("config", str(first)).stdout)
    assert (found["source"], found["experiments"]["base"]["model"]["dim"]) == ("folder", 512)
    merged = tmp_path / "merged.yaml"
    merged.write_text(yaml.safe_dump(found))
    assert yaml.safe_load(call("config", str(merged)).stdout) == found


def test_threads_that_wait_let_others_run_unless_the_user_says_how():
    plain: dict[str, str] = {}
    share_cores(plain)
    assert plain == {"GOMP_SPINCOUNT": SPINS}
    for own in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}):
        kept = dict(own)
        share_cores(kept)
        assert kept == own


@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP than libgomp")
def test_libgomp_is_told_before_torch_is_loaded():
    """It reads the environment when it is loaded, and shows it when asked to."""
    bare = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    program = "from nano4m_audio.cli.app import main\ntry: main()\nfinally: import torch"
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"],
        env={**bare, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
    )
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr
