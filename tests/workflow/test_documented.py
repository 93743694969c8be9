"""Every command of the documents is run as it is printed, by a shell that did what stands above it.

The world is small: configs with a few clips and steps, and a finished demo. What needs the internet
or a cluster runs up to the error that the documents promise, or is planned.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from nano4m_audio.backends.registry import mini_card
from nano4m_audio.cli.app import command_line
from tests.conftest import ROOT
from tests.workflow.conftest import TINY, Project
from tests.workflow.test_commands import folder_config, small_folder
from tests.workflow.warm import programs

RUN = "runs"
PLAN = "is planned"  # takes hours, models or a cluster
FAILS = "ends without internet in: "
SERVES = "serves until it is stopped, and says: "
PARSES = "its arguments are read"
OFFLINE = "offline mode is on"

FOLDER = "--directory my_project --configfile configs/folder.yaml"
PAPER = "--directory my_project --configfile configs/paper.yaml --config source=folder"
WEB = "--results my_web_clips/results"
LEVERS = {
    "lever_xcodec": "xcodec_hubert_general",
    "lever_wavtokenizer": "wavtokenizer_75hz",
    "lever_mimi": "mimi",
}
HOW = {
    ". .venv/bin/activate": RUN,
    "make report": RUN,
    "make smoke": PLAN,  # run in test_smoke.py
    "make setup": RUN,
    "make setup TORCH=cpu": PLAN,  # run in test_setup.py
    "make picture": PLAN,
    "make gpu-check": PLAN,  # run at toy size in test_gpu_check.py
    "make lint": PLAN,
    "make test-all": PLAN,
    "make docs": RUN,
    "snakemake -n -p --force results/verdicts/0000.parquet": RUN,
    "nano4m-audio verdict --help": RUN,
    "python -m pdb -c continue -c quit -m nano4m_audio.cli config config.yaml": RUN,
    "snakemake --cores 2 --show-failed-logs results/report.html": RUN,
    "pytest -q tests/test_store.py": PLAN,
    'pytest -q -m "not slow and not shared and not browser" tests/curate': PLAN,
    "make test": PLAN,
    "make chaos": PLAN,
    "make test-portable": PLAN,
    "make slurm": PLAN,
    "make s3": PLAN,
    "nano4m-audio config": RUN,
    "nano4m-audio config configs/grid_demo.yaml": RUN,
    "nano4m-audio --help": RUN,
    "snakemake --cores 8 results/report.html --config verdict.visual_min=0.60": RUN,
    "snakemake --unlock": RUN,
    "snakemake --summary": RUN,
    "snakemake -n": RUN,
    f"snakemake --cores 8 results/report.html {FOLDER}": RUN,
    f"snakemake --cores 8 results/report.html {FOLDER} --config folder.clips_csv=null": PLAN,
    f"snakemake --cores 8 results/report.html {FOLDER} configs/yamnet.yaml": PLAN,
    f"snakemake --cores 2 results/report.html {FOLDER} configs/yamnet.yaml": PLAN,
    f"snakemake --cores 8 results/report.html {FOLDER} --config classes=from_folder": RUN,
    "nano4m-audio classes vggsound --out my_project/vggsound.yaml": RUN,
    "nano4m-audio classes vggsound --out configs/vggsound_full.yaml": RUN,
    "snakemake -n --directory my_web_clips --configfile configs/paper.yaml "
    "configs/vggsound_full.yaml": RUN,
    f"snakemake --cores 8 tokenizers {FOLDER}": RUN,
    "snakemake --cores all --configfile configs/semantic_audio.yaml": PLAN,
    "snakemake study": PLAN,
    "snakemake study --configfile configs/study.yaml --cores 2": PLAN,
    "nano4m-audio weights fetch yamnet": FAILS + OFFLINE,
    "nano4m-audio weights add yamnet downloads/yamnet.tflite": FAILS + "yamnet.tflite",
    "nano4m-audio weights fetch --config configs/paper.yaml": FAILS + OFFLINE,
    f"snakemake --cores 16 results/report.html --resources gpu=1 {PAPER}": PLAN,
    f"snakemake --profile profiles/slurm results/report.html {PAPER}": PLAN,
    "make web": PLAN,
    "snakemake --cores 1 --until candidates --directory my_web_clips --configfile "
    "configs/paper.yaml": RUN,
    f"nano4m-audio fetch --plan {WEB}": RUN,
    f"nano4m-audio fetch --probe {WEB}": FAILS + OFFLINE,
    f"nano4m-audio fetch {WEB}": FAILS + OFFLINE,
    f"nano4m-audio fetch --explain dQw4w9WgXcQ {WEB}": RUN,
    f"nano4m-audio fetch --retry transient {WEB}": FAILS + OFFLINE,
    "snakemake --cores 8 results/report.html --directory my_web_clips --configfile "
    "configs/paper.yaml": PLAN,
    "nano4m-audio weights list": RUN,
    "snakemake -n --directory my_web_clips --configfile configs/paper.yaml": RUN,
    "nano4m-audio export tokens --out tokens_npy": RUN,
    "nano4m-audio export dataset --to hf barnyard_hf": RUN,
    "nano4m-audio export dataset --to webdataset barnyard_tar --frames --sound": RUN,
    "nano4m-audio check my_project/clips --directory my_project": RUN,
    "nano4m-audio clips results --rejected --reason speech": RUN,
    "nano4m-audio clips results --near audio_min --csv --out near.csv": RUN,
    "nano4m-audio du results": RUN,
    "nano4m-audio status results": RUN,
    "nano4m-audio status results --shards": RUN,
    "nano4m-audio check configs/paper.yaml --directory my_project": FAILS + "disk: about",
    "nano4m-audio publish results s3://my-bucket/farm --dry-run": FAILS + "no credentials",
    "nano4m-audio publish results hf://datasets/my-name/farm": FAILS + "no token",
    "nano4m-audio export dataset --to hf my_dataset": RUN,
    "snakemake --cores 1 results/report.html --report workflow.html": RUN,
    "nano4m-audio gc results": RUN,
    "nano4m-audio export model --out model_hf": RUN,
    "nano4m-audio import model model_hf --run results/runs/imported": RUN,
    'nano4m-audio generate --caption "cat meowing" --to rgb,depth,normals,audio': RUN,
    "nano4m-audio generate --audio results/generated/by-hand/given_audio.wav --to caption,rgb "
    "--samples 3": RUN,
    "nano4m-audio generate --help": RUN,
    "nano4m-audio evaluate --checkpoint model_hf --tokens tokens_npy --results measured": RUN,
    "snakemake --cores 8 results/release/README.md": RUN,
    "nano4m-audio verify results/release --folder results/barnyard": RUN,
    "nano4m-audio audit results/release": RUN,
    "tensorboard --logdir results/runs": SERVES + "TensorBoard",
    "snakemake --printshellcmds -n": RUN,
    'HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)': RUN,
    "SETTINGS=$(ls -t results/settings/train-base-*.json | head -n 1)": RUN,
    'srun python -m torch.distributed.run --nnodes "$SLURM_NNODES" --nproc-per-node 4 '
    '--rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$HEAD:29500" '
    '-m nano4m_audio.cli train --experiment base --settings "$SETTINGS"': RUN,
    "snakemake --cores 2 results/report.html": RUN,
    "snakemake --cores 1 tokenizers": PLAN,
    "snakemake --cores 2 mini": PLAN,
    "snakemake --configfile configs/grid_demo.yaml --cores all": PLAN,
    f"snakemake --cores 16 {PAPER.replace(' --config ', ' configs/scaling.yaml --config ')}": PLAN,
    f"snakemake --cores 16 {PAPER.replace(' --config ', ' configs/table2.yaml --config ')}": PLAN,
    **{
        f"snakemake --cores 16 {PAPER.replace('.yaml', f'.yaml configs/{lever}.yaml')}": PLAN
        for lever in LEVERS
    },
    **{f"nano4m-audio weights fetch {weights}": FAILS + OFFLINE for weights in LEVERS.values()},
}

PROGRAMS = r"snakemake|nano4m-audio|make|python|pip|uv|tensorboard|torchrun|srun|git|pytest"
SPAN = re.compile(rf"`((?:\w+=\S+\s)*(?:{PROGRAMS})\s[^`]+)`")
FENCE = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```$|^```\w+\n.*?^```$", re.M | re.S)
STATE = re.compile(r"\. |\w+=\S*\$\(")


def in_block(text: str) -> list[str]:
    """The commands of a block of shell: one a line, unless the line goes on."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    commands = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines)
    return [command for command in commands if command]


def in_markdown(text: str) -> list[str]:
    """The commands of blocks without a language, and of code in sentences, from top to bottom."""
    found = [(m.start(), in_block(m[1])) for m in FENCE.finditer(text) if m[1]]
    prose = FENCE.sub(lambda m: " " * len(m[0]), text)
    found += [(m.start(), [" ".join(m[1].split())]) for m in SPAN.finditer(prose)]
    return [command for _, commands in sorted(found) for command in commands]


def in_yaml(text: str) -> list[str]:
    """The commands in the comments of a config file: indented by three spaces or more."""
    return in_block("\n".join(re.findall(r"^#   +(\S.*)$", text, re.M)))


DOCUMENTS = {
    str(path.relative_to(ROOT)): commands
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "configs").glob("*.yaml")),
    ]
    if (commands := (in_yaml if path.suffix == ".yaml" else in_markdown)(path.read_text()))
}


def how(command: str) -> str:
    """How a documented command is tested. Raises KeyError for one that nobody has thought of."""
    if re.match(r"(\w+=\S+ )*python (benchmarks/\w+\.py|-m benchmarks\.\w+)", command):
        return PARSES
    return HOW[command]


def test_every_documented_command_is_run_somehow():
    printed = {command for commands in DOCUMENTS.values() for command in commands}
    assert not sorted(filter(is_unknown, printed)), "say in HOW how these are tested"
    assert not sorted(set(HOW) - printed), "no document prints these any more"
    assert {"README.md", "docs/CLUSTER.md", "configs/yamnet.yaml"} <= set(DOCUMENTS)


def is_unknown(command: str) -> bool:
    try:
        return not how(command)
    except KeyError:
        return True


def test_commands_are_found_wherever_they_are_printed():
    text = "A `make x` and\n`snakemake\n-n`.\n```\na b \\\n  c  # why\n# no\nd\n```\n"
    text += "```yaml\ne: f\n```\n"
    assert in_markdown(text) == ["make x", "snakemake -n", "a b c", "d"]
    assert in_yaml("# x\n#   a \\\n#     b\nkey: 1\n") == ["a b"]


@dataclass
class Shell:
    """A shell that remembers what was activated and assigned; it starts without the project."""

    folder: Path
    environment: dict[str, str]
    state: list[str] = field(default_factory=list)

    def call(self, command: str, timeout_s: float = 1800) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-ec", "\n".join([*self.state, command])],
            cwd=self.folder, env=self.environment, timeout=timeout_s,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if STATE.match(command):
            self.state.append(command)
        return done

    def serves(self, command: str, message: str, timeout_s: float = 120) -> str:
        """What a server prints until ``message``; then it is stopped."""
        script = "\n".join([*self.state, f"exec timeout {timeout_s} {command}"])
        said = ""
        with subprocess.Popen(
            ["bash", "-ec", script], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                said += line
                if message in line:
                    break
            process.terminate()
        return said


def check(shell: Shell, command: str, kind: str) -> None:
    """Run one documented command in the way that ``kind`` says."""
    if kind.startswith(SERVES):
        assert (message := kind.removeprefix(SERVES)) in shell.serves(command, message)
        return
    if kind == PARSES:
        command = re.sub(r"-m benchmarks\.(\w+)", r"benchmarks/\1.py", command)
        command = re.sub(r"python (\S+)", r"python parse_only.py \1", command)
    elif kind == PLAN and command.startswith("make "):
        command = f"set -o pipefail; {command} -n | bash -n"
    elif kind == PLAN and command.startswith("pytest "):
        command = f"cd {ROOT} && {command} --collect-only"
    elif kind == PLAN:
        command += " -n" + (" --executor local" if "profiles/slurm" in command else "")
    done = shell.call(command)
    assert "Traceback" not in done.stdout, f"{command}\n{done.stdout[-4000:]}"
    if kind.startswith(FAILS):
        assert done.returncode and kind.removeprefix(FAILS) in done.stdout, done.stdout[-2000:]
    else:
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"


PARSE_ONLY = """
import argparse, runpy, sys
parse = argparse.ArgumentParser.parse_args
argparse.ArgumentParser.parse_args = lambda *a, **k: (parse(*a, **k), sys.exit(0))
sys.argv = sys.argv[1:]
sys.path.insert(0, "benchmarks")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write_small_configs(project: Project) -> None:
    """The demo's and the folder's config with the numbers of a small world."""
    tokenizers = {
        name: {
            "modality": name, "steps": 1, "width": 5, "levels": [4, 4], "batch_size": 2,
            "threads": 1,
        }
        for name in ("rgb", "depth", "normals")
    }  # fmt: skip
    demo = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(demo, TINY)
    (project.folder / "config.yaml").write_text(yaml.safe_dump(demo))
    folder = {**folder_config(), "tokenizers": tokenizers}
    (project.folder / "configs/folder.yaml").write_text(yaml.safe_dump(folder))


def make_checkout(project: Project) -> None:
    """What a copy of the workflow lacks to be a checkout that was set up."""
    for name in ("configs", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, project.folder / name)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, project.folder)
        os.utime(project.folder / name, (0, 0))
    venv = project.folder / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix, name))
    (venv / ".ready").touch()


def serve_programs(venv: Path) -> None:
    """Put the programs that start at once into an environment whose programs are links."""
    (venv / "bin").unlink()
    (venv / "bin").mkdir()
    served = {path.name: path for path in programs().iterdir()}
    for path in Path(sys.prefix, "bin").iterdir():
        (venv / "bin" / path.name).symlink_to(served.get(path.name, path))
    text = (venv / "bin/activate").read_text()
    (venv / "bin/activate").unlink()
    (venv / "bin/activate").write_text(text.replace(sys.prefix, str(venv)))


def write_tools(folder: Path) -> None:
    """Slurm on one machine: this one is the only node of every job."""
    folder.mkdir()
    for name, text in (("scontrol", "echo localhost"), ("srun", 'exec "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.fixture(scope="module")
def checkout(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout with the finished demo, and a folder of clips in ``my_project``."""
    folder = tmp_path_factory.mktemp("documented") / "project"
    subprocess.run(["cp", "-a", str(finished.folder), str(folder)], check=True)
    project = Project(folder)
    make_checkout(project)
    serve_programs(project.folder / ".venv")
    write_small_configs(project)
    small_folder(finished, folder / "my_project/clips", by_class=False)
    shutil.copytree(finished.results / "store", folder / "my_project/results/store")
    shutil.copytree(finished.results / "barnyard", folder / "my_clips")
    write_lists(folder / "my_web_clips/metadata")
    (folder / "parse_only.py").write_text(PARSE_ONLY)
    write_tools(folder.parent / "tools")
    return project


def write_lists(folder: Path) -> None:
    """Lists of the names that configs/paper.yaml reads, with a few rows."""
    head = "# Segments csv\n# num_ytids=1, num_segs=1\n# YTID, start_seconds, end_seconds, labels\n"
    for name in ("balanced_train", "eval"):
        path = folder / f"audioset/{name}_segments.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{head}{name[:4]}0123456, 30.000, 40.000, "/m/068zj,/t/dd00018"\n')
    (folder / "vggsound").mkdir()
    (folder / "vggsound/vggsound.csv").write_text('dQw4w9WgXcQ,10,"pig oinking",test\n')


@pytest.fixture
def shell(checkout: Project) -> Iterator[Shell]:
    """A new shell in the checkout: nothing is activated."""
    own = str(Path(sys.executable).parent)
    path = [p for p in os.environ["PATH"].split(":") if p and p != own]
    outside = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("VIRTUAL_ENV", "CI", "AWS_", "HF_"))
    }
    yield Shell(
        checkout.folder,
        {
            **outside,
            "PATH": ":".join([str(checkout.folder.parent / "tools"), *path]),
            "NANO4M_AUDIO_CACHE": str(checkout.folder.parent / "cache"),
            "NANO4M_AUDIO_OFFLINE": "1",
            "HF_HOME": str(checkout.folder.parent / "cache"),
            "HF_HUB_OFFLINE": "1",
            "AWS_EC2_METADATA_DISABLED": "true",  # the address that machines of a cloud ask
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "SLURM_NNODES": "1",
            "SLURM_JOB_ID": "1",
            "SLURM_JOB_NODELIST": "localhost",
            "PYTHONPATH": str(ROOT),
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_run_as_printed(document, shell):
    if document not in ("README.md", "docs/CLUSTER.md"):  # these are read after README
        shell.call(". .venv/bin/activate")
    for command in DOCUMENTS[document]:
        check(shell, command, how(command))


def examples(command: Any = None, name: str = "nano4m-audio") -> dict[str, str]:
    """The example of every command of the command line, by the name of the command."""
    command = command or command_line()
    if not hasattr(command, "commands"):
        return {name: (command.epilog or "").removeprefix("Example: ")}
    inner = [examples(found, f"{name} {key}") for key, found in command.commands.items()]
    return {key: example for group in inner for key, example in group.items()}


#: In this order; the others follow. Examples of the stages leave another dataset behind.
FIRST = (
    *("audit", "proof", "release", "verify", "publish"),
    *("export", "import", "evaluate", "generate", "train", "generations", "report"),
    *("tokenizer", "mini install"),
)
EXAMPLE_FAILS = {
    "nano4m-audio fetch": "there is nothing to fetch",  # the checkout is the barnyard
    "nano4m-audio publish": OFFLINE,
    "nano4m-audio weights fetch": OFFLINE,
    "nano4m-audio weights add": "yamnet.tflite",
    "nano4m-audio weights verify": "panns_cnn14",
    "nano4m-audio mini install": "run `snakemake --cores 2 mini` first",
}


def place(name: str) -> int:
    own = name.removeprefix("nano4m-audio ")
    return next((i for i, start in enumerate(FIRST) if own.startswith(start)), len(FIRST))


@pytest.mark.slow
def test_the_example_of_every_command_works(checkout, shell, tmp_path):
    shell.call(". .venv/bin/activate")
    shell.folder = tmp_path / "project"
    subprocess.run(["cp", "-a", str(checkout.folder), str(shell.folder)], check=True)
    weights = shell.folder / "results/mini/weights"
    shutil.copytree(mini_card().parent, weights, ignore=shutil.ignore_patterns("*.py", "*.json"))
    for name, example in sorted(examples().items(), key=lambda item: place(item[0])):
        kind = FAILS + EXAMPLE_FAILS[name] if name in EXAMPLE_FAILS else RUN
        check(shell, example, kind)
