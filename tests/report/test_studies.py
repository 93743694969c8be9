"""Grids in the report: which runs belong together, their table and their chart."""

from __future__ import annotations

import dataclasses
import json

import pytest

from nano4m_audio.config.grids import members
from nano4m_audio.report import figures, metrics
from nano4m_audio.report.runs import Run
from nano4m_audio.report.stage import build_report
from nano4m_audio.report.training import studies
from tests.report.fake import default_fates, write_results

VARY = {
    "model.size": ["d5w384", "d6w512"],
    "data.train_clips": [30, None],
    "masking.span_audio": [True, False],
}


def fake_run(name: str, parameters: int, clips: int, loss: float | None) -> Run:
    val = {} if loss is None else {"rgb": loss + 1, "audio": loss - 1}
    facts = {
        "parameters": parameters, "steps": 9, "clips": {"train": clips},
        "final_losses": {"val": val},
    }  # fmt: skip
    return Run(name, facts, {}, [], [])


def runs_of(vary: dict) -> list[Run]:
    sizes = {"d5w384": 10_000, "d6w512": 20_000}
    return [
        fake_run(
            name, sizes.get(v.get("model.size"), 7), v.get("data.train_clips") or 90, 5 - i / 10
        )
        for i, (name, v) in enumerate(members("s", vary).items())
    ]


def test_lines_are_settings_over_the_number_of_clips():
    (study,) = studies({"s": {"vary": VARY}}, runs_of(VARY), {"s": "a note"})
    assert (study.planned, len(study.rows), study.axis) == (8, 8, "training clips")
    assert set(study.series) == {
        f"{size}, span audio {on}" for size in ("d5w384", "d6w512") for on in ("on", "off")
    }
    assert all([x for x, _ in points] == [30, 90] for points in study.series.values())
    assert study.best == "s_d6w512_train_clips_none_span_audio_off" and study.note == "a note"
    assert study.modalities == ["rgb", "audio"]


def test_without_data_sizes_the_axis_is_parameters_and_without_both_there_is_none():
    vary = {"model.size": VARY["model.size"]}
    (study,) = studies({"s": {"vary": vary}}, runs_of(vary), {})
    assert study.axis == "parameters" and study.series == {"": [(1e4, 5.0), (2e4, 4.9)]}
    vary = {"masking.span_audio": [True, False]}
    (study,) = studies({"s": {"vary": vary}}, runs_of(vary), {})
    assert study.axis == "" and not study.series and len(study.rows) == 2


def test_runs_that_are_not_there_or_not_validated_leave_gaps():
    runs = runs_of(VARY)[:3]
    runs[1] = fake_run(runs[1].name, 1, 30, None)
    (study,) = studies({"s": {"vary": VARY}}, runs, {})
    assert (len(study.rows), sum(map(len, study.series.values()))) == (3, 2)
    assert studies({"s": {"vary": VARY}}, [], {}) == []


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_chart_draws_every_run(count):
    (study,) = studies({"s": {"vary": VARY}}, runs_of(VARY)[:count], {})
    assert str(figures.study(study)).count("<circle") == count


def test_the_page_shows_the_study_apart_from_the_other_experiments(tmp_path):
    grids = {"model_size": {"vary": {"model.size": ["d5w384", "d6w512"]}}}
    names = ("base", *members("model_size", grids["model_size"]["vary"]))
    config = {"grids": grids, "classes": ["pig", "cat"]}
    inputs = write_results(tmp_path, default_fates(("pig", "cat"), 6), config=config, runs=names)
    for i, name in enumerate(names):
        path = inputs.results / "runs" / name / "run.json"
        facts = json.loads(path.read_text())
        losses = {"rgb": 4.5 - i / 8, "caption": 0.25}
        path.write_text(json.dumps({**facts, "final_losses": {"train": {}, "val": losses}}))
    build_report(inputs, tmp_path / "report.html", with_examples=False)
    page = (tmp_path / "report.html").read_text()
    assert "Study: model size" in page and "2 of 2 runs" in page
    assert "Paper (9,192 real clips): d6w512 is called the sweet spot" in page
    assert "Lowest mean: <b>model_size_d6w512</b>" in page and "4.250" in page
    assert "Experiments side by side" not in page


def test_decisions_of_the_paper_stand_beside_those_of_the_run(tmp_path):
    inputs = write_results(tmp_path, default_fates(("pig", "cow"), 4))
    found = metrics.collect(inputs)
    rows = {row.title: row for row in found.decisions}
    losses = {row.name: row.ours["value"] for row in found.rows if row.probe == "cross_entropy"}
    assert rows["RGB tokenizer"].value == losses["rgb"] and rows["RGB tokenizer"].after == 9.2
    assert rows["RGB tokenizer"].chosen == inputs.config["tokenize"]["rgb"]
    kept = sum(clip.accepted for clip in inputs.clips)
    assert f": {kept} of " in rows["Thresholds"].chosen and rows["Thresholds"].value is None
    # On data and tokens of its own a run has nothing to stand beside.
    other = {**inputs.config, "source": "folder"}
    assert metrics.collect(dataclasses.replace(inputs, config=other)).decisions == []


def test_losses_are_drawn_as_parts_of_a_uniform_guess(tmp_path):
    found = metrics.collect(write_results(tmp_path, default_fates(("pig", "cow"), 4)))
    assert found.of_chance
    whole = {row.name: row for row in found.rows if row.probe == "cross_entropy"}
    for row in found.of_chance:
        first = whole[row.name]
        assert row.ours["value"] * first.ours["chance"] == pytest.approx(first.ours["value"])
        assert row.paper["value"] * first.paper["chance"] == pytest.approx(first.paper["value"])
        assert row.ours["chance"] == 1
