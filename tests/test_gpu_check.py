"""The check of a GPU, as far as a CPU goes: every part computes, and its section is written."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import gpu_check
from benchmarks.gpu_parts import Notes
from tests.conftest import ROOT


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_every_part_computes_at_toy_size(tmp_path):
    out = tmp_path / "found.json"
    done = call("--toy", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["parts"].keys() == gpu_check.PARTS.keys()
    numbers = {name: part["numbers"] for name, part in found["parts"].items()}
    assert all(part["rows"] and not part["problems"] for part in found["parts"].values())
    assert len(numbers["precision"]["curve"]) == 10
    assert len(numbers["backends"]) == 10
    assert numbers["paper"]["losses"].keys() == numbers["paper"]["reference_losses"].keys()
    assert numbers["paper"]["step_s"] > 0 < numbers["paper"]["utilisation"]
    assert "needs a GPU" in done.stdout and "failed" not in done.stdout
    assert "is written" not in done.stdout  # a CPU has nothing to say in the document


def test_a_part_that_fails_is_a_row(tmp_path):
    notes = Notes(tmp_path / "part.json")
    notes.row("first", "1 s", first=1.0)
    notes.check(False, "second", "too far apart")
    found = json.loads(notes.path.read_text())
    assert [row["result"] for row in found["rows"]] == ["1 s", "failed: too far apart"]
    assert found["problems"] == ["second: too far apart"]


def test_a_part_that_takes_too_long_keeps_its_rows(tmp_path):
    Notes(tmp_path / "machine.json").row("first", "1 s")
    found = gpu_check.outcome("machine", "toy", tmp_path, 0.0)
    assert [row["result"] for row in found["rows"]] == ["1 s", "failed: no time was left for it"]
    found = gpu_check.outcome("machine", "toy", tmp_path, 0.001)
    assert found["problems"] == ["not done after 0 s"]


def found(device: str = "", result: str = "fine", problems: tuple[str, ...] = ()) -> dict:
    """What a check left in its file."""
    part = {"title": "Machine", "rows": [{"what": "device", "result": result}], "seconds": 1.0}
    part |= {"numbers": {"device": device} if device else {}, "problems": list(problems)}
    return {"made": "2026-01-02", "scale": "full", "seconds": 9.0, "parts": {"machine": part}}


def test_the_section_comes_from_a_file_of_another_machine(tmp_path):
    document, file = tmp_path / "page.md", tmp_path / "found.json"
    before, after = "# Title\ntext\n", "\n## Next\n"
    document.write_text(f"{before}{gpu_check.BEGIN}\nold\n{gpu_check.END}{after}")
    for result in ("7 s", "8 s"):
        file.write_text(json.dumps(found("NVIDIA H200", result)))
        assert call("--show", file, "--document", document).returncode == 0
        text = document.read_text()
        assert text.startswith(before) and text.endswith(after) and "old" not in text
        assert text.count(f"| Machine | device | {result} |") == 1
        assert text.count(gpu_check.BEGIN) == text.count(gpu_check.END) == 1
    file.write_text(json.dumps(found("NVIDIA H200", "failed: x", ("x",))))
    done = call("--show", file, "--document", document)
    assert done.returncode == 1 and done.stderr == "machine: x\n"
    kept = document.read_text()
    file.write_text(json.dumps(found("", "needs a GPU")))
    assert call("--show", file, "--document", document).returncode == 0
    assert document.read_text() == kept


def test_a_document_without_the_two_lines_is_left_alone(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(text := f"{gpu_check.BEGIN}\nno end\n")
    with pytest.raises(ValueError, match="has no lines"):
        gpu_check.write_section(document, "new")
    assert document.read_text() == text


def test_the_document_has_the_two_lines():
    text = (ROOT / "docs/BENCHMARKS.md").read_text()
    assert text.count(gpu_check.BEGIN) == text.count(gpu_check.END) == 1
