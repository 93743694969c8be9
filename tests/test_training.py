"""The train stage: what it records, what it must not depend on, and what it never does twice."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import types
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nano4m_audio.errors import UserError
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.training.stage import check_weights, self_test, train_run
from nano4m_audio.versions import stage_version
from tests.tokens import MODALITIES, write_tokens

SPLITS = {f"clip{i}": ("train", "train", "train", "val", "test")[i % 5] for i in range(30)}
STEPS = 6
SETTINGS: dict[str, Any] = {
    "model": {
        "modalities": [asdict(m) for m in MODALITIES],
        "dim": 32, "encoder_depth": 1, "decoder_depth": 1, "head_dim": 32,
    },
    "masking": {"input_tokens": [8, 16], "target_tokens": [64, 256]},
    "optim": {
        "steps": STEPS, "batch_size": 4, "warmup_steps": 2, "log_every": 2, "validate_every": 3,
    },
    "numerics": {"threads": 1},
    "watch": {"tensorboard": False},
}  # fmt: skip
TOKENIZERS = {"rgb": "mini", "depth": "mini", "normals": "mini"}
WATCH: dict[str, Any] = {
    "watch": {"tensorboard": True, "samples_every": 3},
    "tokenizers": TOKENIZERS,
}
PUBLISHED = ("checkpoint.safetensors", "best.safetensors", "metrics.parquet", "run.json")


def run(folder: Path, name: str = "base", command=(), **sections) -> Path:
    """Train with ``sections`` in place of those of SETTINGS."""
    settings = TrainSettings.model_validate({**SETTINGS, **sections})
    train_run(Results(folder), name, settings, False, command)
    return Results(folder).run(name)


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A finished run that nothing watched."""
    folder = tmp_path_factory.mktemp("plain")
    write_tokens(folder, SPLITS)
    return run(folder)


def test_watching_records_everything_and_changes_nothing(plain, tmp_path):
    write_tokens(tmp_path, SPLITS, shards=3)
    out = run(tmp_path, **WATCH)
    for name in PUBLISHED:
        assert (out / name).read_bytes() == (plain / name).read_bytes(), name
    scalars = events(out / "tensorboard")
    assert {f"loss/{s}/{m.name}" for s in ("train", "val") for m in MODALITIES} | {"lr"} == set(
        scalars
    )
    assert [step for step, _ in scalars["loss/train/rgb"]] == [2, 4, 6]
    assert [step for step, _ in scalars["loss/val/rgb"]] == [3, 6]
    assert {p.name for p in (out / "samples").iterdir()} == {
        f"step_{n:06d}.{kind}" for n in (3, 6) for kind in ("png", "npz")
    }
    with np.load(out / "samples/step_000006.npz") as tokens:
        assert tokens["depth_predicted"].shape == tokens["depth_true"].shape == (4, 196)
        assert tokens["depth_predicted"].max() < 1024
        assert set(tokens["clip_ids"]) <= {c for c, s in SPLITS.items() if s == "val"}
    sheet = np.asarray(Image.open(out / "samples/step_000006.png"))
    assert sheet.shape == (4 * 128, 6 * 128, 3) and sheet.std() > 5


def test_a_run_of_other_settings_does_not_mix_with_what_was_watched_before(tmp_path):
    write_tokens(tmp_path, SPLITS)
    run(tmp_path, **WATCH)
    out = run(tmp_path, optim={**SETTINGS["optim"], "steps": 4}, **WATCH)
    assert [step for step, _ in events(out / "tensorboard")["loss/train/rgb"]] == [2, 4]
    assert {p.stem for p in (out / "samples").iterdir()} == {"step_000003"}


def test_the_start_is_recorded_before_the_first_step(tmp_path, monkeypatch):
    write_tokens(tmp_path, SPLITS)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nano4m_audio.nano4m.train.train", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    path = tmp_path / "runs/base/run_start.json"
    start = json.loads(path.read_text())
    assert start["settings"] == TrainSettings.model_validate(SETTINGS).identity()
    assert start["code_digest"] == stage_version("train")
    assert len(start["sessions"]) == 1
    assert {"python", "torch", "devices", "cpus", "threads"} <= set(start["sessions"][0])
    out = run(tmp_path)
    finished = json.loads((out / "run.json").read_text())
    assert len(json.loads(path.read_text())["sessions"]) == 2
    for key in ("key", "data_digest", "code_digest", "settings"):
        assert finished[key] == start[key]
    assert "sessions" not in finished


def test_a_finished_run_is_published_again_and_not_trained(plain, monkeypatch):
    monkeypatch.setattr("nano4m_audio.nano4m.train.train", None)
    folder = plain.parents[1]
    elsewhere = {"checkpoint_every_s": 5.0, "compile": False}
    again = run(folder, "again", watch={"tensorboard": True}, hardware=elsewhere)
    assert (again / "checkpoint.safetensors").read_bytes() == (plain / PUBLISHED[0]).read_bytes()
    assert json.loads((again / "run.json").read_text())["experiment"] == "again"


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "metrics.parquet", "run.json"])
def test_a_damaged_finished_run_is_trained_again(plain, tmp_path, name, capsys):
    write_tokens(tmp_path, SPLITS)
    out = run(tmp_path)
    (kept,) = (tmp_path / "store" / "train").glob(f"*/{name}")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    out = run(tmp_path)
    assert "damaged" in capsys.readouterr().err
    assert kept.with_name(name + ".damaged").read_bytes() == content
    for file in PUBLISHED:
        assert (out / file).read_bytes() == (plain / file).read_bytes()


def test_a_full_disk_while_the_result_is_saved_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_tokens(tmp_path, SPLITS)
    with monkeypatch.context() as context:
        context.setattr("nano4m_audio.nano4m.checkpoint.save_model", full)
        with pytest.raises(UserError, match="no space left on the device") as error:
            run(tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs" / "base" / "run.json").exists()
    assert (run(tmp_path) / "run.json").is_file()


def test_weights_that_are_not_those_of_the_run_are_refused(plain, tmp_path):
    copied = tmp_path / "base"
    shutil.copytree(plain, copied)
    facts = json.loads((copied / "run.json").read_text())
    check_weights(copied, facts)
    content = bytearray((copied / "checkpoint.safetensors").read_bytes())
    content[-5] ^= 16
    (copied / "checkpoint.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="is not the file that run.json describes"):
        check_weights(copied, facts)


def test_a_subset_trains_on_fewer_clips_and_is_another_run(plain, tmp_path):
    write_tokens(tmp_path, SPLITS)
    part = run(tmp_path, "part", data={"train_clips": 7})
    small, whole = (json.loads((p / "run.json").read_text()) for p in (part, plain))
    assert small["clips"] == {"train": 7, "val": 6, "test": 6} and whole["clips"]["train"] == 18
    assert small["key"] != whole["key"]
    with pytest.raises(UserError, match=r"train_clips = 99, but only 18 clips are complete"):
        run(tmp_path, "much", data={"train_clips": 99})


def weights_and_key(out: Path) -> tuple[bytes, str]:
    return (out / PUBLISHED[0]).read_bytes(), json.loads((out / "run.json").read_text())["key"]


def test_the_number_of_threads_is_part_of_the_key(plain, tmp_path):
    """And the same key means the same bytes."""
    found = []
    for i, threads in enumerate((2, 2, 1)):
        folder, numerics = tmp_path / str(i), {"threads": threads}
        write_tokens(folder, SPLITS)
        out = run(folder, numerics=numerics)
        found.append(weights_and_key(out))
    assert found[0] == found[1] and found[0][1] != found[2][1]
    assert found[2] == weights_and_key(plain)


def test_a_run_never_goes_on_with_another_number_of_threads(tmp_path, monkeypatch):
    write_tokens(tmp_path / "a", SPLITS)
    whole = run(tmp_path / "a", numerics={"threads": 2})
    write_tokens(tmp_path / "b", SPLITS)

    def stop_late(run, _):
        if run.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nano4m_audio.nano4m.train._record", stop_late)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b", hardware={"checkpoint_every_s": 0.0})
    assert list(tmp_path.glob("b/store/train/*/train_state/step_*.pt"))
    other = run(tmp_path / "b", numerics={"threads": 2})
    assert weights_and_key(other) == weights_and_key(whole)
    timing = json.loads((other / "timing.json").read_text())
    assert timing["last_session_from_step"] == 0 and timing["threads"] == 2


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("numerics", {"threads": 0}, "numerics.threads = 0: Input should be greater"),
        ("numerics", {"threads": 1.5}, "numerics.threads = 1.5: Input should be a valid integer"),
        ("watch", {"tensorbord": True}, "watch.tensorbord: unknown key, did you mean"),
        ("masking", {"input_alpha": {"rgbb": 1}}, "input_alpha: 'rgbb' is no modality"),
        ("hardware", {"devices": 5}, "above optim.batch_size"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, section, values, message):
    settings = json.dumps({**SETTINGS, section: values})
    command = ["train", "--experiment", "base", "--settings", settings]
    done = subprocess.run(
        [sys.executable, "-m", "nano4m_audio.cli", *command], capture_output=True, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wandb_is_one_line_when_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="wandb is not installed: pip install wandb"):
        write_tokens(tmp_path, SPLITS)
        run(tmp_path, watch={"wandb_project": "x"})


def test_wandb_gets_the_curves_under_the_key_of_the_run(tmp_path, monkeypatch):
    """A stand-in with the two calls that are used: the package is not among the dependencies."""
    logged, started, finished = {}, [], []

    class Stub(types.ModuleType):
        def init(self, **options):
            started.append(options)
            return types.SimpleNamespace(
                log=lambda values, step: logged.update({step: values}),
                finish=lambda: finished.append(True),
            )

    monkeypatch.setitem(sys.modules, "wandb", Stub("wandb"))
    write_tokens(tmp_path, SPLITS)
    out = run(tmp_path, watch={"wandb_project": "farm"})
    facts = json.loads((out / "run.json").read_text())
    (options,) = started
    assert (options["project"], options["name"], options["id"]) == ("farm", "base", facts["key"])
    assert sorted(logged) == [2, 3, 4, 6] and finished == [True]
    assert logged[6]["loss/val/rgb"] == facts["final_losses"]["val"]["rgb"]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from nano4m_audio.cli.app import main
main()
"""


@pytest.mark.slow
def test_a_disk_that_is_full_while_a_state_is_saved_is_one_line(plain, tmp_path):
    """The first state is larger than the limit, all before it is not; later the run goes on."""
    write_tokens(tmp_path, SPLITS)
    arguments = {"experiment": "base", "results": str(tmp_path)}
    arguments["settings"] = json.dumps({**SETTINGS, "hardware": {"checkpoint_every_s": 0}})
    command = [f"--{key}={value}" for key, value in arguments.items()]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "train", *command], capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("train: ")]
    assert "step_000000001.pt: not written: File too large" in line and "run again" in line
    assert not list(tmp_path.rglob(".*.tmp.*")) and not list(tmp_path.rglob("step_*.pt"))
    assert weights_and_key(run(tmp_path)) == weights_and_key(plain)


@pytest.mark.slow
def test_two_devices_train_and_publish_one_run(plain, tmp_path):
    """The command starts itself once per device; losses are those of one process."""
    write_tokens(tmp_path, SPLITS)
    hardware = {"device": "cpu", "devices": 2}
    arguments = {"experiment": "base", "results": str(tmp_path)}
    arguments["settings"] = json.dumps({**SETTINGS, "hardware": hardware})
    command = ["train", *(x for k, v in arguments.items() for x in (f"--{k}", v))]
    out = run(tmp_path, hardware=hardware, command=command)
    ours, theirs = (pq.read_table(d / "metrics.parquet").to_pydict() for d in (out, plain))
    assert ours["tokens"] == theirs["tokens"]
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-4)
    for name in PUBLISHED:
        assert (out / name).exists()


def test_the_self_test_compares_two_precisions(tmp_path, capsys):
    write_tokens(tmp_path, SPLITS)
    self_test(Results(tmp_path), TrainSettings.model_validate(SETTINGS), 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["step", "float32", "bfloat16", "difference"] and len(lines) == 5
