"""Weights in every form, there and back; files that try to run code are read without running it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nano4m_audio.errors import UserError
from nano4m_audio.files import sha256, write_json
from nano4m_audio.interchange.weights import (
    PAPER_MODALITIES,
    export_model,
    import_model,
    read_model,
    reference_config,
)
from nano4m_audio.nano4m.checkpoint import load_model, save_model
from nano4m_audio.nano4m.model import FourM, Tokens
from nano4m_audio.nano4m.settings import Modality, ModelConfig, TrainSettings

CONFIG = ModelConfig(
    modalities=(Modality("rgb", 64, 16), Modality("audio", 32, 32, 2), Modality("caption", 100, 8)),
    dim=32,
    encoder_depth=1,
    decoder_depth=2,
    head_dim=16,
)
FORMS = ["model.pth", "model.pt", "model.safetensors", "folder"]


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """A finished run with weights that differ everywhere."""
    folder = tmp_path / "runs" / "base"
    folder.mkdir(parents=True)
    model = FourM(CONFIG, seed=1)
    with torch.no_grad():
        model.to_logits.weight.normal_(generator=torch.Generator().manual_seed(2))
    save_model(folder / "checkpoint.safetensors", model)
    write_json(folder / "run.json", {"steps": 12})
    return folder


def same_weights(a: FourM, b: FourM) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return list(x) == list(y) and all(torch.equal(x[k], y[k]) for k in x)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_there_and_back(run_dir, tmp_path, form):
    export_model(run_dir, tmp_path / form)
    model, steps = read_model(tmp_path / form)
    assert same_weights(model, load_model(run_dir / "checkpoint.safetensors"))
    assert model.config == CONFIG
    assert steps == (12 if form.startswith("model.pt") else None)
    import_model(tmp_path / form, tmp_path / "runs" / "again")
    again = load_model(tmp_path / "runs/again/checkpoint.safetensors")
    assert same_weights(again, model) and again.config == CONFIG


@pytest.mark.parametrize("form", FORMS)
def test_modalities_that_are_not_the_papers_come_back(tmp_path, form):
    """Sound of one codebook and of eight, at random positions; captions with another padding."""
    rows = (
        Modality("audio", 32, 32, None),
        Modality("semantic", 16, 8, 1),
        Modality("caption", 100, 8, None, 7),
    )
    for n, audio in enumerate(
        (rows[0], Modality("audio", 32, 32, 8), Modality("audio", 32, 32, 1))
    ):
        run_dir = tmp_path / f"runs/{n}"
        config = CONFIG.model_copy(update={"modalities": (audio, *rows[1:])})
        run_dir.mkdir(parents=True)
        save_model(run_dir / "checkpoint.safetensors", FourM(config))
        write_json(run_dir / "run.json", {"steps": 12})
        export_model(run_dir, tmp_path / f"{n}" / form)
        assert read_model(tmp_path / f"{n}" / form)[0].config == config


@pytest.mark.parametrize(
    "roles", [{"audio": 3}, {"audio": {"span_stride": "x"}}, {"audio": {"span_stride": 99}}]
)
def test_wrong_roles_of_modalities_are_one_line(tmp_path, roles):
    args = {"model_config": reference_config(CONFIG), "training": {"modalities": roles}}
    torch.save({"model": FourM(CONFIG).state_dict(), "args": args}, tmp_path / "m.pth")
    with pytest.raises(UserError, match="not the config of a nano4M model") as caught:
        read_model(tmp_path / "m.pth")
    assert "\n" not in str(caught.value)


def test_the_reference_can_read_what_we_write(run_dir, tmp_path):
    """Its loaders: torch.load and ["model"]; safetensors with each metadata value as a literal."""
    export_model(run_dir, tmp_path / "m.pth")
    for weights_only in (False, True):  # the reference's torch.load, and that of today's torch
        content = torch.load(tmp_path / "m.pth", weights_only=weights_only)
        assert set(content) == {"model", "iteration", "args"}
        arguments = content["args"]
        for config in (arguments.model_config, arguments["model_config"], vars(arguments)):
            assert config.get("model_config", config) == reference_config(CONFIG)
    export_model(run_dir, tmp_path / "m.safetensors")
    assert load_file(tmp_path / "m.safetensors").keys() == content["model"].keys()
    config = content["args"].model_config
    assert config["modalities"] == ["tok_rgb@196", "tok_audio@512", "scene_desc"]
    assert config["_target_"] == "nanofm.models.fourm.FourM"


def test_a_bare_state_dict_is_the_papers_model(tmp_path):
    sizes: dict[str, Any] = {"dim": 64, "encoder_depth": 2, "decoder_depth": 1, "mlp_ratio": 2.0}
    config = ModelConfig(modalities=PAPER_MODALITIES, **sizes)
    model = FourM(config, seed=3)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"model": state}, tmp_path / "m.pth")
    found, steps = read_model(tmp_path / "m.pth")
    assert found.config == config and steps is None and same_weights(found, model)
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    assert read_model(tmp_path / "m.safetensors")[0].config == config


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", ["args", "optimizer", "model"])
def test_a_file_that_would_run_code_is_refused(tmp_path, place):
    state = FourM(CONFIG).state_dict()
    content = {"model": state, "iteration": 3, place: Harmful(str(tmp_path / "harm"))}
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(UserError, match=r"refused, it asks for posix\.mkdir"):
        read_model(tmp_path / "m.pth")
    assert not (tmp_path / "harm").exists()


def test_classes_that_are_not_installed_are_passed_over(tmp_path, monkeypatch):
    """A config library's objects beside the weights, as hydra users save them."""
    module = types.ModuleType("some_config_library")
    exec("class Node(dict):\n    def __reduce__(self): return (Node, (), {'x': 1})", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.Node.__module__ = module.__name__
    sizes: dict[str, Any] = {"dim": 64, "encoder_depth": 1, "decoder_depth": 1}
    state = FourM(ModelConfig(modalities=PAPER_MODALITIES, **sizes)).state_dict()
    torch.save({"model": state, "iteration": 3, "args": module.Node(a=1)}, tmp_path / "m.pth")
    monkeypatch.delitem(sys.modules, module.__name__)
    assert read_model(tmp_path / "m.pth")[1] == 3


def test_an_imported_model_can_be_probed(run_dir, tmp_path):
    export_model(run_dir, tmp_path / "m.pth")
    import_model(tmp_path / "m.pth", tmp_path / "runs/paper")
    run = json.loads((tmp_path / "runs/paper/run.json").read_text())
    assert TrainSettings.model_validate(run["settings"]).model == CONFIG
    assert run["settings"]["objective"]["per_modality_vocab"] is False and run["steps"] == 12


def test_recorded_logits_come_out_of_a_published_checkpoint(shared, tmp_path):
    folder = shared / "golden" / "nano4m_small"
    spec = importlib.util.spec_from_file_location("seeded", folder.parent / "seeded_weights.py")
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    meta = json.loads((folder / "meta.json").read_text())
    state = seeded.fill_state_dict(
        json.loads((folder / "keys.json").read_text()), meta["kind_overrides"]
    )
    args = argparse.Namespace(model_config=meta["config"], lr=1e-4)
    torch.save({"model": state, "iteration": 5, "args": args}, tmp_path / "checkpoint-final.pth")
    metadata = {key: str(value) for key, value in meta["config"].items()}
    save_file(state, tmp_path / "checkpoint-final.safetensors", metadata=metadata)
    with np.load(folder / "io.npz") as io:
        io = dict(io)
    for suffix in ("pth", "safetensors"):
        model, _ = read_model(tmp_path / f"checkpoint-final.{suffix}")
        sides = []
        for side in ("enc", "dec"):
            mask = torch.from_numpy(io[f"{side}_pad_mask"])
            tokens, positions, modalities = (
                torch.from_numpy(io[f"{side}_{n}"])[mask]
                for n in ("tokens", "positions", "modalities")
            )
            sides.append(Tokens(tokens, positions, modalities, mask.sum(dim=1).tolist()))
        with torch.no_grad():
            logits = model.to_logits(model(*sides))
        np.testing.assert_allclose(logits, io["logits"][io["dec_pad_mask"]], atol=2e-4)


def broken(folder: Path, kind: str) -> Path:
    path = folder / {"folder": "f", "st": "m.safetensors"}.get(kind, "m.pth")
    state = FourM(CONFIG).state_dict()
    if kind == "folder":
        path.mkdir()
    elif kind == "st":
        path.write_bytes(b"no safetensors")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "other model":
        torch.save({"model": {"a.weight": torch.zeros(2)}}, path)
    elif kind == "no config":
        torch.save({"model": state}, path)
    elif kind == "cut":
        del state["dec_norm.weight"]
        args = argparse.Namespace(model_config=reference_config(CONFIG))
        torch.save({"model": state, "args": args}, path)
    elif kind == "bias":
        args = argparse.Namespace(model_config={**reference_config(CONFIG), "use_bias": True})
        torch.save({"model": state, "args": args}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("folder", r"f/config\.json does not exist"),
        ("st", "not a safetensors file"),
        ("text", "not a torch checkpoint"),
        ("absent", r"m\.pth does not exist"),
        ("list", "holds no state dict"),
        ("other model", "not the weights of a nano4M model"),
        ("no config", "3 modalities, 100 ids and 32 positions, yet no config"),
        ("cut", "does not fit its config: .*dec_norm.weight"),
        ("bias", "a model with biases"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, kind, message):
    with pytest.raises(UserError, match=message) as caught:
        read_model(broken(tmp_path, kind))
    assert "\n" not in str(caught.value)


def test_an_unfinished_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="train the experiment first"):
        export_model(tmp_path / "nothing", tmp_path / "m.pth")


TOLD = {"masking": {"input_tokens": [3, 9]}, "objective": {"average": "token"}}


def imported(source: Path, run_dir: Path) -> dict[str, Any]:
    """The run.json of the import of a model."""
    import_model(source, run_dir)
    return json.loads((run_dir / "run.json").read_text())


def tell(run_dir: Path) -> None:
    """Have a run say how it was trained, as training does."""
    digest = sha256(run_dir / "checkpoint.safetensors")
    run = {"steps": 12, "settings": TOLD, "sha256": {"checkpoint.safetensors": digest}}
    write_json(run_dir / "run.json", run)


@pytest.mark.parametrize("form", [*FORMS, "runs/base/checkpoint.safetensors"])
def test_every_form_says_how_its_model_was_trained(run_dir, tmp_path, form, capsys):
    tell(run_dir)
    if not form.startswith("runs"):
        export_model(run_dir, tmp_path / form)
    settings = imported(tmp_path / form, tmp_path / "runs/again")["settings"]
    assert settings["masking"]["input_tokens"] == [3, 9]
    assert settings["masking"]["padded_captions"] is False
    assert settings["objective"] == {"per_modality_vocab": True, "average": "token"}
    assert not capsys.readouterr().err


def test_where_nothing_is_told_a_line_says_what_was_assumed(run_dir, tmp_path, capsys):
    tell(run_dir)
    weights = (run_dir / "checkpoint.safetensors").read_bytes()
    (tmp_path / "copied.safetensors").write_bytes(weights)  # without the run.json
    run = imported(tmp_path / "copied.safetensors", tmp_path / "runs/a")
    assert run["settings"]["objective"]["per_modality_vocab"] is False
    assert capsys.readouterr().err.count("\n") == 1
    save_model(run_dir / "other.safetensors", FourM(CONFIG, seed=5))  # beside another's run.json
    run = imported(run_dir / "other.safetensors", tmp_path / "runs/b")
    assert run["settings"]["objective"]["per_modality_vocab"] is False
    assert "other.safetensors does not say how its model was trained" in capsys.readouterr().err


def test_what_is_known_of_a_model_is_part_of_the_key_of_its_run(run_dir, tmp_path):
    """Or else its old probes would stand beside new settings."""
    export_model(run_dir, tmp_path / "before.pth")
    tell(run_dir)
    export_model(run_dir, tmp_path / "after.pth")
    keys = [imported(tmp_path / f"{n}.pth", tmp_path / n)["key"] for n in ("before", "after")]
    assert keys[0] != keys[1]


def test_wrong_settings_of_a_folder_are_one_line(run_dir, tmp_path):
    export_model(run_dir, tmp_path / "hf")
    config = json.loads((tmp_path / "hf/config.json").read_text())
    write_json(tmp_path / "hf/config.json", {**config, "training": {"masking": {"tokens": 3}}})
    with pytest.raises(UserError, match="masking.tokens"):
        import_model(tmp_path / "hf", tmp_path / "runs/wrong")
