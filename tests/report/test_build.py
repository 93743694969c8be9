"""The page: self-contained, the same bytes again, hostile text harmless, odd inputs survivable."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nano4m_audio.errors import UserError
from nano4m_audio.report.build import build_report, metric, render, share, signed
from nano4m_audio.report.collect import collect
from nano4m_audio.report.runs import metric_rows, paper_numbers, read_run
from nano4m_audio.taxonomy import class_names
from tests.report.fake import (
    HOSTILE,
    Fate,
    default_fates,
    write_quality,
    write_results,
    write_truth,
)

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Collects tags and attributes, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text += data


def build(inputs, out: Path) -> str:
    build_report(inputs, out, with_examples=False)
    return out.read_text("utf-8")


@pytest.fixture
def usual(tmp_path):
    return write_results(tmp_path, default_fates(class_names(), 2))


def test_the_page_is_well_formed_and_asks_for_nothing(usual, tmp_path):
    page = Page(build(usual, tmp_path / "report.html"))
    assert "script" not in page.tags
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            assert value.startswith(("#", "data:")), (tag, name, value)
    css = (tmp_path / "report.html").read_text()
    assert "@import" not in css and "url(" not in css
    ids = [value for _, name, value in page.attributes if name == "id"]
    targets = [v[1:] for _, name, v in page.attributes if name == "href" and v.startswith("#")]
    assert len(ids) == len(set(ids)) and set(targets) <= set(ids)


def test_equal_inputs_give_equal_bytes(usual, tmp_path):
    first = build(usual, tmp_path / "a.html")
    command = [
        sys.executable,
        "-c",
        "import sys, json, pathlib; from nano4m_audio.report.inputs import ReportInputs; "
        "from nano4m_audio.report.build import build_report; "
        "build_report(ReportInputs(json.loads(sys.argv[1]), pathlib.Path(sys.argv[2])), "
        "pathlib.Path(sys.argv[3]), with_examples=False); assert 'torch' not in sys.modules",
    ]
    arguments = [json.dumps(usual.config), str(usual.results), str(tmp_path / "b.html")]
    subprocess.run([*command, *arguments], check=True)
    assert (tmp_path / "b.html").read_text("utf-8") == first


def test_hostile_names_stay_text(tmp_path):
    fates = [
        Fate("pig", name=f"{HOSTILE}{i}", split=s)
        for i, s in enumerate(("train", "train", "val", "test", "test"))
    ]
    fates += [Fate(HOSTILE, "audio_low", name=f'quote"{HOSTILE}'), Fate(HOSTILE, "media")]
    fates += [Fate("pig", "duplicate", copy_of=0, group=HOSTILE)]
    inputs = write_results(tmp_path, fates, config={"report": {"title": HOSTILE, "examples": 0}})
    path = inputs.results / "evaluation/base/classes.json"
    content = json.loads(path.read_text())
    content["metrics"][0]["note"] = content["per_class"][0]["class"] = HOSTILE
    path.write_text(json.dumps(content))
    truth = tmp_path / "truth.csv"
    quoted = HOSTILE.replace('"', '""')
    rows = [(f"media/{quoted}0.mp4", quoted, "reject", "")]
    inputs = dataclasses.replace(inputs, truth_csv=write_truth(truth, rows))
    text = build(inputs, tmp_path / "report.html")
    page = Page(text)
    assert "<script" not in text and "<img src=x" not in text
    assert "script" not in page.tags and "img" not in page.tags
    assert page.text.count(HOSTILE) >= 8


def test_lone_surrogates_do_not_stop_the_page(tmp_path):
    inputs = write_results(
        tmp_path, [Fate("pig")], config={"report": {"title": "x", "examples": 0}}
    )
    content = dataclasses.replace(collect(inputs), title="bad \udcff name")
    assert render(content).encode("utf-8", "replace")


@pytest.mark.parametrize("fates", [[Fate("pig", "silent"), Fate("cow", "media")], [Fate("pig")]])
def test_no_accepted_clip_and_no_test_clip(tmp_path, fates):
    inputs = write_results(tmp_path, fates, runs=())
    text = Page(build(inputs, tmp_path / "report.html")).text
    assert "Not measured" in text and "no finished run" in text
    assert ("No clip became tokens" in text) == (fates[0].stop == "silent")


def test_filters_that_are_off_are_said_to_be_off(tmp_path):
    config = {
        "verdict": {"audio_min": None, "level_min_dbfs": None},
        "score": {"audio": {"backend": None}},
    }
    inputs = write_results(tmp_path, default_fates(("pig", "cow")), config=config)
    text = Page(build(inputs, tmp_path / "report.html")).text
    assert "The level and sound filters are off." in text
    assert text.count("off") >= 5


def test_warnings_about_models_depend_on_the_source(tmp_path):
    fates = [Fate("pig")]
    synthetic = collect(write_results(tmp_path / "a", fates)).warnings
    real = collect(write_results(tmp_path / "b", fates, config={"source": "folder"})).warnings
    assert any("synthetic;" not in w and "synthetic" in w for w in synthetic)
    assert any("placeholders" in w and "score.audio" in w for w in real)
    assert not any("placeholders" in w for w in synthetic)


def test_a_group_in_two_splits_is_a_warning(tmp_path):
    fates = [Fate("pig", group="g"), Fate("pig", group="g", split="test")]
    content = collect(write_results(tmp_path, fates))
    assert any("more than one split" in w for w in content.warnings)


def test_metrics_stand_beside_the_paper_and_their_baselines(usual):
    rows = {(r.probe, r.name): r for r in collect(usual).metrics}
    audio = rows["cross_entropy", "audio"]
    assert audio.ours["value"] == 5.0 and audio.baseline["value"] == 6.0
    assert audio.paper["value"] == pytest.approx(5.284)
    assert rows["classes", "audio_top1"].baseline["name"] == "frequency_top1"
    assert rows["structure", "rgb_to_depth"].baseline["name"] == "rgb_to_depth_position_mode"
    assert not any("unigram" in name or "frequency" in name for _, name in rows)


def test_the_papers_numbers_are_complete():
    paper = paper_numbers()
    keys = [(m["probe"], m["metric"]) for m in paper["metrics"]]
    assert len(set(keys)) == len(keys) and "9,192 real clips" in paper["label"]
    for row in paper["metrics"]:
        assert row["unit"] in ("accuracy", "nats/token", "dB") and row["n"] > 0
    assert [r.ours for r in metric_rows({}, None, paper)] == [None] * len(keys)


def test_the_model_card_of_the_mini_family_is_shown(usual, tmp_path):
    card = {
        "data": {
            "training_seed": 1,
            "evaluation_seed": 2,
            "evaluation_views": 300,
            "evaluation_sounds": 9,
        },
        "members": {"codec": {"parameters": 1234, "bytes": 5000, "sha256": "f" * 64, "notes": {}}},
        "measured": {"rgb_tokenizer": {"psnr_db": 26.5}, "audio_tokenizer": {"class_kept": 0.91}},
    }
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card))
    inputs = dataclasses.replace(usual, card=path)
    text = Page(build(inputs, tmp_path / "report.html")).text
    assert "1,234" in text and "class kept\xa00.91" in text


def test_tokenizers_are_compared_and_the_one_in_use_stands_beside_the_paper(tmp_path):
    config = {"tokenize": {"rgb": "trained:rgb"}, "quality": {"rgb": ["mini"], "depth": ["mini"]}}
    inputs = write_results(tmp_path, default_fates(class_names(), 2), config=config)
    weights = inputs.results / "tokenizers/rgb/tokenizer.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    assert collect(inputs).tokenizers == []
    write_quality(inputs.results, "rgb", "mini", 25.5)
    write_quality(inputs.results, "rgb", "trained:rgb", 27.25)
    write_quality(inputs.results, "normals", "fourm_8k", 20.0)
    content = collect(inputs)
    (shown,) = content.tokenizers
    assert [t.name for t in shown.tokenizers if t.in_use] == ["trained:rgb"]
    assert [t.name for t in shown.tokenizers if not t.in_use] == ["mini"]
    assert len(shown.originals) == len(shown.tokenizers[0].decoded) == 2
    rows = {(r.probe, r.name): r for r in content.metrics}
    ours = rows["tokenizer", "rgb_psnr"].ours
    assert (ours["value"], ours["low"], ours["n"]) == (27.25, 26.85, 10)
    page = Page(build(inputs, tmp_path / "report.html"))
    for text in ("26.9 to 27.6", "0.800 to 0.825", "4,096", "321", "trained:rgb"):
        assert text in page.text, text
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(sources) == 6 and all(s.startswith("data:image/jpeg;base64,") for s in sources)


def test_a_run_without_held_out_keyframes_says_so(usual, tmp_path):
    write_quality(usual.results, "rgb", "mini", 25.5)
    path = usual.results / "quality/rgb/mini.json"
    facts = {"split": "", "n": 0, "clips": 0, "vocab_size": 4096}
    path.write_text(json.dumps(facts))
    assert "no keyframe outside the train split" in build(usual, tmp_path / "report.html")


def test_several_experiments_stand_side_by_side(tmp_path):
    config = {"experiments": {"base": {}, "wide": {"dim": 640}}}
    inputs = write_results(tmp_path, [Fate("pig")], config=config, runs=("base", "wide"))
    text = Page(build(inputs, tmp_path / "report.html")).text
    assert "Experiments side by side" in text and "wide" in text


def test_a_run_is_read_with_all_its_curves(usual):
    run = read_run(usual.results / "runs/base")
    assert [c.modality for c in run.curves] == ["rgb", "audio", "depth", "normals", "caption"]
    assert all(c.train[-1][0] == 400 and c.val[-1][0] == 400 for c in run.curves)


def test_damaged_inputs_are_explained(usual, tmp_path):
    (usual.results / "runs/base/run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is not JSON"):
        build(usual, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_numbers_are_written_for_readers():
    assert [share(0.934), share(None), share(1.0, 1)] == ["93\u202f%", "–", "100.0\u202f%"]
    assert [signed(-3.14159), signed(None)] == ["\N{MINUS SIGN}3.14", "–"]
    assert metric(0.000976, "accuracy") == "0.098\u202f%"
    assert metric(19.09, "dB") == "19.1\u202fdB" and metric(5.2837, "nats/token") == "5.284"


def test_no_text_names_a_python_value(usual, tmp_path):
    text = Page(build(usual, tmp_path / "report.html")).text
    body = text[text.index("From candidates") : text.index("Resolved configuration")]
    assert not re.search(r"\bNone\b|\bnan\b|Undefined", body)
