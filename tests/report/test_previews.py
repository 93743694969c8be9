"""Pictures and sounds beside the names of clips, from the files of clips.html."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json
from nano4m_audio.media.playable import jpeg, mp3
from nano4m_audio.paths import Results
from nano4m_audio.report import previews
from nano4m_audio.report.stage import build_report
from tests.chromium import read_out
from tests.report.fake import HOSTILE, Fate, write_results, write_truth

PROBE = """<!doctype html><body style="margin:0"><iframe id="f" src="report.html"
 style="border:0;height:9000px;width:1024px"></iframe><pre id="out"></pre><script>
document.getElementById("f").onload = async (loaded) => {
  const page = loaded.target.contentDocument;
  const images = () => [...page.querySelectorAll("#truth .preview img")];
  for (const image of images()) image.loading = "eager";
  while (images().some((image) => !image.naturalWidth)) await wait(20);  // that of no file goes
  const rows = [...page.querySelectorAll("#truth .preview")].map((box) => [
    box.nextElementSibling.textContent, box.querySelector("img")?.naturalWidth ?? null,
    box.querySelector("button").getAttribute("aria-label")]);
  const button = page.querySelector("#truth .preview button");
  const states = [button.getAttribute("aria-pressed")];
  for (let i = 0; i < 2; i++) { button.click(); states.push(button.getAttribute("aria-pressed")); }
  document.getElementById("out").textContent = JSON.stringify({rows, states});
};
</script>"""


@pytest.fixture
def inputs(tmp_path):
    """Four clips that are kept and should not be; two have files, of one the files are gone."""
    found = write_results(tmp_path, [Fate("pig"), Fate("pig"), Fate("pig"), Fate("pig")], runs=())
    rows = [(f"media/clip{i:04d}.mp4", "noise", "reject", "") for i in range(4)]
    names = [clip.clip_id for clip in found.clips]
    index = {names[0]: {"clip": "a" * 32}, names[1]: {"clip": "b" * 32}, names[2]: {"depth": "c"}}
    results = Results(found.results)
    write_json(results.clip_media("0000"), {**index, HOSTILE: {"clip": "d" * 32}})
    folder = results.clip_media("0000").with_suffix("")
    folder.mkdir()
    (folder / f"{'a' * 32}.jpg").write_bytes(jpeg(np.zeros((20, 60, 3), np.uint8), 80))
    (folder / f"{'a' * 32}.mp3").write_bytes(mp3(np.zeros(32_000, np.float32), 32_000))
    return dataclasses.replace(found, truth_csv=write_truth(tmp_path / "truth.csv", rows))


def test_files_are_named_where_they_are_known(inputs):
    names = [clip.clip_id for clip in inputs.clips]
    assert previews.collect(inputs) == {
        names[0]: f"clips_media/0000/{'a' * 32}", names[1]: f"clips_media/0000/{'b' * 32}",
        HOSTILE: f"clips_media/0000/{'d' * 32}",
    }  # fmt: skip
    without = {**inputs.config, "report": {**inputs.config["report"], "browser": 0}}
    assert previews.collect(dataclasses.replace(inputs, config=without)) == {}
    index = Results(inputs.results).clip_media("0000")
    index.write_text("{")
    with pytest.raises(UserError, match="browse media --shard 0000"):
        previews.collect(inputs)
    index.unlink()
    assert previews.collect(inputs) == {}


@pytest.mark.slow
def test_mistakes_can_be_seen_and_heard(inputs, browser):
    folder = inputs.results
    build_report(inputs, folder / "report.html", with_examples=False)
    (folder / "probe.html").write_text(PROBE)
    seen, log = read_out(browser, folder / "probe.html")
    names = [clip.clip_id for clip in inputs.clips]
    assert seen["rows"] == [
        [f"media/{names[0]}.mp4", 60, f"play the sound of {names[0]}"],
        [f"media/{names[1]}.mp4", None, f"play the sound of {names[1]}"],
    ]
    assert seen["states"] == ["false", "true", "false"]
    assert not [line for line in log if "Refused" in line or line.startswith("uncaught")]
