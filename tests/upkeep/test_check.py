"""What ``check`` finds before a run: all that is in the way, or the command that begins it."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from nano4m_audio.cli.app import app
from nano4m_audio.config.schema import Config
from nano4m_audio.files import write_json
from nano4m_audio.paths import Results
from nano4m_audio.upkeep import readiness
from nano4m_audio.upkeep.estimates import needed_bytes, needed_time
from tests.conftest import ROOT

Disk = namedtuple("Disk", ["total", "used", "free"])


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working directory with the shipped configs, away from any results and weights."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def film(path: Path, seconds: float) -> None:
    """A small film with a picture."""
    import av
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        for _ in range(round(seconds * 5)):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def check(*arguments: str, status: int = 0) -> list[str]:
    done = CliRunner().invoke(app, ["check", *arguments])
    assert done.exit_code == status, done.output
    return done.output.splitlines()


def problems(lines: list[str]) -> list[str]:
    return [line.removeprefix("problem: ") for line in lines if line.startswith("problem: ")]


def test_a_folder_with_a_list_is_ready(here):
    for name in ("a", "b", "c"):
        film(here / f"mine/{name}.mp4", 5)
    (here / "mine/clips.csv").write_text("file,class\na.mp4,dog\nb.mp4,cat\nc.mp4,dog\n")
    lines = check("mine", "--cores", "3")
    assert lines[0] == "clips: 3 (dog 2, cat 1)"
    assert any(line.startswith("lengths of 3: 5.0 to 5.0 s") for line in lines)
    assert lines[-1] == (
        "ready: snakemake --cores 3 results/report.html --configfile configs/folder.yaml "
        "--config folder.root=mine"
    )


def test_a_project_with_sub_folders_and_classes_of_its_own(here):
    for name in ("frog/a", "frog/b", "toad/short"):
        film(here / f"my project/clips/{name}.mp4", 2)
    lines = check("my project")
    words = shlex.split(lines[-1].removeprefix("ready: "))
    assert words[4:6] == ["--directory", "my project"]
    assert words[-3:] == ["--config", "folder.clips_csv=null", "classes=from_folder"]
    assert any("3 shorter than the 3.4 s" in line for line in lines)


@pytest.mark.slow
def test_the_command_is_one_that_snakemake_takes(here):
    for name in ("Snakefile", "rules", "profiles", "envs"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, here / name)
    for name in ("frog/a", "toad/b"):
        film(here / f"my project/clips/{name}.mp4", 4)
    command = check("my project")[-1].removeprefix("ready: ")
    plan = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "-n"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert plan.returncode == 0, plan.stderr
    assert "tokenize_clips" in plan.stdout + plan.stderr


def test_every_problem_is_a_line(here, monkeypatch):
    text = "file,class\na.mp4,dgo\n,dog\nx.mp4,dog,3\nb.mp4,cat\nd.mp4,cww\n"
    (here / "mine").mkdir()
    (here / "mine/clips.csv").write_text(text + "".join(f"e{i}.mp4,dgo\n" for i in range(20)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(1, 1, 1))
    lines = check("mine", "--config", "score.audio.backend=yamnet", status=1)
    found = problems(lines)
    rows = [line for line in found if line.startswith("mine/clips.csv: line ")]
    assert len(rows) == 24 and "did you mean 'dog'" in rows[0]
    assert any(
        line.startswith("weights of score.audio are missing: yamnet.tflite") for line in found
    )
    (disk,) = [line for line in found if line.startswith("disk: about ")]
    assert "GB frames and sound and" in disk and disk.endswith("if all are kept")
    assert len(found) == 26 and not any(line.startswith("ready") for line in lines)


def test_hostile_names_stay_on_their_line(here):
    (here / "mine").mkdir()
    (here / "mine/clips.csv").write_text('file,class\n"a\x1b[31m\nb",\x07dog\n')
    for line in check("mine", status=1):
        assert line.isprintable()


def test_files_are_looked_for_as_a_run_does(here):
    """Under the other Unicode form of a name, and not outside of the folder."""
    film(here / "mine/caf\u0065\u0301.mp4", 4)
    film(here / "out.mp4", 4)
    (here / "mine/clips.csv").write_text("file,class\ncaf\u00e9.mp4,dog\n../out.mp4,dog\n")
    lines = check("mine")
    assert any("1 paths lead out of the folder, such as ../out.mp4" in line for line in lines)
    assert any(line.strip().startswith("files: 1, ") for line in lines)
    assert not any("are not there" in line for line in lines)
    (here / "mine/clips.csv").write_text("file,class\n../out.mp4,dog\n")
    assert "no listed file is there" in problems(check("mine", status=1))[0]


def test_files_that_are_not_there(here):
    film(here / "mine/a.mp4", 4)
    (here / "mine/clips.csv").write_text("file,class\na.mp4,dog\ngone.mp4,dog\n")
    assert any("1 of 2 listed files are not there" in line for line in check("mine"))
    (here / "mine/a.mp4").unlink()
    (found,) = problems(check("mine", status=1))
    assert "2 of 2 listed files are not there, such as mine/a.mp4" in found


def test_a_bad_config_is_a_problem_and_not_a_trace(here):
    (here / "bad.yaml").write_text("source: folder\nverdict: {audio_mni: 1}\n")
    (found,) = problems(check("bad.yaml", status=1))
    assert "did you mean 'audio_min'" in found
    (here / "bad.yaml").write_text("a: [\n")
    assert len(problems(check("bad.yaml", status=1))) == 1


def test_what_is_wrong_on_the_command_line_is_not_said_of_the_file(here):
    (found,) = problems(check("config.yaml", "--config", "verdict.speech_mx=3", status=1))
    assert found.startswith("--config: verdict.speech_mx: unknown key")
    (here / "bad.yaml").write_text("source: folder\nverdict: {audio_mni: 1}\n")
    (found,) = problems(check("bad.yaml", "--config", "n_shards=3", status=1))
    assert found.startswith("bad.yaml: verdict.audio_mni: unknown key")


def test_a_folder_that_is_not_there(here):
    assert problems(check("configs/folder.yaml", status=1)) == [
        "folder.root: 'clips' is not a folder: put your clips there, or name yours with "
        "--config folder.root=PATH"
    ]


@pytest.mark.parametrize("key", ["clips_csv", "truth_csv"])
def test_a_list_that_is_not_there(here, key):
    film(here / "clips/dog/a.mp4", 4)
    folder = {"clips_csv": None, key: "none.csv"}
    (here / "mine.yaml").write_text(json.dumps({"source": "folder", "folder": folder}))
    (found,) = problems(check("mine.yaml", status=1))
    assert found.startswith(f"folder.{key}: 'clips/none.csv' is not there: write it (columns file,")
    assert f"--config folder.{key}=null" in found


def test_results_of_another_source(here):
    write_json(here / "results/source.json", {"source": "web"})
    (found,) = problems(check("config.yaml", status=1))
    assert "results/ holds the results of source 'web'" in found


def test_a_gpu_that_is_asked_for(here, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    two = ("--config", "experiments.base.hardware.devices=2")
    found = problems(check("config.yaml", "--config", "compute.device=cuda", *two, status=1))
    assert found == [
        "compute.device = cuda asks for 1 GPU, and there are none here",
        "experiments.base.hardware asks for 2 GPUs, and there are none here",
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check("config.yaml", "--config", "compute.device=cuda", *two)


def test_a_package_that_is_missing(here, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "yt_dlp" else real(name)
    )
    found = problems(check("config.yaml", "--config", "source=web", status=1))
    assert 'the package yt_dlp is not installed: pip install ".[web]"' in found


def test_little_memory(here, monkeypatch):
    monkeypatch.setattr(readiness, "_available_bytes", lambda: 10**9)
    (found,) = problems(check("config.yaml", status=1))
    assert found.startswith("memory: 1.0 GB are available")


def test_a_first_run_is_told_its_space_and_time_and_a_later_one_only_what_is_short(
    tmp_path, monkeypatch
):
    results = Results(tmp_path / "results")
    begun = time.process_time()
    first = readiness.at_start(Config(), results, 2)
    assert time.process_time() - begun < 0.5
    assert not first.problems
    assert [fact.split(":")[0] for fact in first.facts] == ["disk", "time", "memory"]
    results.store.mkdir(parents=True)
    later = readiness.at_start(Config(), results, 2)
    assert not later.problems and [fact.split(":")[0] for fact in later.facts] == ["memory"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**12, 10**12, 10**9))
    monkeypatch.setattr(readiness, "_available_bytes", lambda: 10**9)
    short = readiness.at_start(Config(), results, 2).problems
    assert [line.split(":")[0] for line in short] == ["disk", "memory"]
    results.store.rmdir()
    assert "are needed, 1.0 GB are free" in readiness.at_start(Config(), results, 2).problems[0]
    web = Config.model_validate({"source": "web"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "yt_dlp" in readiness.at_start(web, results, 2).problems[0]


def test_more_clips_take_more_and_what_is_there_is_not_needed_again(tmp_path):
    config, results = Config(), Results(tmp_path / "results")
    few, many = (needed_bytes(config, clips, results) for clips in (100, 1000))
    assert many - few == 900 * 3_100_000
    (tmp_path / "results").mkdir()
    (tmp_path / "results/x").write_bytes(b"0" * 1_000_000)
    assert needed_bytes(config, 1000, results) == many - 1_000_000
    one, four = (needed_time(config, 1000, cores, results) for cores in (1, 4))
    assert one.clips_min == pytest.approx(4 * four.clips_min)
    assert not one.measured_here and one.unknown == []


def test_figures_of_an_earlier_run_count_more(tmp_path):
    config, results = Config(), Results(tmp_path / "results")
    before = needed_time(config, 600, 1, results)
    path = results.settings / "config-1.json"
    path.parent.mkdir(parents=True)
    path.write_text(config.model_dump_json())
    write_json(results.settings / "last.json", {"config": path.name})
    said = {
        "label": "labels/depth: 120 rows, 100 computed\nlabels/normals: 120 rows, 0 computed\n",
        "tokenize_clips": "tokens/rgb: 120 rows, 0 computed\ntokens/audio: 120 rows, 0 computed\n"
        "tokens/caption: 120 rows, 100 computed\n",  # the others were known: no figure
        "decode": "clips: 120 rows, 3 computed\n",
    }
    for stage, log in said.items():
        for name, text in (
            (f"benchmarks/{stage}/0000.tsv", "s\th:m:s\n1000.0\t0:16:40\n"),
            (f"logs/{stage}/0000.log", log),
        ):
            (results / name).parent.mkdir(parents=True)
            (results / name).write_text(text)
    after = needed_time(config, 600, 1, results)
    assert after.measured_here
    assert after.clips_min - before.clips_min == pytest.approx(600 * (10 - 0.20) / 60)
    values = json.loads(config.model_dump_json())
    values["label"]["depth"] = "depth_anything_v2_small"
    other = needed_time(Config.model_validate(values), 600, 1, results)
    assert not other.measured_here  # that was another model


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_every_shipped_config_is_read(here, name):
    layers = yaml.safe_load((ROOT / "configs" / name).read_text())
    if not isinstance(layers, dict) or "labels" in name:
        pytest.skip("no config")
    done = CliRunner().invoke(app, ["check", f"configs/{name}"])
    assert done.exit_code in (0, 1) and (done.exception is None or done.exit_code == 1)
    assert "Traceback" not in done.output
    assert not isinstance(done.exception, (KeyError, TypeError, AttributeError))
