"""What probes have beside metrics: count models, directions, curves and the training's masks."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log

import pytest

from nano4m_audio.report import figures
from nano4m_audio.report.collect import collect
from nano4m_audio.report.metrics import paper_entropies, paper_numbers
from nano4m_audio.report.stage import render
from tests.report.fake import default_fates, write_results


def information(value: float | None, p: float | None) -> dict:
    interval = (None, None) if value is None or p is None else (value - 0.1, value + 0.1)
    return {
        "value": value, "low": interval[0], "high": interval[1], "p": p, "p_holm": p,
        "n": 12, "groups": 12,
    }  # fmt: skip


def direction(source: str, target: str, gain: float | None, p: float | None) -> dict:
    entropies = {"own": 1.5, "same_class": 2.25, "other_class": 3.125, "none": None, "counts": 2.0}
    kinds = ("gain", "beyond_counts", "class", "class_beyond_counts", "instance")
    row = {kind: information(gain, p) for kind in kinds}
    return {"source": source, "target": target, "cross_entropy": entropies, **row}


CURVE = {
    "source": "audio", "target": "caption", "counts": 1.9, "n": [12, 12, 12],
    "shown": [0.0, 0.5, 1.0], "value": [2.3, 1.0, 0.8],
    "low": [None, 0.9, 0.7], "high": [None, 1.1, 0.9],
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    inputs = write_results(tmp_path_factory.mktemp("report"), default_fates(("pig", "sheep")))
    folder = inputs.results / "evaluation" / "base"
    entropy = json.loads((folder / "cross_entropy.json").read_text())
    values = {"n": 12, "uniform": 7.5, "model": 4.5, "pooled": 5.5, "unigram": 4.875}
    told = {"bigram": 4.625, "class": 3.875, "previous": 2.625}
    entropy["baselines"] = [
        {"target": "audio", "codebook": None, **values, **told, "per_codebook": 4.9, "frame": 3.8},
        {"target": "rgb", "codebook": None, **values, **told},
    ]
    (folder / "cross_entropy.json").write_text(json.dumps(entropy))
    books = [direction("", "", 0.3, 0.02)] * 2
    rows = [
        direction("audio", "caption", 0.7125, 0.001),
        {**direction("rgb", "audio", 0.4375, 0.4), "codebooks": books},
        direction("caption", "rgb", None, None),
    ]
    lonely = {"clips": 3, "classes": ["lion"]}
    metrics = [{**entropy["metrics"][1], "name": "one"}]
    details = {"directions": rows, "curves": [CURVE], "no_partner": lonely, "metrics": metrics}
    (folder / "gain.json").write_text(json.dumps(details))
    shown = {"asked": 0.5, "by_number": [0.25, 0.75, 0.0], "from_others": None}
    target = {
        "target": "rgb", "counts": 2.0, "by_number": [2.5, 1.5],
        "one_minus_all": information(1.0, 0.001), "training": shown,
    }  # fmt: skip
    training = {
        "samples": 4096, "by_number": [0.286, 0.7, 0.014],
        "single_source": 0.286, "single_to_single": 0.24,
    }  # fmt: skip
    details = {"targets": [target], "training": training, "metrics": metrics}
    (folder / "mismatch.json").write_text(json.dumps(details))
    return render(collect(replace(inputs, threads=0)))


def test_every_direction_is_a_row_and_proven_ones_are_strong(page):
    row = page[page.index("audio to caption</th>") :].split("</tr>")[0]
    assert row.count('class="n strong"') == 4 and "0.71" in row
    row = page[page.index("rgb to audio<small>") :].split("</tr>")[0]
    assert 'class="n strong"' not in row and row.count("codebook ") == 2
    row = page[page.index("caption to rgb</th>") :].split("</tr>")[0]
    assert row.count("\N{EN DASH}") == 5
    assert "3 clips have no other group in their class (lion)" in page


def test_the_count_models_stand_beside_the_paper(page):
    row = page[page.index("after an input") :]
    assert row.index("4.50") < row.index("5.50") < row.index("4.90") < row.index("3.80")
    paper = paper_entropies(paper_numbers())
    assert paper == {
        "target": "audio", "model": 5.284, "uniform": 7.625, "pooled": 6.2,
        "per_codebook": pytest.approx(6.2 - log(2)),
    }  # fmt: skip
    assert "6.20" in row and "5.51" in row


def test_the_share_of_single_sources_is_said(page):
    assert "28.6\N{NARROW NO-BREAK SPACE}% of this run" in page.replace("&nbsp;", " ")
    row = page[page.index("from others only") :].split("</table>")[0]
    assert "2.50" in row and 'strong">1.50' in row


def test_a_curve_has_all_its_points():
    drawn = str(figures.shown(CURVE))
    assert drawn.count("<circle") == 3 and drawn.count("interval thin") == 2
    assert "stroke-dasharray" in drawn and "0.80" in drawn
    assert "stroke-dasharray" not in str(figures.shown({**CURVE, "counts": None}))
