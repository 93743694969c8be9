"""A copy of the workflow in a folder of its own, and a finished run of it on a tiny world."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from nano4m_audio.modalities import MODALITIES
from tests.conftest import ROOT
from tests.workflow.warm import TOOLS, programs

TINY: dict[str, Any] = {
    "barnyard": {"purpose": "test", "seed": 5, "clips": 44, "clip_s": 4.5, "fps": 4,
                 "hard_fraction": 0},
    "n_shards": 2,
    "experiments": {
        "base": {
            "model": {"dim": 32, "encoder_depth": 1, "decoder_depth": 1, "head_dim": 32},
            "optim": {"steps": 6, "batch_size": 4, "warmup_steps": 2, "validate_every": 3},
            "numerics": {"threads": 1},
        }
    },
    "evaluate": {"bootstrap": 100, "keyframes": 1},
    "generate": {"clips": 1, "steps": 2},
    "report": {"examples": 2},
}  # fmt: skip
LOOSER: dict[str, Any] = {**TINY, "verdict": {"visual_min": None, "audio_min": None}}


@dataclass(frozen=True)
class Project:
    """A working copy: Snakefile, rules, profiles, config.yaml, and its results."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, config: dict) -> Project:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("rules", "profiles", "envs"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "Snakefile", folder)
        shutil.copy(ROOT / "config.yaml", folder)
        project = cls(folder)
        project.write_overlay(config)
        return project

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def write_overlay(self, config: dict) -> None:
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(config))

    def command(self, *arguments: str) -> list[str]:
        overlay = [] if "--configfile" in arguments else ["--configfile", "overlay.yaml"]
        return ["snakemake", "--cores", "2", *arguments, *overlay]

    def environment(self, *tools: Path, **more: str) -> dict[str, str]:
        """``tools``: folders in which programs are looked for first."""
        path = ":".join([*map(str, tools), str(TOOLS), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "CI": "", **more}

    def run(
        self, *arguments: str, check: bool = True, tools: Sequence[Path] = (), **environment: str
    ) -> str:
        """Run snakemake and return what it printed. Its jobs see no other PYTHONPATH unless they
        are started from nothing."""
        served = () if "PYTHONPATH" in environment else (programs(),)
        done = subprocess.run(
            self.command(*(arguments or ("results/report.html",))),
            cwd=self.folder,
            env=self.environment(*tools, *served, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def computed(self, stage: str, table: str = "") -> int:
        """How many rows (of this table) the last job of every shard of a stage computed, from the
        logs."""
        logs = (self.results / "logs" / stage).glob("*.log")
        line = re.compile(rf"^{table}.*: \d+ rows, (\d+) computed$", re.MULTILINE)
        said = [line.findall(log.read_text()) for log in logs]
        assert said and all(len(numbers) == 1 for numbers in said), "one table each is asked for"
        return sum(int(numbers[0]) for numbers in said)

    def computed_of(self, modality: str) -> int:
        """How many rows of tokens of a modality the last jobs computed."""
        source = "labels" if MODALITIES[modality].estimator else "clips"
        return self.computed(f"tokenize_{source}", f"tokens/{modality}")

    def artifacts(self) -> dict[str, bytes]:
        """The tables that must not depend on what happened on the way."""
        paths = [self.results / "split.parquet"]
        for name in ("candidates", "verdicts", "selected", "tokens"):
            paths += sorted((self.results / name).rglob("*.parquet"))
        return {str(path.relative_to(self.results)): path.read_bytes() for path in paths}


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Project]
) -> Project:
    """A copy of a project that one of several workers makes and runs."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            shutil.rmtree(shared, ignore_errors=True)
            make(shared / "project").run()
            (shared / "done").touch()
    return copied(Project(shared / "project"), factory.mktemp(name) / "project")


def copied(project: Project, folder: Path) -> Project:
    """A copy with Snakemake's metadata and all time stamps."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(project.folder), str(folder)], check=True)
    return Project(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run. Tests that change it work on a copy; so does each of several workers."""
    return made_once(tmp_path_factory, "finished", lambda folder: Project.make(folder, TINY))


@pytest.fixture(scope="session")
def looser(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished run, run again without thresholds of picture and sound; only to be read."""

    def make(folder: Path) -> Project:
        project = copied(finished, folder)
        project.write_overlay(LOOSER)
        return project

    return made_once(tmp_path_factory, "looser", make)


@pytest.fixture
def copy_of_finished(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, with its Snakemake metadata and time stamps."""
    return copied(finished, tmp_path / "project")
