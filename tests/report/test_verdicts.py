"""What is said of a metric and its baseline: in words, with figures, never more than was tested."""

from __future__ import annotations

import json
from html import unescape

import pytest

from nano4m_audio.probes import PROBES
from nano4m_audio.report.collect import collect
from nano4m_audio.report.metrics import (
    in_words,
    metric_rows,
    paper_numbers,
    short_verdict,
    verdict_of,
)
from nano4m_audio.report.stage import metric as shown
from nano4m_audio.taxonomy import class_names
from tests.report.fake import COMPLETE, HOSTILE, default_fates, foreign_scripts, write_results
from tests.report.test_stage import Page, build

PAPERS_TOKENIZERS = paper_numbers()["tokenizers"]


def metric(word: str, gain: float, p: float | None, unit: str = "nats/token", **more):
    low, high = (None, None) if p is None else (gain - 0.1, gain + 0.1)
    comparison = {"verdict": word, "gain": gain, "low": low, "high": high, "p": p}
    return {"unit": unit, "groups": 4, "baseline": {**comparison, **more}}


@pytest.mark.parametrize(
    ("found", "claim", "evidence"),
    [
        (metric("worse", -0.78, 0.0001), "Worse than the token frequencies of the training clips",
         "by 0.780 nats (0.680 to 0.880), p < 0.001"),
        (metric("better", 0.42, 0.0123), "Better than the token frequencies of the training clips",
         "by 0.420 nats (0.320 to 0.520), p = 0.012"),
        (metric("unclear", 0.05, 0.4),
         "Not distinguishable from the token frequencies of the training clips",
         "better by 0.050 nats (−0.050 to 0.150), p = 0.400"),
        (metric("too few", -0.78, None),
         "Too few clips to compare with the token frequencies of the training clips",
         "worse by 0.780 nats in 4 independent groups of clips"),
        (metric("too few", 0.0, None),
         "Too few clips to compare with the token frequencies of the training clips",
         "no difference in 4 independent groups of clips"),
    ],
)  # fmt: skip
def test_the_claim_follows_the_test(found, claim, evidence):
    verdict = verdict_of("cross_entropy", found)
    assert (verdict.claim, verdict.evidence.replace("\u202f", " ")) == (claim, evidence)


def test_a_share_gains_points_and_may_fail_at_chance():
    found = metric("chance", 0.3, 0.001, "accuracy")
    verdict = verdict_of("classes", found)
    assert verdict.claim.endswith("not distinguishable from chance")
    assert verdict.evidence.replace("\u202f", " ") == "by 30.0 points (20.0 to 40.0), p = 0.001"
    assert short_verdict(found) == "not better than chance"
    assert short_verdict(metric("better", 0.3, 0.001)) == short_verdict(None) == ""
    assert verdict_of("classes", None) is verdict_of("tokenizer", {"unit": "dB"}) is None


@pytest.mark.parametrize(
    ("unit", "said"),
    [("degrees", "by 1.985 degrees (1.885 to 2.085)"), ("abs-rel", "by 1.985 (1.885 to 2.085)")],
)
def test_an_error_of_maps_gains_in_its_own_unit(unit, said):
    verdict = verdict_of("structure", metric("better", 1.985, 0.001, unit))
    assert verdict.evidence.replace("\u202f", " ") == f"{said}, p = 0.001"
    assert verdict.claim == "Better than the most frequent token of each position"


def test_gaps_below_0_are_written_as_shares():
    assert shown(-0.0214, "accuracy").replace("\u202f", " ") == "\u22122.1 %"
    assert shown(15.71, "degrees") == "15.7\u00b0"


def page_of(tmp_path, **config):
    config = {"source": "folder", "folder": {"root": "clips"}, **config}
    inputs = write_results(tmp_path, default_fates(class_names(), 2), config=config)
    return inputs, lambda: unescape(Page(build(inputs, tmp_path / "report.html")).text)


def test_a_loss_worse_than_its_baseline_is_marked_in_words(tmp_path):
    inputs, text = page_of(tmp_path, experiments={"base": {}})
    assert "Worse than" not in text()
    path = inputs.results / "evaluation/base/cross_entropy.json"
    found = json.loads(path.read_text())
    audio = next(row for row in found["metrics"] if row["name"] == "audio")
    audio["baseline"] |= {"verdict": "worse", "gain": -0.78, "low": -0.9, "high": -0.7}
    path.write_text(json.dumps(found))
    assert "Worse than the token frequencies of the training clips: by 0.780" in text()


def test_too_few_groups_are_said_to_be_too_few(tmp_path):
    inputs, text = page_of(tmp_path)
    path = inputs.results / "evaluation/base/classes.json"
    shown = json.loads(path.read_text())
    for row in shown["metrics"]:
        row |= {"low": None, "high": None, "n": 4, "groups": 2}
        if "baseline" in row:
            row["baseline"] |= {"verdict": "too few", "p": None, "low": None, "high": None}
    path.write_text(json.dumps(shown))
    shown = text()
    assert "in 2 independent groups of clips" in shown and "2 groups" in shown
    assert shown.count("too few") >= 9


def test_own_clips_are_not_called_synthetic_nor_set_beside_the_paper(tmp_path):
    inputs, text = page_of(tmp_path)
    shown = text().split("Skip to the report")[1].split("Resolved configuration")[0]
    for true in ("trained on a synthetic world", "trained on the synthetic barnyard"):
        assert true in shown  # what the mini models are, not what the clips are
        shown = shown.replace(true, "")
    for word in ("synthetic", "paper", "planted", "barnyard", "Model card"):
        assert word not in shown, word
    shown = collect(inputs).sections["metrics"]
    assert shown.caveat == "" and not any(row.paper for row in shown.rows)
    assert not shown.facts and not shown.per_class
    assert {row.title for row in shown.rows} >= {"Audio tokens", "Class from audio, top 1"}


def test_the_papers_tokenizers_bring_back_the_papers_columns(tmp_path):
    inputs, text = page_of(tmp_path, tokenize=PAPERS_TOKENIZERS)
    shown = collect(inputs).sections["metrics"]
    assert {row.probe for row in shown.rows if row.paper} >= {"cross_entropy", "classes"}
    assert "synthetic" not in shown.caveat and "Evaluation beside the paper" in text()
    fewer = {"tokenize": PAPERS_TOKENIZERS, "classes": ["dog", "cat"], "source": "folder"}
    inputs = write_results(tmp_path / "few", default_fates(("dog", "cat")), config=fewer)
    probes = {row.probe for row in collect(inputs).sections["metrics"].rows if row.paper}
    assert probes == {"cross_entropy", "structure", "memorisation", "tokenizer"}


def test_the_demo_stands_beside_the_paper_with_a_caveat(tmp_path):
    shown = collect(write_results(tmp_path, default_fates(class_names(), 2))).sections["metrics"]
    assert "synthetic data" in shown.caveat
    assert all(row.verdict for row in shown.rows if row.ours and row.probe != "tokenizer")


def test_confusion_and_wrong_clips_are_shown_as_text(tmp_path):
    inputs, _ = page_of(tmp_path)
    path = inputs.results / "evaluation/base/classes.json"
    content = json.loads(path.read_text())
    sure = [0.5 + i / 100 for i in range(13)]
    content |= {
        "classes": ["pig", HOSTILE],
        "confusion": {source: [[4321, 1], [0, 0]] for source in ("audio", "rgb", "all", "depth")},
        "wrong": [
            {"source": "rgb", "clip_id": f"{HOSTILE}{i:02d}", "true": "pig", "guessed": HOSTILE,
             "probability": p, "probability_of_true": 0.01}
            for i, p in enumerate(sure)
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    page = build(inputs, tmp_path / "report.html")
    shown = Page(page).text
    assert shown.count("4,321") == 3 and foreign_scripts(page) == [] and "<img src=x" not in page
    named = [i for i in range(13) if f"{HOSTILE}{i:02d}" in shown]
    assert named == list(range(3, 13))  # the ten that it is most sure of


def test_many_classes_have_no_heat_map(tmp_path):
    inputs, text = page_of(tmp_path)
    path = inputs.results / "evaluation/base/classes.json"
    content = json.loads(path.read_text())
    names = [f"class{i}" for i in range(41)]
    content |= {"classes": names, "confusion": {"audio": [[0] * 41] * 41}, "wrong": []}
    path.write_text(json.dumps(content))
    assert "what it was named" not in text()


def test_retrieval_of_the_paper_comes_first_and_the_rest_is_folded():
    def found(name):
        other = {"name": f"{name}_untrained", "value": 0.1, "verdict": "unclear", "gain": 0.1,
                 "low": None, "high": None, "p": 0.5}  # fmt: skip
        return {"name": name, "value": 0.2, "unit": "accuracy", "groups": 20, "baseline": other}

    names = ["rgb_to_audio_r1", "rgb_to_audio_of_200_r1", "rgb_to_depth_of_200_r1"]
    rows = metric_rows({"retrieval": {"metrics": [found(n) for n in names]}}, None, paper_numbers())
    mine = {row.name: row for row in rows if row.probe == "retrieval" and row.ours}
    assert [name for name, row in mine.items() if row.first] == ["rgb_to_audio_of_200_r1"]
    beside = mine["rgb_to_audio_of_200_r1"]
    assert beside.paper["value"] == 0.005 and beside.baseline["value"] == 0.1
    assert sum(row.paper is not None for row in rows if row.probe == "retrieval") == 12
    assert not PROBES["structure"].first  # all of its rows are shown


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("audio_rgb_top1", "Audio RGB, top 1"),
        ("rgb_to_audio_of_200_r5", "RGB to audio, R@5 of 200"),
        ("rgb_to_audio_r10", "RGB to audio, R@10"),
        ("kad_caption_to_audio", "KAD caption to audio"),
        ("<b>", "<b>"),
    ],
)
def test_names_of_metrics_in_words(name, title):
    assert in_words(name) == title


def test_data_training_and_classes_stand_beside_the_papers(tmp_path):
    fates = default_fates(class_names(), 2)
    inputs = write_results(tmp_path, fates)
    shown = collect(inputs).sections["metrics"]
    facts = {fact.title: (fact.ours, fact.paper) for fact in shown.facts}
    assert facts["Clips in the dataset"] == (sum(f.stop == COMPLETE for f in fates), 9192)
    assert facts["Least sound score"] == (0.3, 0.3)
    assert facts["Parameters"] == (13_200_000, 95_838_720)
    assert sum(facts[f"{name} clips"][1] for name in ("Training", "Validation", "Test")) == 9192
    rows = paper_numbers()["per_class"]
    assert set(rows) == set(class_names()) and sum(row["n"] for row in rows.values()) == 938
    for source in ("audio", "rgb", "all"):
        top1 = next(m for m in paper_numbers()["metrics"] if m["metric"] == f"{source}_top1")
        assert sum(row[source] for row in rows.values()) == round(top1["value"] * 938)
    unfinished = write_results(tmp_path / "none", fates, runs=())
    facts = {fact.title: fact.ours for fact in collect(unfinished).sections["metrics"].facts}
    assert facts["Parameters"] is None and facts["Classes"] == 10


@pytest.mark.parametrize("config", [{}, {"tokenize": PAPERS_TOKENIZERS}])
def test_a_probe_that_the_run_cannot_be_asked_says_why(tmp_path, config):
    inputs, text = page_of(tmp_path, **config)
    note = "Not measured: the run has no such modality."
    for probe in PROBES:
        path = inputs.results / f"evaluation/base/{probe}.json"
        path.write_text(json.dumps({"probe": probe, "metrics": [], "note": note}))
    assert text().count(note) == len(PROBES)
