"""The training recipe in miniature: data, a few steps, the same bytes twice, and the card's
page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from nano4m_audio.backends.mini.layers import Conv, Residual, fold_norms
from nano4m_audio.backends.mini.runtime import WEIGHTS
from nano4m_audio.backends.mini.scorer import WORD_BUCKETS, word_buckets
from nano4m_audio.barnyard.streams import CLASSES
from nano4m_audio.errors import UserError
from nano4m_audio.minitrain import augment, data, prompts
from nano4m_audio.minitrain.card import missed_requirements, render_page
from nano4m_audio.minitrain.losses import stretch
from nano4m_audio.minitrain.members import train_member


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mini")
    save_file(data.view_block(1, "test", 11), path / "views.safetensors")
    save_file(data.sound_block(1, "test", 11), path / "sounds.safetensors")
    return path


def test_blocks_match_their_description(folder: Path) -> None:
    views, sounds = data.load_views(folder), data.load_sounds(folder)
    assert views.rgb.shape == views.normals.shape == (11, 224, 224, 3)
    assert views.inverse_depth.dtype == torch.float16 and views.inverse_depth.min() >= 0
    assert views.inverse_depth[views.inverse_depth > 0].min() >= 0.99 / data.FAR_M
    assert sounds.waveforms.shape == (11, 109_227) and sounds.waveforms.dtype == torch.int16
    assert sounds.label.shape == views.label.shape == (11,)


@pytest.mark.parametrize("name", ["tagger", "scorer", "depth_tokenizer"])
def test_training_twice_gives_the_same_bytes(name: str, folder: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        train_member(name, tmp_path / run, data=folder, seed=7, steps=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_unknown_member_is_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'tagger'"):
        train_member("taggr", tmp_path / "x", data=folder, seed=0)


def test_folding_changes_nothing_but_the_parameters() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(Conv(3, 8), Residual(8), Conv(8, 4, relu=False))
    images = torch.randn(4, 3, 16, 16)
    for _ in range(3):
        net(images)
    before = net.eval()(images)
    folded = fold_norms(net)
    assert torch.allclose(folded(images), before, atol=1e-4)
    assert not any("norm" in key for key in folded.state_dict())


def test_class_words_do_not_share_a_bucket() -> None:
    words = {word for names in prompts.SYNONYMS.values() for name in names for word in name.split()}
    buckets = {word: word_buckets(word)[0] for word in words}
    assert set(prompts.SYNONYMS) == set(CLASSES)
    assert len(set(buckets.values())) == len(words)
    assert all(0 <= bucket < WORD_BUCKETS for bucket in buckets.values())
    assert word_buckets("A Photo, of a PIG!") == word_buckets("a photo of a pig")


def test_zoom_keeps_size_and_identity() -> None:
    images = torch.rand(1, 1, 32, 32)
    assert torch.equal(augment.zoom(images, (0, 0, 32)), images)
    assert augment.zoom(images, (3, 5, 20), "nearest").shape == images.shape


def test_stretch_reaches_both_ends() -> None:
    maps = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 0.4, (3, 8, 8)))
    out = stretch(maps)
    assert torch.allclose(out.amin((1, 2)), -torch.ones(3).double())
    assert torch.allclose(out.amax((1, 2)), torch.ones(3).double())
    assert torch.equal(stretch(torch.full((1, 4, 4), 0.2)), -torch.ones(1, 4, 4))


def test_the_committed_card_meets_every_requirement_and_is_the_page(request) -> None:
    content = json.loads((WEIGHTS / "card.json").read_text())
    assert missed_requirements(content["measured"]) == []
    page = request.config.rootpath / "docs" / "MINI.md"
    assert page.read_text() == render_page(content)
