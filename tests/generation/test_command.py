"""The command ``generate``: files that people open, and generated.json that says how they came."""

from __future__ import annotations

import hashlib
import json
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from nano4m_audio.cli.app import app
from nano4m_audio.errors import UserError
from nano4m_audio.generation import make
from nano4m_audio.generation.request import file_stem
from nano4m_audio.interchange.weights import export_model
from nano4m_audio.nano4m.checkpoint import load_model, save_model
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.shards import set_shards
from nano4m_audio.training.stage import RUN, WEIGHTS, train_run
from tests.evaluate.test_probes import SETTINGS
from tests.nano4m.test_model import load_golden
from tests.tokens import MODALITIES, token_row, write_tokens

CLIPS = ["first", "../second@30", "-third", "\x1b[31mred"]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A results folder with a run whose head is random, so that it makes something."""
    folder = tmp_path_factory.mktemp("results")
    codes = np.random.default_rng(0).integers(0, 1024, 512) + np.arange(512) % 2 * 1024
    changed = {("audio", clip): {"tokens": [codes.tolist()]} for clip in CLIPS}
    splits = {**dict.fromkeys(CLIPS, "test"), **{f"train{i}": "train" for i in range(4)}}
    write_tokens(folder, splits, changed=changed)
    set_shards(folder, 2)
    train_run(Results(folder), "base", TrainSettings.model_validate(SETTINGS), progress=False)
    weights = folder / "runs/base" / WEIGHTS
    model = load_model(weights)
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    save_model(weights, model)
    facts = json.loads((folder / "runs/base" / RUN).read_text())
    facts["sha256"][WEIGHTS] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "runs/base" / RUN).write_text(json.dumps(facts))
    return folder


@pytest.fixture
def call(results, tmp_path):
    """Call the command; returns what it made by name and variant, its words and its files."""

    def call(*arguments: str, run: bool = True) -> SimpleNamespace:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        source = ["--run", str(results / "runs/base")] if run else []
        done = CliRunner().invoke(app, ["generate", *source, "--out", str(out), *arguments])
        if done.exception:
            raise done.exception
        out = Path(arguments[arguments.index("--out") + 1]) if "--out" in arguments else out
        record = json.loads((out / "generated.json").read_text())
        made = {(s["name"], s["variant"]): s["made"] for s in record["samples"]}
        return SimpleNamespace(out=out, record=record, made=made, words=done.stdout)

    return call


def ids_of(made: dict) -> dict:
    return {name: one["ids"] for name, one in made.items()}


def test_files_of_every_modality_open(call) -> None:
    done = call("--from", "audio", "--to", "caption,depth,normals,rgb", "--steps", "2", "first")
    made = done.made["first", 0]
    assert list(made) == ["caption", "depth", "normals", "rgb"]
    for name in ("rgb", "depth", "normals"):
        with Image.open(done.out / made[name]["file"]) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (224, 224), "RGB")
        assert len(made[name]["ids"]) == 196
    text = (done.out / made["caption"]["file"]).read_text("utf-8")
    assert text == made["caption"]["text"] + "\n" and f"first: {text}" in done.words
    for one in made.values():
        data = (done.out / one["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == one["sha256"]
    assert len(done.record["samples"][0]["given"]["audio"]) == 512
    assert done.record["sampling"]["steps"] == 2
    assert set(done.record["tokenizers"]) == set(made)


def test_a_sound_is_sixteen_bits_and_continued(call) -> None:
    done = call("--from", "audio,rgb", "--to", "audio", "--keep", "0.8", "--steps", "2", "first")
    made = done.made["first", 0]["audio"]
    with wave.open(str(done.out / made["file"])) as file:
        assert file.getparams()[:4] == (1, 2, 24_000, 81_920)
    known = done.record["samples"][0]["given"]["audio"]
    assert len(known) == 408 and made["ids"][:408] == known  # whole frames of two codebooks


@pytest.mark.slow
def test_a_clip_is_the_same_whatever_is_asked_for_beside_it(call) -> None:
    options = "--from", "rgb", "--to", "caption,depth", "--steps", "3"
    together = call(*options, "--", *CLIPS)
    turned = call(*options, "--samples", "2", "--", *CLIPS[2::-1])
    for clip in CLIPS[:3]:
        alone = call(*options, "--", clip)
        expected = ids_of(alone.made[clip, 0])
        assert ids_of(together.made[clip, 0]) == expected == ids_of(turned.made[clip, 0])
        assert ids_of(turned.made[clip, 1]) != expected
    other = call(*options, "--seed", "1", "first")
    assert ids_of(other.made["first", 0]) != ids_of(together.made["first", 0])


def test_files_stay_in_the_folder_whatever_clips_are_called(call) -> None:
    done = call("--from", "rgb", "--to", "depth", "--steps", "1", "--", *CLIPS)
    files = {path.name for path in done.out.iterdir()}
    assert len(files) == len(CLIPS) + 1 and not list(done.out.parent.glob("*second*"))
    assert "=2e=2e=2fsecond=4030_depth.png" in files


def test_texts_are_printed_without_control_characters(call) -> None:
    done = call("--from", "rgb", "--to", "caption", "--temperature", "5", "--", *CLIPS)
    assert all(c.isprintable() or c == "\n" for c in done.words)
    assert done.words.count("\n") == len(CLIPS)


def test_a_picture_a_sound_and_a_text_of_a_user_stand_for_all_clips(call, tmp_path) -> None:
    first = call("--caption", "a cat", "--to", "rgb,audio", "--steps", "1").made[None, 0]
    picture, sound = (tmp_path / "out0" / first[name]["file"] for name in ("rgb", "audio"))
    done = call(
        *("--from", "depth", "--rgb", str(picture), "--audio", str(sound), "--caption", "dog"),
        *("--to", "normals", "--steps", "1", "first", "../second@30"),
    )
    for sample in done.record["samples"]:
        known = sample["given"]
        assert known["depth"] == token_row(sample["name"], "depth")["tokens"][5]
        assert {name: len(ids) for name, ids in known.items()} == {
            "rgb": 196, "audio": 512, "depth": 196, "caption": 3,
        }  # fmt: skip
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    assert done.record["inputs"]["rgb"] == {"file": str(picture), "sha256": digest}
    assert done.record["inputs"]["caption"] == "dog"


def test_a_checkpoint_in_the_published_layout_makes_the_same(call, results, tmp_path) -> None:
    asked = "--from", "rgb", "--to", "depth,audio", "--steps", "2", "first"
    expected = ids_of(call(*asked).made["first", 0])
    for name in ("model.safetensors", "model.pth", "model_hf"):
        export_model(results / "runs/base", tmp_path / name)
        source = "--checkpoint", str(tmp_path / name), "--results", str(results)
        done = call(*source, *asked, run=False)
        assert ids_of(done.made["first", 0]) == expected
        assert done.record["model"]["checkpoint"] == str(tmp_path / name)


def test_the_names_of_files_may_be_no_text(call, tmp_path) -> None:
    path = tmp_path / "\udcff.png"
    Image.new("RGB", (30, 30), "red").save(path)
    done = call("--rgb", str(path), "--to", "caption")
    assert done.record["inputs"]["rgb"]["file"].endswith("\ufffd.png")


def test_a_model_of_shorter_sounds_makes_shorter_ones(call, results, tmp_path) -> None:
    model = load_model(results / "runs/base" / WEIGHTS)
    audio = replace(model.config.modalities[1], max_tokens=128)
    modalities = model.config.modalities[0], audio, *model.config.modalities[2:]
    short = FourM(model.config.model_copy(update={"modalities": modalities}))
    short.load_state_dict({**model.state_dict(), "pos_emb": short.pos_emb})
    save_model(tmp_path / "short.safetensors", short)
    source = "--checkpoint", str(tmp_path / "short.safetensors"), "--results", str(results)
    done = call(*source, "--from", "rgb", "--to", "audio", "--steps", "1", "first", run=False)
    with wave.open(str(done.out / done.made["first", 0]["audio"]["file"])) as file:
        assert file.getnframes() == 64 * 320


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "rgb", "--to", "depth", "fist"], "did you mean 'first'"),
        (["--from", "rbg", "--to", "depth", "first"], "did you mean 'rgb'"),
        (["--from", "rgb", "--to", "flow", "first"], "--to flow: the model does not know it"),
        (["--from", "rgb", "--to", ",", "first"], "--to: name what shall be made"),
        (["--from", "rgb", "--to", "depth,depth", "first"], "can be made once"),
        (["--to", "depth", "first"], "--from: name what is given"),
        (["--from", "rgb", "--to", "depth"], "none is named"),
        (["--to", "depth"], "nothing is given"),
        (["--from", "rgb", "--to", "rgb", "first"], "--keep says which share"),
        (["--from", "rgb", "--to", "depth", "--keep", "0.5", "first"], "--keep is for"),
        (["--caption", "", "--to", "rgb"], "one line of text"),
        (["--caption", "cat", "--to", "rgb", "--top-p", "3"], "top_p = 3.0"),
        (["--caption", "cat", "--to", "rgb", "--run", "nowhere"], "train the experiment first"),
        (["--caption", "cat", "--to", "rgb", "--checkpoint", "x.safetensors"], "does not exist"),
        (["--caption", "cat", "--to", "rgb", "--config", "x.yaml"], "no such config file"),
    ],
)
def test_what_cannot_be_done_is_one_line(call, arguments, message) -> None:
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_model_of_other_tokenizers_is_refused(call, shared, tmp_path) -> None:
    model = load_golden(shared / "golden" / "nano4m_small").model
    names = zip(MODALITIES, model.config.modalities, strict=True)
    modalities = tuple(replace(small, name=own.name) for own, small in names)
    model.config = model.config.model_copy(update={"modalities": modalities})
    save_model(tmp_path / "small.safetensors", model)
    with pytest.raises(UserError, match="--config"):
        call("--checkpoint", str(tmp_path / "small.safetensors"), "--caption", "x", "--to", "rgb")


@given(st.lists(st.text(st.characters(codec=None), min_size=1, max_size=200), unique=True))
def test_stems_of_files_are_plain_and_tell_clips_apart(clips) -> None:
    stems = [file_stem(clip) for clip in clips]
    assert len(set(stems)) == len(clips)
    for stem in stems:
        assert stem.isascii() and len(stem) <= 100 and "/" not in stem and "." not in stem


def test_loud_sounds_are_clipped_not_wrapped() -> None:
    data = make.wav(np.array([2.0, -2.0, 0.0], np.float32), 8000)
    assert np.frombuffer(data[44:], "<i2").tolist() == [32767, -32768, 0]


def test_printable_text_keeps_letters_of_all_languages() -> None:
    assert make.printable("Kühe\tmuhen\x1b[2J\u202e 牛") == "Kühe muhen\ufffd[2J\ufffd 牛"


def test_a_call_replaces_the_files_of_the_one_before_but_what_it_is_given(call, tmp_path) -> None:
    folder = str(tmp_path / "same")
    call("--from", "audio", "--to", "rgb,depth", "--steps", "1", "first", "--out", folder)
    (tmp_path / "same/mine.txt").write_text("kept")
    picture = next((tmp_path / "same").glob("*rgb.png"))
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    done = call("--rgb", str(picture), "--to", "normals", "--steps", "1", "--out", folder)
    made = done.made[None, 0]["normals"]["file"]
    names = {path.name for path in (tmp_path / "same").iterdir()}
    assert names == {"mine.txt", picture.name, made, "generated.json"}
    assert done.record["inputs"]["rgb"]["sha256"] == digest
