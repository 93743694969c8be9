"""Videos from file names: cuts of one video are known as such, running numbers are no cuts."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.acquire.folder import Findings, read_candidates, scan_folder
from nano4m_audio.acquire.video_names import cuts
from nano4m_audio.curate.assign import assign_splits

CLASSES = ("dog", "cat")


@pytest.mark.parametrize(
    ("path", "video_id", "start_s"),
    [
        ("dog/abcdefghijk_000010.mp4", "abcdefghijk", 10.0),
        ("-_cdefghi-k_000011.mkv", "-_cdefghi-k", 11.0),
        ("jRcl2C81GJa_000120_000130.mp4", "jRcl2C81GJa", 120.0),
        ("--PJHxphWEs_30.000_40.000.mp4", "--PJHxphWEs", 30.0),
        ("--PJHxphWEs_30000_40000.mp4", "--PJHxphWEs", 30.0),
        ("yhEmJ1bpiJj_12.mp4", "yhEmJ1bpiJj", 12.0),
        ("yhEmJ1bpiJj_12_22.mp4", "yhEmJ1bpiJj", 12.0),
        ("yhEmJ1bpiJj.mp4", "yhEmJ1bpiJj", 0.0),
        ("A pig! [yhEmJ1bpiJj].webm", "yhEmJ1bpiJj", 0.0),
        ("barn_000001_000011.mp4", "barn", 1.0),
        ("farm_000010.mp4", "farm", 10.0),
        ("walk_10_20.mp4", "walk", 10.0),
        ("walk_2023_05.mp4", "walk_2023_05", 0.0),
        ("a.b.mp4", "a.b", 0.0),
        (".mp4", ".mp4", 0.0),
    ],
)
def test_names(path, video_id, start_s):
    cut = cuts([path])[path]
    assert (cut.video_id, cut.start_s) == (video_id, start_s)


@pytest.mark.parametrize("pattern", [
    "clip_{:06d}.mp4", "my_holidays_{}.mp4", "img_{:06d}.mov",
    "dog_barking_{:06d}.mp4", "Cat-meowing_{:06d}.mp4", "RECORDING_A-{:06d}.mp4",
])  # fmt: skip
def test_running_numbers_are_no_cuts(pattern):
    paths = [pattern.format(n) for n in [*range(1, 40), 44, 52]]
    assert len({cut.video_id for cut in cuts(paths).values()}) == len(paths)
    assert {cut.by for cut in cuts(paths).values()} == {"file"}


def test_words_with_times_far_apart_are_cuts():
    paths = [f"dog_barking_{n:06d}.mp4" for n in (0, 30, 95)]
    assert {(cut.video_id, cut.start_s) for cut in cuts(paths).values()} == {
        ("dog_barking", 0.0), ("dog_barking", 30.0), ("dog_barking", 95.0),
    }  # fmt: skip


def test_equal_names_in_different_folders_are_different_videos():
    paths = ["dog/1.mp4", "cat/1.mp4", "cat/1.webm", "cat/2.mp4", "1.mp4", "a/b/video.mp4",
             "a/c/video.mp4", "yhEmJ1bpiJj.mp4", "x/clip_000001.mp4", "y/clip_000001.mp4",
             "y/clip_000002.mp4"]  # fmt: skip
    assert {path: cut.video_id for path, cut in cuts(paths).items()} == {
        "dog/1.mp4": "dog/1", "cat/1.mp4": "cat/1", "cat/1.webm": "cat/1", "cat/2.mp4": "2",
        "1.mp4": "1", "a/b/video.mp4": "a/b/video", "a/c/video.mp4": "a/c/video",
        "yhEmJ1bpiJj.mp4": "yhEmJ1bpiJj", "x/clip_000001.mp4": "x/clip_000001",
        "y/clip_000001.mp4": "y/clip_000001", "y/clip_000002.mp4": "clip_000002",
    }  # fmt: skip


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_both_unicode_forms_name_one_video(form):
    paths = [unicodedata.normalize(form, "café_000010.mp4"), "café_000040.mp4"]
    assert {cut.video_id for cut in cuts(paths).values()} == {"café"}


IDS = st.text(string.ascii_letters + string.digits + "_-", min_size=11, max_size=11)
NAMES = st.sampled_from(["{}_{:06d}.mp4", "{}_{:06d}_{:06d}.mkv", "{}_{}_{}.webm", "x [{}] {}.mp4"])
VIDEOS = st.dictionaries(
    IDS, st.lists(st.integers(0, 9000), min_size=1, max_size=4, unique=True), min_size=4, max_size=9
)


@settings(max_examples=60, deadline=None)
@given(videos=VIDEOS, data=st.data(), listed=st.booleans())
def test_cuts_of_one_video_never_part(tmp_path_factory, videos, data, listed):
    root = tmp_path_factory.mktemp("cuts")
    truth: dict[str, str] = {}
    for video_id, starts in videos.items():
        pattern = data.draw(NAMES)
        for start in starts:
            folder = data.draw(st.sampled_from(CLASSES))
            path = f"{folder}/{pattern.format(video_id, start, start + 10)}"
            (root / folder).mkdir(exist_ok=True)
            (root / path).touch()
            truth[path] = video_id
    findings = Findings()
    if listed:
        lines = ["file,class", *(f"{path},{path.split('/')[0]}" for path in truth)]
        (root / "clips.csv").write_text("\n".join(lines))
        rows = read_candidates(root, root / "clips.csv", CLASSES, findings)
    else:
        rows = scan_folder(root, CLASSES, findings)
    assert {row["path"]: row["video_id"] for row in rows} == truth
    assert findings.video_ids == {"list": 0, "name": len(truth), "file": 0}
    for row in rows:
        row.update(source="folder", group=row["clip_id"])
    splits = assign_splits(rows, (0.5, 0.25, 0.25))
    for video_id in videos:
        assert len({splits[r["clip_id"]] for r in rows if r["video_id"] == video_id}) == 1


def test_a_list_has_the_last_word(tmp_path):
    (tmp_path / "clips.csv").write_text(
        "file,class,video_id,start_s\nabcdefghijk_000010.mp4,dog,v,\nabcdefghijk_000030.mp4,dog,,5\n"
        "other.mp4,cat,,\n"
    )
    findings = Findings()
    rows = read_candidates(tmp_path, tmp_path / "clips.csv", CLASSES, findings)
    assert [(r["video_id"], r["start_s"]) for r in rows] == [
        ("abcdefghijk", 5.0),
        ("other", 0.0),
        ("v", 10.0),
    ]
    assert findings.video_ids == {"list": 1, "name": 1, "file": 1}
    assert any("1 of 3 clips count as a video of their own" in line for line in findings.lines())
