"""The stage that makes what the report shows of a model, with a real model and real tokenizers."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nano4m_audio.config.schema import Config, GenerationsSettings
from nano4m_audio.errors import UserError
from nano4m_audio.evaluate import common
from nano4m_audio.generation.shown import INDEX, over_classes, show_run
from nano4m_audio.generation.tasks import NOTHING, TASKS, Shown, Task, agreement, tasks_of
from nano4m_audio.nano4m import generate
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.training.stage import train_run
from tests.report.fake import HOSTILE, Fate, write_results
from tests.tokens import MODALITIES

SETTINGS: dict[str, Any] = {
    "model": {"dim": 32, "encoder_depth": 1, "decoder_depth": 1, "head_dim": 32},
    "masking": {
        "input_tokens": [64, 64], "target_tokens": [64, 64],
        "input_alpha": 0.2, "target_alpha": 0.2,
    },
    "optim": {"steps": 2, "batch_size": 4, "warmup_steps": 1},
    "numerics": {"threads": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Results:
    """A results folder with four test clips of three classes, one of them with a hostile name."""
    fates = [Fate(name) for name in ("cat", "cow", "dog", "cat")]
    fates += [Fate(name, split="test") for name in ("cat", "cow", "cat")]
    fates.append(Fate("dog", split="test", name=f"../{HOSTILE}"))
    found = write_results(tmp_path_factory.mktemp("world"), fates, heavy=True, runs=())
    return Results(found.results)


def train(results: Results, experiment: str, modalities=MODALITIES) -> None:
    model = {**SETTINGS["model"], "modalities": [asdict(m) for m in modalities]}
    settings = TrainSettings.model_validate({**SETTINGS, "model": model})
    train_run(results, experiment, settings, progress=False)


def settings(clips: int = 2, steps: int = 2):
    values = {"generate": {"clips": clips, "steps": steps}}
    return Config.model_validate(values).generations_settings()


@pytest.fixture(scope="module")
def made(world) -> Results:
    train(world, "base")
    show_run(world, "base", settings())
    return world


def index_of(results: Results, experiment: str = "base") -> dict:
    return json.loads((results.generated(experiment) / INDEX).read_text())


def content(results: Results, experiment: str = "base") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in results.generated(experiment).iterdir()}


def test_every_task_is_made_and_every_file_opens(made):
    index, files = index_of(made), content(made)
    assert [task["name"] for task in index["tasks"]] == [
        task.name for task in TASKS if "semantic" not in (task.source, task.target)
    ]
    assert [clip["class_name"] for clip in index["clips"]] == ["cat", "cow"]
    assert files.keys() == {INDEX, *index["files"]}
    for task in index["tasks"]:
        assert len(task["cells"]["made"]) == len(task["cells"]["true"]) == 2
        assert (task["cells"]["ceiling"] is None) == (task["target"] == "caption")
    assert all(re.fullmatch(r"clip\d\d_[a-z_]+\.(jpg|mp3)", name) for name in index["files"])
    for name in index["files"]:
        if name.endswith(".jpg"):
            size = Image.open(io.BytesIO(files[name])).size
            assert size in ((224, 224), (336, 72)), name
        else:
            with av.open(io.BytesIO(files[name]), "r") as sound:
                frames = list(sound.decode(audio=0))
            seconds = sum(frame.samples for frame in frames) / 24_000
            assert seconds == pytest.approx(81_920 / 24_000, abs=0.1), name


def test_what_is_known_is_published_without_a_model_and_damage_is_made_again(made, monkeypatch):
    before = content(made)
    shutil.rmtree(made.generated("base"))
    with monkeypatch.context() as patch:
        patch.setattr(common, "load_on", None)
        show_run(made, "base", settings())
    assert content(made) == before
    stored = next(made.store.glob("generated/*/clip00_rgb_filled_made.jpg"))
    stored.write_bytes(b"damaged")
    show_run(made, "base", settings())
    assert content(made) == before


def test_fewer_clips_leave_no_file_of_others(made):
    show_run(made, "base", settings(clips=1, steps=1))
    names = content(made).keys()
    assert names == {INDEX, *index_of(made)["files"]}
    assert not any(name.startswith("clip01") for name in names)
    show_run(made, "base", settings())


def test_file_names_never_come_from_clips(made):
    show_run(made, "base", settings(clips=3, steps=1))
    ids = [clip["clip_id"] for clip in index_of(made)["clips"]]
    assert any(HOSTILE in name for name in ids)
    assert all(re.fullmatch(r"clip\d\d_[a-z_]+\.(jpg|mp3)", n) for n in index_of(made)["files"])
    show_run(made, "base", settings())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("audio", "caption"), ["audio_to_caption", "audio_continued"]),
        (("rgb", "depth"), ["rgb_to_depth", "rgb_filled"]),
        (("caption", "depth"), []),
    ],
)
def test_a_model_of_fewer_modalities_makes_what_it_can(world, names, expected):
    """The audio is a shorter window, whose ids may lie in any codebook."""
    short: dict[str, dict[str, Any]] = {"audio": {"max_tokens": 128, "span_stride": None}}
    chosen = [replace(m, **short.get(m.name, {})) for m in MODALITIES if m.name in names]
    experiment = "_".join(names)
    train(world, experiment, chosen)
    show_run(world, experiment, settings(clips=1, steps=1))
    found = index_of(world, experiment)
    assert [task["name"] for task in found["tasks"]] == expected
    assert [task.name for task in tasks_of(names)] == expected


def test_mistakes_are_one_line(world, tmp_path):
    with pytest.raises(UserError, match=r"^generate\.clips = 0: "):
        show_run(world, "base", settings(clips=0))
    with pytest.raises(UserError, match="train the experiment first"):
        show_run(world, "unknown", settings())


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 40))
def test_clips_go_round_the_classes(classes, count):
    places = over_classes(classes, count)
    assert len(places) == len(set(places)) == min(count, len(classes))
    chosen = Counter(classes[i] for i in places)
    for name, total in Counter(classes).items():
        assert chosen[name] == total or chosen[name] >= max(chosen.values(), default=0) - 1
    assert places == over_classes(classes, 40)[:count]


def shown(n: int, width: int, seed: int = 0) -> Shown:
    rows = np.random.default_rng(seed).integers(0, 50, (n, width))
    return Shown(("rgb", "audio"), [rows, rows])


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 3), st.integers(0, 9))
def test_a_part_is_given_in_whole_frames_and_nothing_else(n, frames, frame, seed):
    clips = shown(n, frames * frame, seed)
    half, start = Task("a", "rgb", "rgb", 0.5), Task("b", "audio", "audio", 0.8, start=True)
    mask = clips.given(half, 1, seed)
    assert (mask.sum(axis=1) == round(frames * frame / 2)).all()
    assert (clips.given(half, 1, seed)[:1] == shown(1, frames * frame).given(half, 1, seed)).all()
    mask = clips.given(start, frame, seed)
    assert (mask.sum(axis=1) == int(frames * 0.8) * frame).all()
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()
    packed = clips.packed(start, mask)
    assert (packed.modalities == 1).all()
    assert (packed.tokens == clips.rows[1][mask]).all()
    assert (packed.lengths == mask.sum(axis=1)).all()


def test_only_what_was_asked_for_is_compared():
    true = np.array([[1, 2, 3, NOTHING], [5, 6, 7, 8]])
    everything = np.ones(true.shape, bool)
    copy = agreement(true, true, everything)
    assert (copy["own"], copy["others"], copy["nearest"]) == (1, 0, 2) and copy["p"] == 0.25
    wrong = agreement(true[::-1], true, everything)
    assert (wrong["own"], wrong["others"], wrong["nearest"], wrong["p"]) == (0, 1, 0, 1)
    half = np.array([[1, 2, 0, 0], [5, 6, 0, 0]])
    given_half = np.array([[False, False, True, True]] * 2)
    assert agreement(half, true, ~given_half)["own"] == 1
    # The end of a text counts: one that goes on is not the same.
    assert agreement(half, true, everything)["own"] == pytest.approx(0.5)
    alone = agreement(true[:1], true[:1], everything[:1])
    assert (alone["own"], alone["others"], alone["p"]) == (1, None, None)


@given(st.integers(2, 6), st.integers(0, 99), st.randoms())
def test_the_order_of_clips_says_nothing(n, seed, random):
    rng = np.random.default_rng(seed)
    made, true = rng.integers(-1, 4, (2, n, 9))
    asked = rng.random((n, 9)) < 0.7
    order = random.sample(range(n), n)
    first, second = agreement(made, true, asked), agreement(made[order], true[order], asked[order])
    assert first == pytest.approx(second)


def test_by_hand_the_tokenizers_are_those_of_the_default_config():
    assert GenerationsSettings() == Config().generations_settings()


def test_the_engine_and_the_page_mean_the_same_by_nothing():
    assert NOTHING == generate.NOTHING
