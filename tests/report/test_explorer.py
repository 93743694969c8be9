"""The arrays behind the sliders, against verdicts made again at every threshold."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.schema import Config
from nano4m_audio.curate.verdict import failed_filters, limits_of
from nano4m_audio.filters import COLUMNS, FILTERS
from nano4m_audio.report import explorer, figures, scores
from nano4m_audio.report.inputs import Clip, ReportInputs
from nano4m_audio.report.stage import render_page
from tests.report.fake import HOSTILE, Fate, default_fates, write_results, write_truth

NAMES = ("pig", "cow", HOSTILE)
KEYS = {row.key: row for row in FILTERS}


class Inputs(ReportInputs):
    """Inputs whose clips were made up and not read."""

    clips: list = []


def judged(rows: list[dict], settings: Verdict) -> list[Clip]:
    """Clips with the verdicts that the pipeline gives them."""
    out = []
    for i, row in enumerate(rows):
        values = {column: row.get(column) for column in COLUMNS}
        reasons = failed_filters(values, limits_of(values, row["class"], settings))
        verdict = {"clip_key": f"k{i}", "accepted": not reasons, "reasons": reasons, **values}
        name, source = row["class"], row["source"]
        out.append(
            Clip(f"{i}", f"v{i}", name, source, f"{i}.mp4", "0000", "", (), "", verdict, {}, {})
        )
    return out


def inputs_of(rows: list[dict], settings: Verdict) -> ReportInputs:
    config = json.loads(Config().model_dump_json()) | {"verdict": settings.model_dump()}
    found = Inputs(config=config, results=None)
    object.__setattr__(found, "clips", judged(rows, settings))
    return found


def unpack(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def clips_in(data: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Class, source and truth of every clip, as the page's script decodes them."""
    runs = np.array(data["runs"], int).reshape(-1, 4)
    return [
        (data["classes"][name], data["sources"][source], truth)
        for name, source, truth, count in runs.tolist()
        for _ in range(count)
    ]


def values_in(about: dict) -> np.ndarray:
    """The values of a filter, or the edges that are as good."""
    if "values" in about:
        return unpack(about["values"], "<f4")
    edges = np.array(about["edges"], np.float32)
    low = about["side"] == "min"
    ends = np.array([-np.inf, *edges] if low else [*edges, np.inf], np.float32)
    return ends[unpack(about["bins"], "u1" if len(edges) < 256 else "<u2")]


def kept(data: dict, moves: dict, chosen: Verdict) -> Counter:
    """Kept clips by (class, source); ``moves`` has the settings of the filters that were moved."""
    clips = clips_in(data)
    place = {name: i for i, name in enumerate(data["classes"])}
    classes = np.array([place[name] for name, *_ in clips], int)
    passes = np.ones(len(clips), bool)
    for key, about in data["filters"].items():
        settings, row = moves.get(key, chosen), KEYS[key]
        limits = [settings.threshold(row, name) for name in data["classes"]]
        sharp = np.array([np.nan if limit is None else limit for limit in limits], np.float32)
        values = values_in(about)
        assert len(values) == len(clips)
        if len(clips):
            limit = sharp[classes]
            passes &= np.isnan(limit) | (
                values >= limit if about["side"] == "min" else values <= limit
            )
    return Counter((c, s) for (c, s, _), yes in zip(clips, passes, strict=True) if yes)


def again(rows: list[dict], settings: Verdict) -> Counter:
    clips = judged(rows, settings)
    return Counter((c.class_name, c.source) for c in clips if c.accepted)


def numbers(row) -> st.SearchStrategy:
    """Values of a filter: many on, and next to, a threshold that somebody may choose."""
    low, high = row.limits
    near = [low + (high - low) * part for part in (0, 0.1, 0.3, 0.35, 0.7, 1)]
    at = st.sampled_from([float(np.float32(x)) for x in near])
    beside = at.map(lambda x: float(np.nextafter(np.float32(x), np.float32(low))))
    return st.one_of(at, beside, st.floats(low, high, width=32), st.none())


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "class": st.sampled_from(NAMES),
            "source": st.sampled_from(("a", "b", "a+b")),
            **{row.column: numbers(row) for row in FILTERS},
        }
    ),
    max_size=30,
)


@st.composite
def limits(draw, row):
    low, high = row.limits
    part = st.sampled_from((0.0, 0.1, 0.3, 0.35, 0.7, 1.0))
    some = st.one_of(part.map(lambda p: low + (high - low) * p), st.floats(low, high))
    return draw(st.one_of(st.none(), some))


@st.composite
def settings(draw):
    general = {row.key: draw(limits(row)) for row in FILTERS}
    row = draw(st.sampled_from(FILTERS))
    own = {draw(st.sampled_from(NAMES)): {row.key: draw(limits(row))}}
    return Verdict.model_validate({**general, "per_class": draw(st.sampled_from(({}, own)))})


SPANS = {row.key: (row.limits[0], row.limits[1]) for row in FILTERS}


def moved(chosen: Verdict, key: str, limit, name: str | None) -> Verdict:
    """The settings after the YAML of the page was merged into them."""
    values = chosen.model_dump()
    if name is None:
        values[key] = limit
    else:
        values["per_class"].setdefault(name, {})[key] = limit
    return Verdict.model_validate(values)


@pytest.mark.parametrize("exact", [True, False])
def test_any_thresholds_together_keep_what_a_new_run_would(monkeypatch, exact):
    monkeypatch.setattr(explorer, "EXACT", 10_000 if exact else -1)
    several = st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3, unique=True)

    @given(ROWS, settings(), several, st.data())
    def check(rows, chosen, filters, data):
        found = explorer.explore(inputs_of(rows, chosen), SPANS)
        assert set(found["filters"]) == set(KEYS)
        before = kept(found, {}, chosen)
        assert before == again(rows, chosen) and before.total() == found["kept"]
        after, moves = chosen, {}
        for row in filters:
            edges = found["filters"][row.key].get("edges")
            limit = data.draw(limits(row) if exact else st.sampled_from([None, *edges]))
            name = data.draw(st.sampled_from((None, *NAMES)))
            after = moves[row.key] = moved(after, row.key, limit, name)
        assert kept(found, moves, chosen) == again(rows, after)

    check()


@pytest.mark.slow
def test_a_large_dataset_stays_small():
    rng = np.random.default_rng(0)
    n = 150_000
    table = {row.column: rng.uniform(*row.limits, n).astype(np.float32) for row in FILTERS}
    table["speech_fraction"] = np.where(rng.random(n) < 0.8, 0, table["speech_fraction"])
    where = {
        "class": [f"class {i}" for i in rng.integers(0, 309, n)],
        "source": rng.choice(["audioset", "vggsound", "both"], n).tolist(),
        **{column: values.tolist() for column, values in table.items()},
    }
    rows = [dict(zip(where, row, strict=True)) for row in zip(*where.values(), strict=True)]
    off = Verdict(audio_min=0.1, visual_min=-0.9, speech_max=0.9, level_min_dbfs=-118)
    found = explorer.explore(inputs_of(rows, off), SPANS)
    assert found["kept"] > 90_000 and 500 < len(found["ids"]) < 20_000
    assert len(json.dumps(found)) < 12 * n
    for row in FILTERS:
        assert len(found["filters"][row.key]["edges"]) > 100, row.key
    assert kept(found, {}, off).total() == found["kept"]
    edges = {key: found["filters"][key]["edges"][120] for key in ("audio_min", "visual_min")}
    changed = off.model_copy(update=edges)
    passes = np.ones(n, bool)
    for row in FILTERS:
        if (limit := changed.threshold(row)) is not None:
            value, sharp = table[row.column], np.float32(limit)
            passes &= value >= sharp if row.side == "min" else value <= sharp
    names = np.array(where["class"])[passes].tolist()
    expected = Counter(zip(names, np.array(where["source"])[passes].tolist(), strict=True))
    assert kept(found, dict.fromkeys(edges, changed), off) == expected


def test_above_the_limit_those_next_to_a_threshold_have_ids(monkeypatch):
    monkeypatch.setattr(explorer, "EXACT", 100)
    scores_of = np.linspace(0, 1, 2001).tolist()
    rows = [
        {"class": "pig", "source": "a", "audio_score": score, "visual_score": 0.9, "level_dbfs": -9}
        for score in scores_of
    ]
    found = explorer.explore(
        inputs_of(rows, Verdict(audio_min=0.3, speech_max=None)), {"audio_min": (0, 1)}
    )
    named = sorted(int(name) for name in found["ids"].values())
    assert named[0] == 600 - explorer._NAMED and named[-1] == 599 + explorer._NAMED
    assert len(named) == 2 * explorer._NAMED
    # What is on no other side is out of the question: no slider brings it back.
    rows[5]["level_dbfs"] = -90
    less = explorer.explore(
        inputs_of(rows, Verdict(audio_min=0.3, speech_max=None)), {"audio_min": (0, 1)}
    )
    assert sum(less["runs"][3::4]) == sum(found["runs"][3::4]) - 1 == 2000


def test_truth_counts_what_filters_can_tell(tmp_path):
    fates = [Fate("pig"), Fate("pig", "audio_low"), Fate("pig"), Fate("pig"), Fate("pig", "media")]
    inputs = write_results(tmp_path, fates)
    rows = [
        ("media/clip0000.mp4", "good", "keep", ""),
        ("./media/clip0001.mp4", "wrong", "reject: wrong sound", ""),
        ("media/clip0002.mp4", "copy", "reject", "media/clip0000.mp4"),
        ("media/clip0003.mp4", "odd", "either", ""),
        ("media/clip0004.mp4", "good", "keep", ""),
    ]
    inputs = dataclasses.replace(inputs, truth_csv=write_truth(tmp_path / "t.csv", rows))
    found = scores.collect(inputs).explorer
    truth = dict(zip(found["ids"], (truth for *_, truth in clips_in(found)), strict=True))
    assert truth == {"clip0000": 1, "clip0001": 2, "clip0002": 0, "clip0003": 0}
    assert found["good"] == 2 and found["decodable"] == 4 and found["kept"] == 3


def test_verdicts_of_other_thresholds_are_not_explored(tmp_path):
    inputs = write_results(tmp_path, default_fates(("pig", "cow"), 4))
    assert "audio_min" in scores.collect(inputs).explorer["filters"]
    strict = {**inputs.config, "verdict": {**inputs.config["verdict"], "audio_min": 0.99}}
    found = scores.collect(dataclasses.replace(inputs, config=strict))
    assert "audio_min" not in found.explorer["filters"]
    assert "visual_min" in found.explorer["filters"]
    assert [h.key for h in found.histograms if h.n] == list(SPANS_OF_FAKE)


SPANS_OF_FAKE = ("audio_min", "visual_min", "speech_max", "level_min_dbfs")


def test_hostile_ids_and_classes_stay_text(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig", name=HOSTILE + "</script>"), Fate(HOSTILE)])
    found = scores.collect(inputs)
    page = render_page("scores.html.j2", s=found, figures=figures)
    block = page.split('id="explorer-data">')[1].split("</script>")[0]
    assert "<" not in block and ">" not in block and "&" not in block
    assert set(json.loads(block)["ids"]) == {HOSTILE + "</script>", "clip0001"}
    assert HOSTILE in json.loads(block)["classes"]
