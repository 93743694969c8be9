"""The dataset of a finished run: originals, exports with media, docs/PYTHON.md and the notebook."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nano4m_audio import open_dataset
from nano4m_audio.backends import registry
from nano4m_audio.dataset.columns import DESCRIBED
from nano4m_audio.dataset.write import export_dataset
from nano4m_audio.errors import UserError
from nano4m_audio.media.stored import read_audio, read_frame
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.release.build import build_release
from nano4m_audio.tokenize.interleave import interleave
from nano4m_audio.tokenize.keyframes import rgb_image
from tests.conftest import ROOT
from tests.workflow.conftest import Project

PAGE = ROOT / "docs/PYTHON.md"
NOTEBOOK = ROOT / "examples/first_look.ipynb"
#: The package webdataset leaves its files to the collector.
LEFT_OPEN = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed"
)


def blocks(language: str, page: Path = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def cells() -> list[dict[str, Any]]:
    return [c for c in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]


@pytest.fixture(scope="module")
def results(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A copy of the finished results: packed tokens and releases are written there."""
    copy = tmp_path_factory.mktemp("dataset") / "results"
    subprocess.run(["cp", "-a", str(finished.results), str(copy)], check=True)
    return Results(copy)


@pytest.fixture
def place(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the finished results, where documents are tried."""
    os.symlink(results, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_frame_and_a_sound_are_what_the_tokens_were_made_from(results):
    clips = open_dataset(results, keyframes="all")
    item = clips[-1]
    pictures = np.stack([clips.frame(-1, k) for k in range(10)])
    tokenizer = registry.load("rgb_tokenizer", "mini")
    assert np.array_equal(tokenizer.tokenize(rgb_image(pictures)), item["rgb"])
    codec = registry.load("audio_tokenizer", "mini")
    sound, rate_hz = clips.audio(-1, codec.sample_rate_hz)
    ids = interleave(codec.encode(sound[None]), codec.codebook_size)[0]
    assert rate_hz == codec.sample_rate_hz and np.array_equal(ids, item["audio"])
    assert clips.audio(-1)[0].shape == (109_227,)
    middle = open_dataset(results)
    assert np.array_equal(middle.frame(-1), pictures[5])
    assert middle[-1]["rgb"].tolist() == item["rgb"][5].tolist()
    for name in ("depth", "normals"):
        assert clips.frame(0, 2, name).shape == (224, 224, 3)


@pytest.mark.slow
def test_tokens_decode_to_something_like_the_original(results):
    clips = open_dataset(results, keyframes=3)
    item = clips[0]
    decoded = clips.decode("rgb", item["rgb"])
    assert decoded.shape == (3, 224, 224, 3) and decoded.dtype == np.uint8
    original = np.stack([clips.frame(0, k) for k in clips.keyframes]).astype(float)
    others = np.stack([clips.frame(len(clips) - 1, k) for k in clips.keyframes])
    assert np.abs(decoded - original).mean() < np.abs(decoded - others.astype(float)).mean()
    assert np.array_equal(clips.decode("rgb", item["rgb"][1].numpy()), decoded[1])
    heard, rate_hz = clips.decode("audio", item["audio"].tolist())
    assert heard.shape == (81_920,) and rate_hz == 24_000
    assert item["class_name"] in clips.decode("caption", item["caption"])
    for modality, tokens in [
        ("rgb", item["rgb"][0] + 4096),
        ("rgb", item["rgb"][0][:-1]),
        ("rgb", item["rgb"].double()),
        ("rgb", item["rgb"][None]),
        ("rgb", []),
        ("audio", item["audio"].flip(0)),
        ("audio", item["audio"][:-1]),
        ("caption", item["caption"] - 60_000),
        ("sound", item["audio"]),
    ]:
        with pytest.raises(UserError) as error:
            clips.decode(modality, tokens)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_table_has_the_scores_of_the_verdicts(results):
    clips = open_dataset(results, "train")
    rows = clips.table().to_pylist()
    assert [row["clip_id"] for row in rows] == clips.clip_ids
    assert {row["split"] for row in rows} == {"train"}
    for row in rows:
        assert row["audio_score"] >= 0.3 and len(row["keyframe_times_s"]) == 10
        assert row["clip_id"].startswith(row["video_id"]) and row["start_s"] is not None


@pytest.mark.slow
def test_pictures_and_sound_go_with_the_tokens(results, tmp_path):
    for form in ("hf", "webdataset"):
        export_dataset(results, form, tmp_path / form, frames=True, sound=True)
    clips = open_dataset(results, "val")
    rows = pq.read_table(tmp_path / "hf/data/validation-00000-of-00001.parquet").to_pylist()
    for i, row in enumerate(rows):
        for k, picture in enumerate(row["frames"]):
            again = read_frame(picture["bytes"]).astype(float)
            assert np.abs(again - clips.frame(i, k)).mean() < 4
        assert np.array_equal(read_audio(row["sound"]["bytes"]), clips.audio(i)[0])
    card = (tmp_path / "hf/README.md").read_text()
    build_release(results, json.loads(next(results.settings.glob("config-*.json")).read_text()))
    release = (results.release / "README.md").read_text()
    for heading in ("Clips", "Funnel", "Thresholds", "Models", "Licences and terms", "Cite"):
        (part,) = re.findall(rf"^## {heading}$.*?(?=^## |\Z)", card, re.M | re.S)
        assert part.strip() in release, f"{heading}: two cards of one run disagree"


@pytest.mark.slow
@LEFT_OPEN
def test_others_read_pictures_and_sound(results, tmp_path):
    datasets = pytest.importorskip("datasets", reason="reads what is exported for it")
    webdataset = pytest.importorskip("webdataset", reason="reads what is exported for it")
    for form in ("hf", "webdataset"):
        export_dataset(results, form, tmp_path / form, frames=True, sound=True)
    found = datasets.load_dataset(
        str(tmp_path / "hf"), split="test", cache_dir=str(tmp_path / "cache")
    )
    row = found.cast_column("sound", datasets.Audio(decode=False))[0]
    assert [picture.size for picture in row["frames"]] == [(224, 224)] * 10
    assert read_audio(row["sound"]["bytes"]).shape == (109_227,)
    url = str(tmp_path / "webdataset/test-000000.tar")
    with webdataset.WebDataset(url, shardshuffle=False) as samples:
        (sample, *_) = list(samples.decode("pil"))
    assert sample["5.jpg"].size == (224, 224) and sample["json"]["clip_id"] == row["clip_id"]
    assert read_audio(sample["flac"]).shape == (109_227,)


@pytest.mark.slow
def test_the_examples_of_the_page_run_in_their_order(place, capsys):
    space: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), space)
    assert "torch.Size([8, 196])" in capsys.readouterr().out
    assert space["again"].shape == space["picture"].shape == (224, 224, 3)


@pytest.mark.slow
def test_the_example_of_the_readme_runs(place, capsys):
    (block,) = blocks("python", ROOT / "README.md")
    exec(compile(block, "README.md", "exec"), {})
    assert "torch.Size([8, 196]) torch.Size([8, 512])" in capsys.readouterr().out


@pytest.mark.slow
@LEFT_OPEN
def test_the_lines_for_other_packages_run(place, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="reads what is exported for it")
    pytest.importorskip("webdataset", reason="reads what is exported for it")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "cache")
    export_dataset(Results(place / "results"), "hf", place / "barnyard_hf")
    export_dataset(Results(place / "results"), "webdataset", place / "barnyard_tar", True, True)
    first, second = blocks("py")
    space: dict[str, Any] = {}
    exec(first, space)
    assert space["clips"]["clip_id"][:] == open_dataset("results", "train").clip_ids
    exec(second, space)
    found = [sample["json"]["clip_id"] for sample in space["clips"]]
    assert found == open_dataset("results", "train").clip_ids


def test_the_page_names_every_column():
    page = PAGE.read_text("utf-8")
    for name, _, meaning in DESCRIBED:
        assert re.search(rf"^\| `{name}` \| [a-z ]+ \| {re.escape(meaning)} \|$", page, re.M), name
    assert all(f"`{name}`" in page for name in MODALITIES)


def test_the_notebook_is_kept_without_outputs():
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells())
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.slow
def test_the_notebook_runs(place, capfd):
    space: dict[str, Any] = {}
    for number, cell in enumerate(cells()):
        jupyter = "jupyter" in cell["metadata"].get("tags", [])
        if not jupyter or importlib.util.find_spec("IPython"):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), space)
    assert space["decoded"]["depth"].shape == (3, 224, 224, 3)
    assert set(space["made"]) == {"caption", "rgb"}
    assert (space["answers"] / space["made"]["rgb"]["file"]).is_file()
