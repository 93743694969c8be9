"""``nano4m-audio export`` and ``import`` from end to end."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from nano4m_audio.cli.app import app
from nano4m_audio.files import write_json
from nano4m_audio.nano4m.checkpoint import save_model
from nano4m_audio.nano4m.model import FourM
from tests.interchange.test_layout import SPLITS, write
from tests.interchange.test_weights import CONFIG


def call(*arguments: object) -> None:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output + repr(done.exception)


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
