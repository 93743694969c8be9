"""Maps of the clips: what they are made from, and what they do in a real browser."""
# ruff: noqa: E501

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.browser import page
from nano4m_audio.browser.maps import (
    SIDE,
    View,
    as_data,
    drawing,
    make_views,
    neighbours,
    project,
)
from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.schema import ClipsPageSettings
from nano4m_audio.paths import Results
from nano4m_audio.shards import set_shards
from nano4m_audio.tables import write_rows
from tests.browser.test_page import drive
from tests.chromium import read_out
from tests.report.fake import HOSTILE, foreign_scripts
from tests.report.test_explorer import judged

CLASSES = ("cat", "dog", HOSTILE)


def write_scores(results: Results, ids: list[str], known: bool = True) -> None:
    """Scores of clips of which those of one class are alike; windows and frames differ in number."""
    rng = np.random.default_rng(0)
    set_shards(results.root, 2)
    for s, shard in enumerate(results.shards):
        rows: dict[str, list] = {name: [] for name in ("audio", "visual", "fingerprints")}
        for i in range(s, len(ids), 2):
            centre = np.eye(3)[i % 3]
            told = {"clip_id": ids[i], "key": f"k{i}", "labels": list(CLASSES) if known else []}
            windows = centre + rng.normal(0, 0.05, (1 + i % 4, 3))
            frames = centre + rng.normal(0, 0.05, (2, 3))
            rows["audio"].append({**told, "scores": windows.tolist() if known else []})
            rows["visual"].append({**told, "cosines": frames.tolist() if known else []})
            prints = {"image": rng.normal(size=95).tolist(), "image_mirror": [0.0] * 95}
            sound = rng.random((3 + i % 5, 16)).tolist()
            rows["fingerprints"].append({**told, **prints, "audio": sound, "motion": 1.0})
        for name, mine in rows.items():
            columns = [{k: v for k, v in row.items() if k in _COLUMNS[name]} for row in mine]
            write_rows(results.table(f"scores/{name}", shard), f"scores/{name}", columns)


_COLUMNS = {
    "audio": ("clip_id", "key", "labels", "scores"),
    "visual": ("clip_id", "key", "labels", "cosines"),
    "fingerprints": ("clip_id", "key", "image", "image_mirror", "audio", "motion"),
}


def test_classes_that_scores_tell_apart_lie_apart(tmp_path):
    results = Results(tmp_path)
    ids = [f"clip{i:03d}" for i in range(60)]
    write_scores(results, ids)
    views = make_views(results, [*ids, "undecodable"])
    assert [view.title for view in views] == [
        "What the models say",
        "How it looks",
        "How it sounds",
    ]
    said = views[0]
    assert said.places.shape == (61, 2) and (said.places[60] == -1).all()
    assert sum(said.shares) > 0.9 and said.shares[0] >= said.shares[1]
    found = neighbours(said, [CLASSES[i % 3] for i in range(60)] + ["cat"])
    assert {row.name for row in found} == set(CLASSES)
    assert all(row.same == 1 and row.other == "" and row.clips == 20 for row in found)
    again = make_views(results, [*ids, "undecodable"])
    assert as_data(again) == as_data(views)


def test_without_models_there_are_the_fingerprints(tmp_path):
    results = Results(tmp_path)
    ids = [f"clip{i}" for i in range(9)]
    write_scores(results, ids, known=False)
    assert [view.title for view in make_views(results, ids)] == ["How it looks", "How it sounds"]
    results.table("scores/fingerprints", "0001").unlink()
    assert make_views(results, ids) == []


@given(st.integers(3, 40), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_the_two_directions_are_those_of_the_largest_variance(n, columns, seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, columns)).astype(np.float32)
    table[rng.random(n) < 0.2] = np.nan
    placed = project([table])
    known = ~np.isnan(table).any(axis=1)
    if placed is None:
        assert known.sum() < 3 or np.linalg.matrix_rank(table[known] - table[known].mean(0)) < 2
        return
    shares, places = placed
    assert ((places >= 0) & (places <= SIDE)).all(axis=1).tolist() == known.tolist()
    centred = table[known].astype(float) - table[known].astype(float).mean(axis=0)
    spread = np.linalg.svd(centred, compute_uv=False) ** 2
    assert np.allclose(shares, spread[:2] / spread.sum(), atol=1e-6)
    assert project([table[::-1]])[0] == pytest.approx(shares)
    moved = project([table * 3 + 7])
    assert np.abs(moved[1] - places).max() <= 1


def test_blocks_weigh_alike_however_wide_they_are():
    rng = np.random.default_rng(1)
    narrow = np.repeat([[-1.0, 0.3], [1.0, 0.3]], 20, axis=0).astype(np.float32)
    wide = np.tile(rng.normal(size=(40, 1)), (1, 200)).astype(np.float32)
    shares, _ = project([narrow, wide])
    assert shares == pytest.approx((0.5, 0.5), abs=0.2) and sum(shares) == pytest.approx(1)
    assert project([narrow[:, :1]]) is None and project([]) is None


def test_the_picture_without_scripts_has_every_place_once():
    places = np.array([[0, 0], [0, 0], [SIDE, 5], [-1, -1]], np.int32)
    view = View("<b>", "x", (0.5, 0.2), places)
    svg = str(drawing(view, ["dog", "dog", HOSTILE, "cat"]))
    assert svg.count("h0") == 2 and f"M0 {SIDE}h0" in svg and f"M{SIDE} {SIDE - 5}h0" in svg
    assert "<b>" not in svg and "<script" not in svg and svg.count("<title>") == 3


def test_a_neighbour_of_another_class_is_named():
    places = np.array([[0, 0], [1, 0], [2, 0], [900, 900], [901, 900]], np.int32)
    rows = neighbours(View("", "", (1, 0), places), ["a", "a", "b", "b", "b"])
    assert {row.name: row.other for row in rows} == {"a": "b", "b": "a"}
    assert rows[0].same <= rows[1].same
    assert neighbours(View("", "", (1, 0), places[:1]), ["a"]) == []


def clips_of(n: int) -> tuple[list, list[View]]:
    """Clips of three classes, and places for them: the first lies alone at the left."""
    rng = np.random.default_rng(2)
    rows = [
        {"class": CLASSES[i % 3], "source": "s", "audio_score": i / n, "level_dbfs": -20.0}
        for i in range(n)
    ]
    places = rng.integers(300, 700, (n, 2)).astype(np.int32)
    places[0] = (20, 500)
    clips = judged(rows, Verdict(audio_min=0.1, visual_min=None, speech_max=None))
    clips = [type(c)(**{**vars(c), "clip_id": f"{i:06d}", "verdict": {**c.verdict, "window_start_s": 0.0}, "stop": "complete" if c.accepted else "audio_low",
                        "split": {"split": "train"} if c.accepted else {}}) for i, c in enumerate(clips)]  # fmt: skip
    return clips, [
        View("Scores", "scores", (0.4, 0.2), places),
        View("Looks", "x", (0.2, 0.1), places[::-1].copy()),
    ]


def write_page(folder, n: int) -> None:
    clips, views = clips_of(n)
    data = page.collect(clips, ClipsPageSettings(), page.Known({}, {}))
    text = page.render(data, HOSTILE, views)
    assert foreign_scripts(text) == []
    (folder / "results").mkdir()
    (folder / "results/clips.html").write_text(text)


@pytest.mark.slow
def test_a_click_and_the_keys_open_clips_and_filters_leave_them_pale(browser, tmp_path):
    write_page(tmp_path, 300)
    seen = drive(browser, tmp_path, """
      await wait(100);
      const canvas = at("canvas"), area = () => canvas.getBoundingClientRect();
      seen.drawn = Number(canvas.dataset.ms) >= 0;
      seen.open = at("map").open;
      const spot = () => { const a = area(); return { clientX: a.left + a.width * (0.02 + 0.96 * 0.02), clientY: a.top + a.height / 2, bubbles: true }; };
      canvas.dispatchEvent(new (view().PointerEvent)("pointermove", spot())); seen.tip = at("tip").textContent;
      canvas.dispatchEvent(new (view().MouseEvent)("click", spot())); await wait(20);
      seen.clicked = title(); seen.hash = view().location.hash;
      await press("ArrowRight", canvas); const told = at("found").textContent;
      await press("Enter", canvas); seen.next = told.startsWith(title()) && title() !== seen.clicked;
      const count = () => { const copy = document.createElement("canvas"); [copy.width, copy.height] = [canvas.width, canvas.height]; const pen = copy.getContext("2d", { willReadFrequently: true }); pen.drawImage(canvas, 0, 0); const pixels = pen.getImageData(0, 0, copy.width, copy.height).data; let full = 0; for (let i = 3; i < pixels.length; i += 4) full += pixels[i] === 255; return full; };
      const all = count();
      delete canvas.dataset.ms; [...at("keys").children][0].click(); while (!canvas.dataset.ms) await wait(0);
      seen.filtered = at("count").textContent; seen.pressed = at("keys").children[0].getAttribute("aria-pressed");
      seen.fewer = count() < 0.6 * all;
      at("map-more").click(); await wait(60); seen.less = at("map-less").disabled;
      await choose("colour", "sound"); seen.ramp = at("keys").textContent;
      await choose("view", "Looks"); seen.about = at("about").textContent;
      await choose("colour", "what became"); seen.stops = at("keys").children.length;
      """, "#map")  # fmt: skip
    assert seen["drawn"] and seen["open"] and "000000" in seen["tip"]
    assert seen["clicked"] == "000000" and seen["hash"] == "#000000" and seen["next"]
    assert seen["filtered"] == "100 of 300 clips" and seen["pressed"] == "true" and seen["fewer"]
    assert seen["less"] is False and "Sound" in seen["ramp"] and "20" in seen["about"]
    assert seen["stops"] == 2


SPEED = """<!doctype html><pre id="out"></pre><iframe id="f" style="width:1400px;height:900px" src="results/clips.html#map"></iframe>
<script>
const frame = document.getElementById("f");
frame.onload = async () => {
  const page = frame.contentDocument, view = frame.contentWindow, canvas = page.getElementById("canvas");
  const drawn = [], moved = [];
  for (let i = 0; i < 9; i++) {
    delete canvas.dataset.ms;
    const colour = page.getElementById("colour");
    colour.value = i % 2 ? "class" : "split";
    colour.dispatchEvent(new view.Event("change"));
    while (!canvas.dataset.ms) await wait(0);
    drawn.push(Number(canvas.dataset.ms));
  }
  const area = canvas.getBoundingClientRect();
  for (let i = 0; i < 20; i++) {
    const begun = view.performance.now();
    canvas.dispatchEvent(new view.PointerEvent("pointermove", { clientX: area.left + 30 * i, clientY: area.top + 200 }));
    moved.push(view.performance.now() - begun);
  }
  document.getElementById("out").textContent = JSON.stringify({ drawn, moved });
};
</script>"""


def speed(browser: str, folder: Path, n: int) -> tuple[float, float]:
    """Median milliseconds of drawing the map, and of finding the clip under the pointer."""
    write_page(folder, n)
    (folder / "speed.html").write_text(SPEED)
    seen, log = read_out(browser, folder / "speed.html")
    assert log == []
    return sorted(seen["drawn"])[4], sorted(seen["moved"])[10]


@pytest.mark.slow
def test_many_clips_are_drawn_at_once(browser, tmp_path):
    drawn, moved = speed(browser, tmp_path, 10_000)
    assert 0 < drawn < 100 and moved < 50


def test_an_empty_map_is_not_on_the_page(tmp_path):
    clips, _ = clips_of(4)
    data = page.collect(clips, ClipsPageSettings(), page.Known({}, {}))
    assert 'id="map"' not in page.render(data, "title")
    assert all(a <= b for a, b in pairwise(data["id"]))
