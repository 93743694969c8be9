"""The page of clips: its data, and what it does in a real browser."""
# ruff: noqa: E501

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.browser.page import script_json
from nano4m_audio.browser.stage import build_page, show_shard
from nano4m_audio.config.schema import ClipMediaSettings, ClipsPageSettings, Config
from nano4m_audio.paths import Results
from nano4m_audio.report.stage import build_report
from nano4m_audio.shards import set_shards
from tests.chromium import read_out
from tests.report.fake import HOSTILE, Fate, foreign_scripts, write_results, write_truth
from tests.report.test_browser import measure

RTL = "\N{HEBREW LETTER ALEF}\N{RIGHT-TO-LEFT OVERRIDE}gpj.\N{LEFT-TO-RIGHT ISOLATE}%41#?&"
LONG = "long" * 2500
FATES = [
    Fate("dog"),
    Fate("cat", "speech", name="a speech"),
    Fate("pig", "clips", name=RTL),
    Fate("dog", "duplicate", copy_of=0),
    Fate("cow", split="test", name=HOSTILE * 3),
    Fate("cat", "audio_low", ("visual_low",), name=LONG),
    *(Fate("sheep") for _ in range(230)),
]
WIDTHS = [320, 390, 600, 820, 861, 1024, 1400, 1600]
#: Opens the page in a frame, does what a person would, and writes down what is to be seen.
DRIVER = """<!doctype html><iframe id="f" style="width:1200px;height:900px"></iframe><pre id="out"></pre>
<script>
const frame = document.getElementById("f");
async function drive() {
  const seen = {};
  const view = () => frame.contentWindow, page = () => frame.contentDocument;
  const at = (id) => page().getElementById(id);
  const rows = () => [...page().querySelectorAll("#rows a")];
  const title = () => page().querySelector("#clip h2")?.textContent;
  const choose = async (id, text) => {
    const found = [...at(id).options].find((o) => o.textContent.startsWith(text));
    at(id).value = found.value;
    at(id).dispatchEvent(new Event("change", {bubbles: true}));
    await wait(20);
  };
  const press = async (key, target = page().body) => {
    target.dispatchEvent(new (view().KeyboardEvent)("keydown", {key, bubbles: true, cancelable: true}));
    await wait(20);
  };
  const to = async (hash) => {
    const heard = new Promise((done) => view().addEventListener("hashchange", done, {once: true}));
    view().location.hash = hash;
    await heard;
  };
  const go = (id) => to(encodeURIComponent(id));
  STEPS
  return seen;
}
frame.onload = () => drive().then(
  (seen) => { document.getElementById("out").textContent = JSON.stringify(seen); },
  (error) => { document.getElementById("out").textContent = JSON.stringify({error: String(error)}); });
frame.src = "results/clips.htmlHASH";
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with results/clips.html and results/report.html."""
    root = tmp_path_factory.mktemp("clips")
    inputs = write_results(root, FATES, heavy=True)
    set_shards(inputs.results, 2)
    truth = write_truth(
        root / "truth.csv",
        [
            (f"media/{FATES[1].name}.mp4", "good", "keep", ""),
            ("media/clip0000.mp4", "x", "keep", ""),
        ],
    )
    results = Results(inputs.results)
    for shard in results.shards:
        show_shard(results, shard, ClipMediaSettings(clips=60, truth=str(truth)))
    build_page(results, ClipsPageSettings(clips=60, truth=str(truth), title=HOSTILE))
    build_report(inputs, results.report, with_examples=False)
    return root


def drive(browser: str, folder: Path, steps: str, place: str = "") -> dict:
    driver = DRIVER.replace("STEPS", steps).replace("HASH", place)
    (folder / "driver.html").write_text(driver)
    seen, log = read_out(browser, folder / "driver.html")
    assert log == [] and "error" not in seen, (log, seen)
    return seen


@given(
    st.recursive(
        st.text() | st.none() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_data_end_no_script_block_and_are_read_back(value):
    text = str(script_json(value))
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


def test_no_text_of_the_web_becomes_markup(folder):
    page = (folder / "results/clips.html").read_text()
    assert foreign_scripts(page) == []
    assert "<img src=x" not in page and "<script>alert" not in page
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("style-src")[0]
    assert not re.search(r"https?:", page.split('id="data">')[0])


def test_the_report_leads_to_clips_only_where_there_is_the_page(tmp_path, folder):
    assert 'href="clips.html"' in (folder / "results/report.html").read_text()
    inputs = write_results(tmp_path, FATES[:3], config={"report": {"examples": 0, "browser": 0}})
    build_report(inputs, tmp_path / "report.html", with_examples=False)
    page = (tmp_path / "report.html").read_text()
    assert 'href="clips.html' not in page  # the script takes the address from the first such link


def test_the_stages_are_told_of_the_truth_and_the_thresholds():
    config = Config.model_validate({"report": {"browser": None}, "verdict": {"audio_min": 0.5}})
    told = config.clips_page_settings(Path("results"))
    assert told.clips is None and told.verdict.audio_min == 0.5
    assert told.truth == "results/barnyard/truth.csv" and told.captions["classes"]["cat"]


@pytest.mark.slow
def test_filters_orders_and_search_change_the_list(browser, folder):
    seen = drive(browser, folder, """
      seen.all = at("count").textContent; seen.first = rows().length; seen.pages = at("page").textContent;
      at("on").click(); await wait(20); seen.second = rows().length;
      await choose("class", "cat"); seen.cats = rows().length;
      await choose("stop", "not used"); seen.lost = at("count").textContent;
      await choose("stop", "decided wrongly"); seen.wrong = rows().map((a) => a.querySelector(".id").textContent);
      at("filters").reset(); await wait(40); seen.reset = at("count").textContent;
      await choose("stop", "visual low"); seen.low = rows().length;
      at("filters").reset(); await wait(40);
      await choose("order", "Sound: nearest"); seen.near = rows()[0].textContent;
      await choose("order", "Sound: lowest"); seen.lowest = rows()[0].querySelector(".id").textContent.slice(0, 4);
      at("search").value = "SPEECH"; at("search").dispatchEvent(new Event("input")); await wait(200);
      seen.found = rows().map((a) => a.querySelector(".id").textContent);""")  # fmt: skip
    assert seen["all"] == "236 clips" and seen["pages"] == "1 of 2"
    assert (seen["first"], seen["second"]) == (200, 36)
    assert seen["cats"] == 2 and seen["lost"] == "2 of 236 clips"
    assert seen["wrong"] == ["a speech"] == seen["found"]
    assert seen["reset"] == "236 clips" and seen["low"] == 1
    assert "sound" in seen["near"] and seen["lowest"] == "long"


@pytest.mark.slow
def test_a_link_opens_its_clip_and_arrows_go_on(browser, folder):
    seen = drive(browser, folder, """
      seen.start = title();
      await go("clip0003"); seen.copy = title();
      seen.kin = page().querySelector(".kin").textContent; seen.looks = page().querySelectorAll("#clip audio").length;
      seen.current = rows().filter((a) => a.getAttribute("aria-current")).length;
      await press("ArrowRight"); seen.next = title(); seen.hash = view().location.hash;
      await press("ArrowLeft"); await press("ArrowLeft"); seen.before = title();
      await press("ArrowLeft", at("search")); seen.typing = title();
      at("after").click(); await wait(20); seen.button = title(); seen.focus = page().activeElement.id;
      await go("no such clip"); seen.none = at("clip").textContent;
      for (const id of IDS) { await go(id); if (title() !== id) seen.wrong = id.slice(0, 50); }
      await to("%E0%A4%A"); seen.broken = at("clip").textContent;
      """.replace("IDS", str(script_json([RTL, HOSTILE * 3, LONG]))), "#a%20speech")  # fmt: skip
    assert seen["start"] == "a speech" and seen["copy"] == "clip0003"
    assert seen["kin"].startswith("It is a copy of: clip0000") and seen["looks"] == 2
    assert seen["current"] == 1 and seen["next"] == "clip0006" and seen["hash"] == "#clip0006"
    assert seen["before"] == seen["typing"] == "clip0000" and seen["button"] == "clip0003"
    assert seen["focus"] == "after" and "no such clip" in seen["none"]
    assert "wrong" not in seen and "no clip" in seen["broken"]


@pytest.mark.slow
def test_a_clip_is_seen_and_heard_and_the_playhead_follows(browser, folder):
    seen = drive(browser, folder, """
      const audio = page().querySelector("#clip audio");
      while (!(audio.duration > 0)) await wait(20);
      seen.duration = audio.duration; seen.name = audio.getAttribute("aria-label");
      audio.currentTime = audio.duration / 2;
      while (audio.seeking) await wait(20);
      await wait(100);
      seen.head = parseFloat(page().querySelector("#clip .head").style.left);
      const images = [...page().querySelectorAll("#clip img")];
      for (const image of images) image.loading = "eager";
      await Promise.all(images.map((image) => image.decode()));
      seen.images = images.map((image) => [image.naturalWidth, image.alt.length > 10]);
      seen.caption = page().querySelector("blockquote").textContent;
      seen.unnamed = [...page().querySelectorAll("button, input, select, audio")].filter(
        (e) => !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label"))).length;
      seen.markup = page().querySelectorAll("#clip h2 *:not(bdi), #rows script, #rows .id *").length;
      await go("a speech"); seen.why = page().querySelector(".why").textContent;
      seen.fails = page().querySelector("#clip .lost").textContent;
      """, "#clip0000")  # fmt: skip
    assert 4.8 < seen["duration"] < 5.4 and "dog" in seen["name"]
    assert 45 < seen["head"] < 55
    assert seen["images"][:4] == [[480, True], [336, True], [480, True], [480, True]]
    assert seen["caption"] and seen["unnamed"] == 0 and seen["markup"] == 0
    assert seen["why"] == "too much human speech"
    assert seen["fails"].startswith("Speech60") and seen["fails"].endswith("fails")


@pytest.mark.slow
def test_the_page_fits_every_window_whatever_clips_are_called(browser, folder):
    names = [HOSTILE * 3, LONG, "clip0003"]
    for name in names:
        (folder / "results" / "shown.html").write_text((folder / "results/clips.html").read_text())
        from urllib.parse import quote

        found = measure(browser, folder, f"results/shown.html#{quote(name, safe='')}", WIDTHS)
        for look in found["looks"]:
            assert look["scroll"] <= look["width"], (name[:20], look)
            assert look["least"] >= 11, look
        assert found["log"] == []
