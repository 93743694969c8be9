"""``nano4m-audio export`` and ``import`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nano4m_audio.cli.app import app
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json
from nano4m_audio.interchange.weights import PAPER_MODALITIES
from nano4m_audio.nano4m.checkpoint import save_model
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import ModelConfig
from nano4m_audio.probes import PROBES
from tests.interchange.test_layout import SPLITS, write
from tests.interchange.test_weights import CONFIG


def call(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def test_tokens_and_weights_there_and_back(tmp_path):
    write(tmp_path / "a", SPLITS, ["dog barking"])
    call("export", "tokens", "--results", tmp_path / "a", "--out", tmp_path / "p")
    call("import", "tokens", "--root", tmp_path / "p", "--results", tmp_path / "b", "--shards", 1)
    assert (tmp_path / "b/tokens/caption/0000.parquet").is_file()
    (tmp_path / "a/runs/base").mkdir(parents=True)
    save_model(tmp_path / "a/runs/base/checkpoint.safetensors", FourM(CONFIG))
    write_json(tmp_path / "a/runs/base/run.json", {"steps": 7})
    call("export", "model", "--run", tmp_path / "a/runs/base", "--out", tmp_path / "m.pth")
    call("import", "model", tmp_path / "m.pth", "--run", tmp_path / "b/runs/paper")
    run = json.loads((tmp_path / "b/runs/paper/run.json").read_text())
    assert (run["steps"], run["imported_from"]) == (7, "m.pth")


def refused(*arguments: object) -> str:
    """The one line that a command answers."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(done.exception, UserError), done.output + repr(done.exception)
    assert "\n" not in str(done.exception)
    return str(done.exception)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_imported_tokens_replace_only_what_an_import_made(tmp_path):
    write(tmp_path / "project", SPLITS, ["dog barking"])
    call("export", "tokens", "--results", tmp_path / "project", "--out", tmp_path / "p")
    before = contents(tmp_path / "project")
    into = ["import", "tokens", "--root", tmp_path / "p", "--results"]
    assert "is not empty: name a new folder with --results" in refused(*into, tmp_path / "project")
    assert contents(tmp_path / "project") == before
    call(*into, tmp_path / "b")
    call(*into, tmp_path / "b", "--shards", 1)  # made again
    assert json.loads((tmp_path / "b/imported.json").read_text())["tokens"] == str(tmp_path / "p")
    array = next((tmp_path / "p").rglob("*.npy"))
    good = array.read_bytes()
    array.write_bytes(b"damaged")
    refused(*into, tmp_path / "c")  # half of it
    array.write_bytes(good)
    call(*into, tmp_path / "c")
    (tmp_path / "b/settings").mkdir()  # a workflow ran in this folder
    assert "is not empty" in refused(*into, tmp_path / "b")


def test_an_imported_model_replaces_only_another(tmp_path):
    run = tmp_path / "runs/base"
    run.mkdir(parents=True)
    save_model(run / "checkpoint.safetensors", FourM(CONFIG))
    write_json(run / "run.json", {"steps": 7})
    call("export", "model", "--run", run, "--out", tmp_path / "m.pth")
    before = contents(run)
    into = ["import", "model", tmp_path / "m.pth", "--run"]
    assert "is not empty: name a new folder" in refused(*into, run)
    (run / "run.json").unlink()  # a run that is not finished
    assert "is not empty: name a new folder" in refused(*into, run)
    assert contents(run) == {p: data for p, data in before.items() if p.name != "run.json"}
    call(*into, tmp_path / "runs/imported")
    call(*into, tmp_path / "runs/imported")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Tokens and a seeded checkpoint in the published forms: 12 clips for training, 12 for test."""
    folder = tmp_path_factory.mktemp("published")
    splits = {f"vgg_v{i:02d}_000000": "test" if i % 2 else "train" for i in range(24)}
    write(folder / "a", splits, ["cat meowing", "pigeon cooing", "dog barking"])
    call("export", "tokens", "--results", folder / "a", "--out", folder / "tokenized")
    sizes: Any = dict(dim=32, encoder_depth=1, decoder_depth=1, head_dim=32, init="scaled")
    run = folder / "a/runs/base"
    run.mkdir(parents=True)
    save_model(
        run / "checkpoint.safetensors", FourM(ModelConfig(modalities=PAPER_MODALITIES, **sizes))
    )
    write_json(run / "run.json", {"steps": 7})
    call("export", "model", "--run", run, "--out", folder / "model.pth")
    return folder


@pytest.mark.slow
def test_a_published_checkpoint_is_measured_with_one_command(published, tmp_path):
    arguments = ["evaluate", "--checkpoint", published / "model.pth", "--tokens"]
    arguments += [published / "tokenized", "--results", tmp_path / "out"]
    printed = call(*arguments)
    for probe in PROBES:
        found = json.loads((tmp_path / f"out/evaluation/base/{probe}.json").read_text())
        assert all(f"{probe} {row['name']}" in printed for row in found["metrics"])
    assert json.loads((tmp_path / "out/evaluation/base/classes.json").read_text())["clips"] == 12
    assert call(*arguments) == printed  # the second time everything is known
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    done = CliRunner().invoke(app, [str(a) for a in [*arguments[:-1], tmp_path / "full"]])
    assert "is not empty" in str(done.exception)
    assert "go together" in str(CliRunner().invoke(app, [str(a) for a in arguments[:3]]).exception)
