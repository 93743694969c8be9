"""Training tokenizers on a run's own frames: what they see, never twice, and how they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from nano4m_audio.backends import registry
from nano4m_audio.config.tokenizers import QualitySettings, Tokenizer
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.tokenize.names import backend_name, from_file_name
from nano4m_audio.tokenizers.quality import measure_quality
from nano4m_audio.tokenizers.train import train_tokenizer
from tests.report.fake import Fate, write_results

TINY: dict[str, Any] = {
    "modality": "depth",
    "steps": 2,
    "width": 5,
    "levels": (4, 4),
    "batch_size": 2,
    "frames": 8,
}


def results_of(folder, *splits: str):
    fates = [Fate("pig", split=s) for s in splits]
    return Results(write_results(folder, fates, heavy=True).results)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory):
    folder = results_of(tmp_path_factory.mktemp("run"), "train", "train", "train", "test", "val")
    train_tokenizer(folder, "tiny", Tokenizer(**TINY))
    return folder


def test_the_trained_tokenizer_is_a_backend(results):
    name = backend_name("trained:tiny", results)
    tokenizer = registry.load("depth_tokenizer", name)
    assert (tokenizer.vocab_size, tokenizer.channels) == (16, 1)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 1, 224, 224)).astype(np.float32)
    tokens = tokenizer.tokenize(images)
    assert tokens.shape == (2, 196) and tokens.max() < 16
    assert tokenizer.decode(tokens).shape == images.shape
    run = json.loads((results / "tokenizers/tiny/run.json").read_text())
    assert (run["clips"], run["frames"], run["vocab_size"]) == (3, 6, 16)
    assert [step for step, _ in run["losses"]] == [1, 2]


def test_the_same_training_under_another_name_is_found_without_torch(results):
    settings = Tokenizer(**TINY).model_dump_json()
    code = (
        "import sys; from pathlib import Path;"
        "from nano4m_audio.config.tokenizers import Tokenizer;"
        "from nano4m_audio.paths import Results;"
        "from nano4m_audio.tokenizers.train import train_tokenizer;"
        "s = Tokenizer.model_validate_json(sys.argv[1]);"
        "r = Results(Path(sys.argv[2]));"
        "train_tokenizer(r, 'again', s); assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, settings, str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "is known, nothing to compute" in done.stderr, done.stderr
    first, again = (backend_name(f"trained:{n}", results) for n in ("tiny", "again"))
    identity = registry.identity("depth_tokenizer", first)
    assert identity == registry.identity("depth_tokenizer", again)
    assert identity.startswith("trained:") and str(results) not in identity


def test_other_settings_give_another_identity(results):
    train_tokenizer(results, "seeded", Tokenizer(**TINY, seed=1))
    names = [backend_name(f"trained:{n}", results) for n in ("tiny", "seeded")]
    assert len({registry.identity("depth_tokenizer", name) for name in names}) == 2


def test_the_number_of_threads_makes_another_training(results, tmp_path):
    """Given with the settings or in their place; sums are split by it, so the bits differ."""
    folder = results_of(tmp_path, "train", "train", "train")
    train_tokenizer(folder, "set", Tokenizer(**TINY, threads=1))
    train_tokenizer(folder, "given", Tokenizer(**TINY), threads=1)
    train_tokenizer(folder, "two", Tokenizer(**TINY))
    keys = {n: json.loads((folder / f"tokenizers/{n}/run.json").read_text())["key"]
            for n in ("set", "given", "two")}  # fmt: skip
    assert keys["set"] == keys["given"] != keys["two"]


def test_only_training_clips_are_seen(results, tmp_path):
    """The same training clips among other held-out clips give the same key and weights."""
    fewer = results_of(tmp_path, "train", "train", "train")
    train_tokenizer(fewer, "tiny", Tokenizer(**TINY))
    ours, theirs = (folder / "tokenizers/tiny" for folder in (results, fewer))
    keys = [json.loads((folder / "run.json").read_text())["key"] for folder in (ours, theirs)]
    assert keys[0] == keys[1]
    name = "tokenizer.safetensors"
    assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_no_training_clip_is_one_line(tmp_path):
    with pytest.raises(UserError, match="tokenizers.tiny: no clip of the train split"):
        train_tokenizer(results_of(tmp_path, "test"), "tiny", Tokenizer(**TINY))


def test_weights_that_are_not_there_are_explained(tmp_path):
    with pytest.raises(UserError, match="train it with `snakemake --cores 2 tokenizers`"):
        registry.identity("rgb_tokenizer", backend_name("trained:rgb", Results(tmp_path)))


def test_file_names_lead_back_to_names():
    for name in ("mini", "fourm_16k", "trained:my_farm"):
        stem = Results().quality("rgb", name).stem
        assert from_file_name(stem) == name and ":" not in stem


def measured(results, backend="mini", **options):
    measure_quality(results, QualitySettings(modality="depth", backend=backend, **options))
    return json.loads(results.quality("depth", backend).read_text())


def test_quality_is_measured_on_the_test_split(results):
    facts = measured(results, "trained:tiny", frames=4, examples=1)
    assert (facts["split"], facts["clips"], facts["n"], facts["tokens"]) == ("test", 1, 4, 784)
    assert facts["identity"] == registry.identity(
        "depth_tokenizer", backend_name("trained:tiny", results)
    )
    assert 1 <= facts["perplexity"] <= facts["used"] * facts["vocab_size"] <= 16
    assert facts["psnr_db"]["low"] is facts["ssim"]["high"] is None  # one clip is too few
    from PIL import Image

    with Image.open(results.quality("depth", "trained:tiny").with_suffix(".png")) as sheet:
        assert sheet.size == (224, 448)
    assert measured(results, "trained:tiny", frames=4, examples=1) == facts


@pytest.mark.slow
def test_quality_has_intervals_over_groups_of_clips(tmp_path):
    """Twelve clips in eleven groups; the same clips in six groups are too few."""

    def facts_of(name: str, groups: int):
        fates = [Fate("pig", split="test", group=f"g{i % groups}") for i in range(12)]
        folder = Results(write_results(tmp_path / name, fates, heavy=True).results)
        return measured(folder, frames=12)

    many, few = facts_of("many", 11), facts_of("few", 6)
    assert (many["clips"], many["groups"], few["groups"]) == (12, 11, 6)
    for name in ("psnr_db", "ssim"):
        assert many[name]["low"] < many[name]["value"] < many[name]["high"]
        assert few[name]["low"] is None and few[name]["value"] == many[name]["value"]


def test_quality_falls_back_to_val_and_to_nothing(tmp_path):
    facts = measured(results_of(tmp_path / "a", "train", "val"), frames=2)
    assert (facts["split"], facts["n"]) == ("val", 2)
    facts = measured(results_of(tmp_path / "b", "train"))
    assert (facts["split"], facts["n"]) == ("", 0) and "psnr_db" not in facts
