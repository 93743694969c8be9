"""Whatever a folder, a file or a name is called: no word of a command is more or less than it."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.errors import UserError
from nano4m_audio.tables import read_rows
from tests.acquire.conftest import _film as film
from tests.conftest import ROOT
from tests.workflow.conftest import Project

#: What stands in a command as it is: numbers, and names that the test below holds to be plain.
PLAIN_FIELD = re.compile(
    r"threads|log|resources\.device|output\.\w+"
    r"|wildcards\.(shard|modality|experiment|tokenizer|member)"
)
HOSTILE = (
    *("-my clips", "--help", "$(touch pwned)", "`touch pwned`", "; touch pwned;", "a'b\"c"),
    *("a\nb", "a&b|c>d", "{params.settings}", "{{x}}", "%s", "*", "~", "!!", "\\", "é 🐄", "#x"),
)


def test_every_field_of_a_command_is_quoted_or_plain():
    found = 0
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for line in re.findall(r'^ +"(.*)"$', path.read_text(), re.M):
            if "{" not in line or "nano4m-audio" not in line and not re.search(r"--|2> ", line):
                continue
            for name, quoted in re.findall(r"(?<!\{)\{([\w.]+)(:q)?\}", line):
                found += 1
                assert quoted or PLAIN_FIELD.fullmatch(name), f"{path.name}: {name}"
    assert found > 80


@given(st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=12))
def test_names_that_stand_in_commands_and_files_are_plain(name):
    tokenizer = {"modality": "rgb", "steps": 2}
    configs: tuple[dict, ...] = ({"experiments": {name: {}}}, {"tokenizers": {name: tokenizer}})
    for values in configs:
        try:
            parse_workflow(values)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert shlex.quote(name) == name and re.fullmatch(r"\w[\w-]*", name), name


@pytest.mark.slow
def test_a_plan_in_hostile_folders_has_whole_words(tmp_path):
    """The folder of the run, that of the clips, the list and a clip all have such names."""
    project = Project.make(tmp_path / "".join(HOSTILE[2:6]), {})
    root = project.folder / "clips $(touch pwned)\n'; touch pwned; '"
    root.mkdir()
    film(root / "`touch pwned` -a.mp4", picture=True)
    (root / "-l.csv").write_text('file,class\n"`touch pwned` -a.mp4",dog\n')
    folder = {"root": str(root), "clips_csv": "-l.csv"}
    project.write_overlay({"source": "folder", "folder": folder, "n_shards": 1})
    plan = project.run("-n", "-p")
    commands = re.findall(r"^Shell command: (.*nano4m-audio.*)$", plan, re.M)
    assert len(commands) > 15
    for command in commands:
        words = shlex.split(command)
        assert words[-2] == "2>" and Path(words[-1]).suffix == ".log", command
        assert command.count("nano4m-audio ") == 1 and "pwned" not in command
        for told in (word for word in words if word.startswith("--settings=")):
            assert re.fullmatch(r"--settings=results/settings/[\w-]+\.json", told), command
        for shell in ("sh", "bash"):
            subprocess.run([shell, "-n", "-c", command], check=True)
    project.run("results/media/0000.parquet")
    (row,) = read_rows(project.results / "media/0000.parquet", "media")
    assert row["status"] == "ok" and row["path"] == "`touch pwned` -a.mp4"
    assert not list(tmp_path.rglob("pwned"))
