"""The page: self-contained, the same bytes again, hostile text harmless, odd inputs survivable."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from nano4m_audio.errors import UserError
from nano4m_audio.report import figures
from nano4m_audio.report.collect import collect
from nano4m_audio.report.metrics import metric_rows, paper_numbers
from nano4m_audio.report.provenance import git_state
from nano4m_audio.report.runs import read_run
from nano4m_audio.report.scores import Histogram
from nano4m_audio.report.stage import build_report, metric, render, share, signed
from nano4m_audio.taxonomy import class_names
from tests.report.fake import (
    HOSTILE,
    Fate,
    default_fates,
    foreign_scripts,
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
    assert foreign_scripts((tmp_path / "report.html").read_text()) == []
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            ours = value.startswith(("#", "data:", "clips.html#", "evaluation/"))
            assert ours or value == "clips.html", (tag, name, value)
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
        "from nano4m_audio.report.stage import build_report; "
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
    assert foreign_scripts(text) == [] and "<img src=x" not in text
    assert "img" not in page.tags
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


def test_a_filter_that_is_off_unless_asked_for_is_no_news(tmp_path):
    usual = collect(write_results(tmp_path / "a", [Fate("pig")]))
    assert not any("off" in text for text in usual.warnings)
    shown = [h.name for h in usual.sections["scores"].histograms]
    asked = {"verdict": {"music_max": 0.5, "voice_over_max": 0.5}}
    content = collect(write_results(tmp_path / "b", [Fate("pig")], config=asked))
    now = [h.name for h in content.sections["scores"].histograms]
    assert now == [*shown[:3], "Music", "Voice-over", "Level"]
    for label, name in (("Music", "music"), ("Narration, monologue", "voice-over")):
        line = f"mini (score.audio) does not know the label '{label}': the {name} filter is off."
        assert line in content.warnings


def test_thresholds_of_single_classes_are_named_where_the_line_is_drawn(tmp_path):
    """Also where there is no line: a filter with a threshold for one class only is not off."""
    verdict = {
        "audio_min": None,
        "per_class": {
            "cow": {"audio_min": 0.2, "visual_min": None, "speech_max": 0.0},
            "pig": {"audio_min": 0.4},
        },
    }
    fates = [Fate("pig"), Fate("cow"), Fate("dog")]
    inputs = write_results(tmp_path, fates, config={"verdict": verdict})
    shown = {h.name: h for h in collect(inputs).sections["scores"].histograms}
    assert shown["Sound"].caption.endswith("; kept cow from 0.2, pig from 0.4")
    assert not shown["Sound"].off and shown["Sound"].threshold is None
    assert shown["Picture"].caption.endswith("; kept from the line; cow at any value")
    assert shown["Speech"].caption.endswith("; kept up to the line")  # the same as for the others
    page = build(inputs, tmp_path / "report.html")
    assert ">Sound</b> <em" not in page


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
    rows = {(r.probe, r.name): r for r in collect(usual).sections["metrics"].rows}
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
    assert "tokenizers" not in collect(dataclasses.replace(inputs)).sections
    write_quality(inputs.results, "rgb", "mini", 25.5)
    write_quality(inputs.results, "rgb", "trained:rgb", 27.25)
    write_quality(inputs.results, "normals", "fourm_8k", 20.0)
    content = collect(inputs)
    (shown,) = content.sections["tokenizers"]
    assert [t.name for t in shown.tokenizers if t.in_use] == ["trained:rgb"]
    assert [t.name for t in shown.tokenizers if not t.in_use] == ["mini"]
    assert len(shown.originals) == len(shown.tokenizers[0].decoded) == 2
    rows = {(r.probe, r.name): r for r in content.sections["metrics"].rows}
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
    config = {"experiments": {"base": {}, "wide": {"model": {"dim": 640}}}}
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


def test_only_changed_code_is_an_uncommitted_change(tmp_path):
    names = ("config.yaml", "configs/paper.yaml", "README.md", "src/pkg/list.yaml", "src/pkg/a.py")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    found = {}
    for name in names:
        (tmp_path / name).write_text("2")
        found[name] = [git_state(place)[1] for place in (tmp_path, tmp_path / "src")]
        git("checkout", "-q", ".")
    code = ("src/pkg/list.yaml", "src/pkg/a.py")
    assert found == {name: [name in code] * 2 for name in names}


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_kept_and_dropped_differ_without_colour_in_light_and_in_dark():
    css = resources.files("nano4m_audio.report").joinpath("static/report.css").read_text("utf-8")
    modes = [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in css.split("@media")[:2]]
    assert [len(mode) > 8 for mode in modes] == [True, True]
    for mode in modes:

        def contrast(a: str, b: str, mode: dict = mode) -> float:
            low, high = sorted((luminance(mode[a]), luminance(mode[b])))
            return (high + 0.05) / (low + 0.05)

        assert contrast("kept", "dropped") > 2.3
        assert contrast("kept", "paper") > 3 and contrast("dropped", "paper") > 3
        assert contrast("muted", "paper") > 4.5


def test_a_histogram_has_its_numbers():
    edges = [0.0, 0.1, 0.2, 0.30000000000000004]
    data = Histogram("Sound", edges, [0, 2, 31], [4, 0, 5], 0.2)
    drawn = str(figures.histogram(data))
    assert "<title>0.2 to 0.3: 31 kept</title>" in drawn
    rows = re.findall(r"<tr>(.*?)</tr>", drawn)
    cells = [re.findall(r'class="n">(.*?)<', row) for row in rows]
    assert cells == [
        ["value", "kept", "dropped"],
        ["0 to 0.1", "0", "4"],
        ["0.1 to 0.2", "2", "0"],
        ["0.2 to 0.3", "31", "5"],
    ]


def test_no_text_names_a_python_value(usual, tmp_path):
    text = Page(build(usual, tmp_path / "report.html")).text
    body = text[text.index("From candidates") : text.index("Resolved configuration")]
    assert not re.search(r"\bNone\b|\bnan\b|Undefined", body)
