"""The paper's config: the whole run is planned, and its real architectures run end to end.

The published weights cannot be had everywhere, so the networks are the real ones at full size with
random weights, in the files and formats of the weights list.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks import random_weights
from nano4m_audio.backends.registry import BackendSpec, get_spec
from nano4m_audio.config.grids import overlaid
from nano4m_audio.config.reading import load_config
from nano4m_audio.config.schema import BACKEND_KEYS
from nano4m_audio.experiments import train_settings
from nano4m_audio.settings_files import SettingsFiles
from nano4m_audio.tables import read_rows
from tests.conftest import ROOT
from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow

PAPER = load_config(ROOT / "configs/paper.yaml")


def specs() -> dict[str, BackendSpec]:
    return {key: get_spec(BACKEND_KEYS[key], name) for key, name in PAPER.backends().items()}


def test_every_model_of_the_paper_is_a_real_one():
    for key, spec in specs().items():
        assert spec.weights or spec.package, key
        assert not spec.member, key


def test_the_full_run_is_planned_and_running_it_ends_in_one_line(tmp_path):
    project = Project.make(tmp_path / "project", {})
    shutil.copy(ROOT / "configs/paper.yaml", project.folder / "overlay.yaml")
    plan = project.run("-n", "--quiet", "rules")
    totals = {line.split()[1] for line in plan.splitlines() if line.startswith("total")}
    assert totals == {str(11 * PAPER.n_shards + 14)}
    commands = project.run("-n", "--printshellcmds", "results/runs/base/run.json")
    settings = SettingsFiles(Path("results/settings"))
    path = settings.path("train-base", train_settings(PAPER, "base"))
    assert f" --settings={path} " in commands, "the demo's values are not the paper's"
    output = project.run("results/report.html", check=False)
    assert output.count("error: ") == 1 and "the list 'metadata/audioset/" in output
    assert "Traceback" not in output and not list(project.results.rglob("*.parquet"))


def divae(channels: int, codes: int) -> Callable[[Path], None]:
    """A function that writes a 4M tokenizer of these sizes as its makers publish them."""

    def write(folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        from nano4m_audio.backends.divae.model import CONFIG, WEIGHTS, Divae
        from nano4m_audio.backends.divae.settings import read_settings

        values = {"n_channels": channels, "codebook_size": codes, "latent_dim": 32}
        (folder / CONFIG).write_text(json.dumps({**values, "post_mlp": True}))
        torch.manual_seed(codes + channels)
        state = Divae(read_settings(folder / CONFIG)).state_dict()
        for key, value in state.items():
            if key.endswith("embed"):
                torch.nn.init.normal_(value)
        state["encoder.proj.weight"] *= 30  # else random biases outweigh the picture
        save_file(state, folder / WEIGHTS)

    return write


def dsine(folder: Path) -> None:
    """Write a DSINE checkpoint as its makers publish it."""
    import torch

    from nano4m_audio.backends.dsine.model import CHECKPOINT, Dsine

    torch.manual_seed(7)
    state = {f"module.{key}": value for key, value in Dsine().state_dict().items()}
    torch.save({"model": state}, folder / CHECKPOINT)


WRITERS = {
    "panns_cnn14": random_weights.panns_cnn14,
    "clip_vit_b32_openai": random_weights.clip_vit_b32,
    "depth_anything_v2_small": random_weights.depth_anything_v2_small,
    "encodec_24khz": random_weights.encodec_24khz,
    "resnet50_imagenet": random_weights.resnet50,
    "dsine": dsine,
    "fourm_rgb_16k": divae(3, 16_384),
    "fourm_depth_8k": divae(1, 8_192),
    "fourm_normal_8k": divae(3, 8_192),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A cache with random weights of all networks of the paper, and a list that names its files."""
    folder = tmp_path_factory.mktemp("cache")
    entries = {}
    for weights_id in sorted({spec.weights for spec in specs().values()} - {""}):
        place = folder / "weights" / weights_id
        place.mkdir(parents=True)
        WRITERS[weights_id](place)
        entries[weights_id] = {"files": [{"name": path.name} for path in sorted(place.iterdir())]}
    (folder / "weights.yaml").write_text(yaml.safe_dump(entries))
    return folder


@pytest.fixture(scope="module")
def clips(shared, tmp_path_factory) -> Path:
    """Six real clips and their list: two good ones, a copy of one, and three to be rejected."""
    folder = tmp_path_factory.mktemp("clips")
    with open(shared / "media/clips.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    good = [row for row in rows if row["kind"] == "good" and row["class"] == "duck"][:2]
    bad = [row for row in rows if row["duplicate_of"] == good[1]["file"]]
    kinds = ("speech", "no_audio", "too_short")
    bad += [next(row for row in rows if row["kind"] == kind) for kind in kinds]
    assert len(bad) == 4
    with open(folder / "clips.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows([*good, *bad])
    for row in (*good, *bad):
        (folder / row["file"]).parent.mkdir(exist_ok=True)
        shutil.copy(shared / "media" / row["file"], folder / row["file"])
    return folder


def overlay(clips: Path) -> dict:
    """The paper's config with other clips, a small model and no threshold on meaningless scores."""
    values = yaml.safe_load((ROOT / "configs/paper.yaml").read_text())
    small = {
        "model": {"dim": 32, "encoder_depth": 1, "decoder_depth": 1, "head_dim": 32},
        "optim": {"steps": 2, "batch_size": 2, "warmup_steps": 1, "validate_every": 2},
    }  # fmt: skip
    return {
        **values,
        "source": "folder",
        "folder": {"root": str(clips), "truth_csv": "clips.csv"},
        "n_shards": 1,
        "verdict": {**values["verdict"], "audio_min": 0.0, "visual_min": -1.0},
        "split": {**values["split"], "fractions": [0.5, 0.0, 0.5]},
        "experiments": {"base": overlaid(values["experiments"]["base"], small)},
        # Nothing is decoded: 25 steps of diffusion a picture.
        "evaluate": {**values["evaluate"], "bootstrap": 100, "keyframes": 1, "decoded": 0},
        "quality": {"frames": 0},
        "generate": {"clips": 0},
        "report": {"examples": 0},
    }


def test_the_real_networks_run_from_clips_to_report(clips, cache, tmp_path):
    project = Project.make(tmp_path / "project", overlay(clips))
    home = tmp_path / "home"
    home.mkdir()
    nowhere = "http://127.0.0.1:9"  # whoever asks the network for anything, fails
    where = {"NANO4M_AUDIO_CACHE": str(cache), "NANO4M_AUDIO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    environment: dict[str, Any] = {
        **where,
        "HTTPS_PROXY": nowhere,
        "HTTP_PROXY": nowhere,
        "HOME": str(home),
    }
    project.run(**environment)

    def rows(name: str) -> list[dict]:
        return read_rows(project.results / name / "0000.parquet", name)

    reasons = sorted(row["reasons"] for row in rows("verdicts"))
    assert reasons == [[], [], [], ["no_audio"], ["speech"], ["too_short"]]
    for score in ("audio", "visual"):
        column = {"audio": "scores", "visual": "cosines"}[score]
        for row in rows(f"scores/{score}"):
            assert np.std(row[column]) > 0 and len(row["labels"]) == 11
    selected = {row["clip_id"] for row in rows("selected")}
    assert len(selected) == 2
    ids = {}
    for modality in ("rgb", "depth", "normals", "audio", "caption"):
        tokens = rows(f"tokens/{modality}")
        assert {row["clip_id"] for row in tokens} == selected
        assert {row["status"] for row in tokens} == {"ok"}
        ids[modality] = np.array([row["tokens"] for row in tokens])
    for modality, codes in (("rgb", 16_384), ("depth", 8_192), ("normals", 8_192)):
        assert ids[modality].shape == (2, 10, 196) and ids[modality].max() < codes
        assert len(np.unique(ids[modality])) > 1
    assert ids["audio"].shape == (2, 1, 512)
    assert ids["audio"][..., 0::2].max() < 1024 <= ids["audio"][..., 1::2].min()
    assert ids["caption"][0].tolist()[0] == 50_258 and ids["caption"][0].tolist()[-1] == 50_259
    page = unescape((project.results / "report.html").read_text())
    assert all(spec.note in page for spec in specs().values())
    assert "Nothing to be done" in project.run(**environment)
    assert not (home / "panns_data").exists()
