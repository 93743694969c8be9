"""Rules and config as a user meets them: values of every kind, other folders, other sources."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from nano4m_audio.tables import read_rows
from tests.conftest import ROOT
from tests.workflow.conftest import TINY, Project
from tests.workflow.warm import programs

FIELD = re.compile(r"(\S*?)\{(params|resources)\.(\w+)(:q)?\}")


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.smk")), ids=lambda p: p.name)
def test_every_value_is_one_quoted_word(path):
    """`--option={params.x:q}` stays one word whatever the value is; `--option {params.x:q}` loses
    an empty one, and what follows takes its place."""
    for line in path.read_text().splitlines():
        if not line.strip().startswith('"'):
            continue
        for before, kind, name, quoted in FIELD.findall(line):
            assert quoted or kind == "resources", f"{name}: not quoted"
            assert before.endswith("=") or name == "what", f"{name}: not --option=value"


def small_folder(finished: Project, folder: Path, by_class: bool) -> Path:
    """A few good clips of the finished world: with a list, or in one sub-folder per class."""
    with open(finished.results / "barnyard/truth.csv", newline="") as handle:
        good = [row for row in csv.DictReader(handle) if row["kind"] == "good"][:14]
    folder.mkdir(parents=True)
    rows = []
    for row in good:
        name = Path(row["file"]).name
        target = folder / row["class"] / name if by_class else folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(finished.results / "barnyard" / row["file"], target)
        rows.append({"file": name, "class": row["class"]})
    if not by_class:
        with open(folder / "clips.csv", "w", newline="") as handle:
            writer = csv.DictWriter(handle, ["file", "class"])
            writer.writeheader()
            writer.writerows(rows)
    return folder


def folder_config(**folder: str | None) -> dict:
    values = yaml.safe_load((ROOT / "configs/folder.yaml").read_text())
    small = {key: TINY[key] for key in ("experiments", "evaluate", "generate", "report")}
    return {**values, **small, "n_shards": 1, "folder": folder, "quality": {"frames": 4}}


@pytest.fixture(scope="module")
def listed(finished, tmp_path_factory) -> Project:
    """A finished run over a folder with a list and without truth."""
    project = Project.make(tmp_path_factory.mktemp("listed") / "project", folder_config())
    root = small_folder(finished, project.folder / "-my {clips} 'of' \"x\"", by_class=False)
    shutil.copytree(finished.results / "store", project.results / "store")
    project.write_overlay(folder_config(root=root.name))
    project.run()
    return project


@pytest.mark.slow
def test_a_folder_without_truth_ends_with_a_report(listed):
    assert (listed.results / "report.html").is_file()
    assert len(read_rows(listed.results / "candidates/0000.parquet", "candidates")) == 14
    assert "Nothing to be done" in listed.run()
    csv_file = next(listed.folder.glob("-my*/clips.csv"))
    csv_file.write_text("".join(csv_file.read_text().splitlines(True)[:-1]))
    assert "candidates" in listed.run("-n"), "a change of the list is noticed, braces or not"


@pytest.mark.slow
def test_a_folder_with_one_folder_per_class_ends_with_a_report(finished, tmp_path):
    project = Project.make(tmp_path / "project", folder_config())
    small_folder(finished, project.folder / "clips", by_class=True)
    shutil.copytree(finished.results / "store", project.results / "store")
    project.run("results/report.html", "--config", "folder={root: clips, clips_csv: null}")
    candidates = read_rows(project.results / "candidates/0000.parquet", "candidates")
    assert len(candidates) == 14 and len({row["class_name"] for row in candidates}) > 3
    assert (project.results / "report.html").is_file()


@pytest.mark.slow
def test_another_source_does_not_take_the_place_of_results(listed, tmp_path):
    before = listed.artifacts()
    (tmp_path / "clips.csv").write_text("file,class\n")
    for arguments in (["-n"], []):
        for config in (["source=barnyard"], [f"folder.root={tmp_path}"]):
            output = listed.run(*arguments, "results/report.html", "--config", *config, check=False)
            assert output.count("error: ") == 1 and "--directory FOLDER" in output
            assert "Traceback" not in output
    assert listed.artifacts() == before
    shutil.move(listed.results / "source.json", tmp_path)
    assert "candidates" in listed.run("-n", "--config", "source=barnyard")
    shutil.move(tmp_path / "source.json", listed.results)


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(programs() / "snakemake"), *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_looking_after_a_run_needs_no_cores(copy_of_finished):
    project = copy_of_finished
    shutil.copy(project.folder / "overlay.yaml", project.folder / "config.yaml")
    for option in ("--unlock", "--summary", "--detailed-summary", "--list", "--delete-all-output"):
        done = snakemake(project.folder, option)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (project.results / "report.html").exists()


@pytest.mark.slow
def test_the_snakefile_works_from_another_folder(tmp_path):
    elsewhere, own = tmp_path / "elsewhere", tmp_path / "own"
    own.mkdir()
    (own / "config.yaml").write_text("source: barnyard\nn_shards: 3\n")
    elsewhere.mkdir()
    plans = [
        snakemake(ROOT, "-n", "--cores", "1", "--directory", str(elsewhere)),
        snakemake(elsewhere, "-n", "-s", str(ROOT / "Snakefile")),
        snakemake(own, "-n", "-s", str(ROOT / "Snakefile")),
    ]
    verdicts = []
    for plan in plans:
        assert plan.returncode == 0, plan.stdout + plan.stderr
        verdicts.append(re.search(r"^verdict\s+(\d+)", plan.stdout, re.M)[1])
    assert verdicts == ["2", "2", "3"], "the demo's config, or that of the working directory"
    assert not (elsewhere / "results").exists(), "a dry run writes nothing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["verdict.audio_mn=1"], "verdict.audio_mn: unknown key, did you mean 'audio_min'?"),
        (["verdict={audio_min: 40}"], "verdict.audio_min = 40: Input should be less than or equal"),
        (["verdict.audio_min=0.4", "verdict={audio_min: 0.5}"], "verdict.audio_min is given twice"),
        (["report.title=" + "[" * 3000], "report.title"),
    ],
)
def test_wrong_config_on_the_command_line_is_one_line(tmp_path, entries, message):
    done = snakemake(tmp_path, "-n", "-s", str(ROOT / "Snakefile"), "--config", *entries)
    output = done.stdout + done.stderr
    errors = [line for line in output.splitlines() if line.lower().startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and message in errors[0], output[-3000:]
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "{" * 3000,
        "a: " + "{a: " * 300 + "1" + "}" * 300,
        "verdict: {1: 2}",
        "n_shards: 2\nn_shards: 3",
    ],
)
def test_a_wrong_config_file_is_one_line(tmp_path, text):
    (tmp_path / "wrong.yaml").write_text(text)
    for where in (["--configfile", "wrong.yaml"], []):
        if not where:
            shutil.copy(tmp_path / "wrong.yaml", tmp_path / "config.yaml")
        done = snakemake(tmp_path, "-n", "-s", str(ROOT / "Snakefile"), *where)
        output = done.stdout + done.stderr
        assert done.returncode == 1 and "Traceback" not in output, output[-3000:]
        assert sum("rror" in line for line in output.splitlines()) == 1, output[-3000:]


@pytest.mark.slow
def test_settings_of_two_hundred_experiments_fit_a_command(tmp_path):
    vary = {"optim.seed": list(range(40)), "model.dim": [64, 128], "data.train_clips": [5, 10]}
    project = Project.make(tmp_path / "project", {**TINY, "grids": {"many": {"vary": vary}}})
    plan = project.run("-n", "--printshellcmds")
    commands = [line for line in plan.splitlines() if "nano4m-audio" in line]
    assert sum(" train " in line for line in commands) == 161
    assert max(len(line) for line in commands) < 1000
