"""What must be there before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nano4m_audio.config.reading import load_config
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.prerequisites import backend_uses, check_weights, weights_of
from tests.conftest import ROOT


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(tmp_path))
    return tmp_path


def test_the_demo_needs_nothing(cache):
    check_weights(backend_uses(load_config(ROOT / "config.yaml")))


def test_every_missing_weight_is_named_with_its_place_and_the_command(cache):
    uses = backend_uses(load_config(ROOT / "configs/paper.yaml"))
    with pytest.raises(UserError) as error:
        check_weights(uses)
    text = str(error.value)
    needed = weights_of(uses)
    assert set(needed) == {
        "panns_cnn14", "clip_vit_b32_openai", "depth_anything_v2_small", "dsine",
        "fourm_rgb_16k", "fourm_depth_8k", "fourm_normal_8k", "encodec_24khz",
        "resnet50_imagenet",
    }  # fmt: skip
    for weights_id, key in needed.items():
        assert f"{weights_id} ({key})" in text
        assert f"{cache}/weights/{weights_id}/" in text
    assert f"nano4m-audio weights fetch {' '.join(needed)}" in text


def test_tokenizers_that_are_only_measured_are_needed_too(cache):
    quality = {"rgb": ["cosmos_di16x16", "mini"]}
    config = Config.model_validate({"quality": quality, "tokenizers": {}})
    assert weights_of(backend_uses(config)) == {"cosmos_di16x16": "tokenize.rgb"}


def test_only_what_is_planned_is_needed(cache):
    check_weights([("score.speech", "silero"), ("tokenize.rgb", "trained:rgb")])
    with pytest.raises(UserError, match=r"weights are missing: dsine \(label.normals\)"):
        check_weights([("label.normals", "dsine"), ("tokenize.rgb", "mini")])


def test_weights_that_are_there_pass_and_wrong_ones_do_not(cache):
    entry = {"files": [{"name": "dsine.pt", "sha256": "0" * 64}]}
    (cache / "weights.yaml").write_text(yaml.safe_dump({"dsine": entry}))
    place = cache / "weights/dsine/dsine.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    with pytest.raises(UserError, match="is refused: its SHA-256"):
        check_weights([("label.normals", "dsine")])
    (cache / "weights.yaml").write_text(
        yaml.safe_dump({"dsine": {"files": [{"name": "dsine.pt"}]}})
    )
    check_weights([("label.normals", "dsine")])
