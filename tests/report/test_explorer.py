"""The arrays behind the sliders, against verdicts made again at every threshold."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections import Counter

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


def cells_of(data: dict, key: str):
    """(value, class, source, truth, weight) of every cell, as the page's script decodes them."""
    about = data["filters"][key]
    if data["clips"]:
        shared, fails = data["clips"], unpack(data["clips"]["fails"], "u1")
        mine = (fails == 255) | (fails == about["reason"])
        columns = [unpack(about["values"], "<f4")]
        columns += [unpack(shared[n], k) for n, k in (("class", "<u2"), ("source", "<u2"))]
        columns += [unpack(shared["truth"], "u1"), np.ones(len(fails), int)]
        return list(zip(*(c[mine].tolist() for c in columns), strict=True))
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(about["cells"]):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    out, flat, edges = [], 0, [float(np.float32(e)) for e in about["edges"]]
    left = iter(numbers)
    for head in left:
        flat += head // 4
        weight = head % 4 + 1 if head % 4 < 3 else next(left) + 4
        group, place = divmod(flat, len(edges) + 1)
        low = about["side"] == "min"
        ends = [-np.inf, *edges] if low else [*edges, np.inf]
        group, truth = divmod(group, 3)
        out.append((ends[place], *divmod(group, len(data["sources"])), truth, weight))
    return out


def kept(data: dict, key: str, limit_of) -> Counter:
    """Kept clips by (class, source); ``limit_of`` gives the threshold of a class."""
    low = data["filters"][key]["side"] == "min"
    found: Counter[tuple[str, str]] = Counter()
    for value, at, source, _, weight in cells_of(data, key):
        limit = limit_of(data["classes"][at])
        sharp = None if limit is None else float(np.float32(limit))
        if sharp is None or (value >= sharp if low else value <= sharp):
            found[data["classes"][at], data["sources"][source]] += weight
    return found


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
def test_every_threshold_keeps_what_a_new_run_would(monkeypatch, exact):
    monkeypatch.setattr(explorer, "EXACT", 10_000 if exact else -1)

    @given(ROWS, settings(), st.sampled_from(FILTERS), st.data())
    def check(rows, chosen, row, data):
        found = explorer.explore(inputs_of(rows, chosen), SPANS)
        assert set(found["filters"]) == set(KEYS)
        before = kept(found, row.key, lambda name: chosen.threshold(row, name))
        assert before == again(rows, chosen) and before.total() == found["kept"]
        edges = found["filters"][row.key].get("edges")
        limit = data.draw(limits(row) if exact else st.sampled_from([None, *edges]))
        name = data.draw(st.sampled_from((None, *NAMES)))
        after = moved(chosen, row.key, limit, name)
        assert kept(found, row.key, lambda n: after.threshold(row, n)) == again(rows, after)

    check()


@given(st.integers(0, 10**12))
def test_numbers_of_any_size_survive_seven_bits_a_byte(number):
    found = explorer._varint(number)
    assert sum((byte & 127) << 7 * i for i, byte in enumerate(found)) == number
    assert all(byte > 127 for byte in found[:-1]) and found[-1] < 128


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
    assert found["kept"] > 90_000 and found["clips"] is None
    assert len(json.dumps(found)) < 1_000_000
    for row in FILTERS:
        edges = found["filters"][row.key]["edges"]
        assert len(edges) > 30, row.key
        assert kept(found, row.key, lambda _, r=row: off.threshold(r)).total() == found["kept"]
    changed = off.model_copy(update={"audio_min": found["filters"]["audio_min"]["edges"][20]})
    after = kept(found, "audio_min", lambda _: changed.audio_min)
    assert after == again(rows, changed)


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
    truth = dict(zip(found["clips"]["ids"], unpack(found["clips"]["truth"], "u1"), strict=True))
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
    assert json.loads(block)["clips"]["ids"] == [HOSTILE + "</script>", "clip0001"]
    assert HOSTILE in json.loads(block)["classes"]
