"""`mini` commands and rules: train one member through Snakemake, measure, and install only what is
good enough."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nano4m_audio.backends.mini.runtime import WEIGHTS, read_notes
from nano4m_audio.cli.mini import app
from nano4m_audio.errors import UserError
from nano4m_audio.minitrain.card import install, missed_requirements, render_page
from tests.workflow.conftest import Project

MEMBER = "results/mini/weights/depth_tokenizer.safetensors"


@pytest.mark.slow
def test_snakemake_trains_a_member_and_plans_the_card(tmp_path: Path) -> None:
    mini = {"views": 11, "sounds": 11, "steps": 2, "card_views": 11, "card_sounds": 11}
    project = Project.make(tmp_path / "project", {"mini": mini})
    project.run(MEMBER)
    notes = read_notes(project.folder / MEMBER)
    assert (notes["seed"], notes["recipe"]["steps"]) == (1000, 2)
    plan = project.run("-n", "-p", "mini")
    assert "--views=11 --sounds=11 --card=results/mini/card.json" in plan
    assert plan.count("rule mini_train:") == 6 and "rule mini_data" not in plan


@pytest.mark.slow
def test_the_card_command_measures_the_weights_that_it_describes(tmp_path: Path) -> None:
    card, page = tmp_path / "card.json", tmp_path / "MINI.md"
    size = ["--views", "11", "--sounds", "11", "--seed", "70000"]
    command = ["card", "--weights", str(WEIGHTS), *size, "--card", str(card), "--page", str(page)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    content = json.loads(card.read_text())
    assert content["data"]["evaluation_seed"] == 80_000
    assert page.read_text() == render_page(content)
    members = json.loads((WEIGHTS / "card.json").read_text())["members"]
    assert content["members"] == members
    assert content["measured"]["rgb_tokenizer"]["psnr_db"] > 24


def _trained(tmp_path: Path) -> tuple[Path, Path]:
    """Folder of weights, and the card, as `snakemake mini` leaves them."""
    weights = tmp_path / "trained"
    weights.mkdir()
    for path in WEIGHTS.glob("*.safetensors"):
        shutil.copy(path, weights)
    shutil.copy(WEIGHTS / "card.json", tmp_path)
    return weights, tmp_path / "card.json"


def test_installing_copies_weights_and_card_and_writes_the_page(tmp_path: Path) -> None:
    weights, card = _trained(tmp_path)
    package, docs = tmp_path / "package", tmp_path / "docs"
    package.mkdir()
    docs.mkdir()
    (package / "tagger.safetensors").write_bytes(b"old")
    install(weights, card, package=package, docs=docs)
    assert {path.name: path.read_bytes() for path in package.iterdir()} == {
        path.name: path.read_bytes() for path in [*weights.iterdir(), card]
    }
    assert (docs / "MINI.md").read_text() == render_page(json.loads(card.read_text()))


def test_weights_below_the_requirements_are_not_installed(tmp_path: Path) -> None:
    weights, card = _trained(tmp_path)
    content = json.loads(card.read_text())
    content["measured"]["normals"]["mean_deg"] = 15.1
    card.write_text(json.dumps(content))
    with pytest.raises(UserError, match="normals: mean angular error"):
        install(weights, card, package=tmp_path / "package", docs=tmp_path)
    assert not (tmp_path / "package").exists()


def test_weights_that_the_card_does_not_describe_are_not_installed(tmp_path: Path) -> None:
    weights, card = _trained(tmp_path)
    (weights / "tagger.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match="describes other weights"):
        install(weights, card, package=tmp_path / "package", docs=tmp_path)


def test_a_missed_requirement_is_named() -> None:
    measured = json.loads((WEIGHTS / "card.json").read_text())["measured"]
    measured["rgb_tokenizer"]["psnr_db"] = 23.9
    measured["normals"]["mean_deg"] = 15.1
    missed = missed_requirements(measured)
    assert [text.split(":")[0] for text in missed] == ["normals", "RGB tokenizer"]
