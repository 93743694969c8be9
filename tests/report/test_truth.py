"""Precision, recall and copies against hand-made truth."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from nano4m_audio.errors import UserError
from nano4m_audio.report.inputs import read_clips
from nano4m_audio.report.truth import collect, compare, read_truth
from tests.report.fake import Fate, write_results, write_truth
from tests.report.test_stage import build


def judged(tmp_path, fates, rows):
    clips = read_clips(write_results(tmp_path, fates, runs=()).results)
    named = [(f"media/clip{i:04d}.mp4", *row) for i, row in enumerate(rows)]
    return compare(clips, read_truth(write_truth(tmp_path / "truth.csv", named)))


def test_precision_recall_and_mistakes(tmp_path):
    fates = [Fate("pig"), Fate("pig", "silent"), Fate("pig"), Fate("pig", "speech"), Fate("pig")]
    truth = judged(
        tmp_path,
        fates,
        [
            ("good", "keep", ""),
            ("good", "keep", ""),
            ("wrong_sound", "reject: other class", ""),
            ("speech", "reject", ""),
            ("audio_short", "either: padding", ""),
        ],
    )
    assert (truth.precision.k, truth.precision.n) == (1, 2)
    assert (truth.recall.k, truth.recall.n) == (1, 2)
    assert truth.either == 1 and truth.unlisted == 0 and truth.unknown == 0
    assert [j.file for j in truth.mistakes] == ["media/clip0002.mp4", "media/clip0001.mp4"]
    kinds = {k["kind"]: k for k in truth.kinds}
    assert kinds["speech"]["reasons"] == [("speech", 1)] and kinds["wrong_sound"]["wrong"] == 1
    assert truth.kinds[0]["kind"] == "good"


def test_a_copy_that_stays_in_place_of_its_original_is_no_mistake(tmp_path):
    fates = [Fate("pig", "duplicate", copy_of=1), Fate("pig", group="clip0001"), Fate("pig")]
    rows = [
        ("good", "keep", ""),
        ("exact_duplicate", "reject", "media/clip0000.mp4"),
        ("good", "keep", ""),
    ]
    truth = judged(tmp_path, fates, rows)
    assert truth.mistakes == []
    assert (truth.precision.k, truth.precision.n) == (2, 2)
    assert (truth.copies["found"].k, truth.copies["found"].n) == (1, 1)
    assert truth.copies["false"] == []


def test_clips_that_are_hard_are_counted_by_how_hard(tmp_path):
    fates = [Fate("pig"), Fate("pig", "silent"), Fate("pig"), Fate("pig", "speech")]
    clips = read_clips(write_results(tmp_path, fates, runs=()).results)
    rows = [("good", "keep", ""), ("far", "keep", ""), ("look_alike", "reject", ""),
            ("look_alike", "reject", "")]  # fmt: skip
    path = write_truth(
        tmp_path / "t.csv", [(f"media/clip{i:04d}.mp4", *row) for i, row in enumerate(rows)]
    )
    truth = read_truth(path)
    assert compare(clips, truth).grades == []
    for row, hard in zip(truth.values(), ("0.0", "0.3", "0.21", "1"), strict=True):
        row["hard"] = hard
    grades = {row["grade"]: row for row in compare(clips, truth).grades}
    found = {name: (row["good"].k, row["good"].n, row["bad"].k, row["bad"].n)
             for name, row in grades.items()}  # fmt: skip
    assert found == {
        "not hard": (1, 1, 0, 0), "0 to 0.2": (0, 0, 0, 0), "0.2 to 0.4": (0, 1, 1, 1),
        "0.4 to 0.6": (0, 0, 0, 0), "0.6 to 0.8": (0, 0, 0, 0), "0.8 to 1": (0, 0, 0, 1),
    }  # fmt: skip
    for wrong in ("hard", "nan", "1.5"):
        truth["media/clip0002.mp4"]["hard"] = wrong
        with pytest.raises(UserError, match=f"clip0002.mp4: hard is {wrong!r}"):
            compare(clips, truth)


def test_mistakes_say_how_hard_the_clip_is(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig", "silent")], runs=())
    rows = [("media/clip0000.mp4", "far", "keep", "")]
    path = write_truth(tmp_path / "truth.csv", rows)
    inputs = replace(inputs, truth_csv=path)

    def mistakes() -> str:
        return build(inputs, tmp_path / "report.html").partition("<h3>Mistakes</h3>")[2]

    assert "how hard" not in mistakes()
    head, row, *_ = path.read_text().splitlines()
    path.write_text(f"{head},hard\n{row},0.3\n")
    assert ">how hard</th>" in mistakes() and re.search(r'<td class="n">0\.3</td>', mistakes())


def test_copies_that_were_missed_or_invented(tmp_path):
    fates = [
        Fate("pig"),
        Fate("pig"),  # a planted copy of 0 that was kept
        Fate("pig", "duplicate", copy_of=0),  # no copy at all
        Fate("pig", "silent"),  # a planted copy that never came that far
    ]
    rows = [
        ("good", "keep", ""),
        ("near_duplicate_shift", "reject", "media/clip0000.mp4"),
        ("good", "keep", ""),
        ("near_duplicate_shift", "reject", "media/clip0000.mp4"),
    ]
    truth = judged(tmp_path, fates, rows)
    assert truth.copies["planted"] == 2 and truth.copies["reachable"] == 1
    assert truth.copies["found"].k == 0
    assert [clip.clip_id for clip in truth.copies["false"]] == ["clip0002"]
    assert {j.clip.clip_id for j in truth.mistakes} == {"clip0001", "clip0002"}


def test_files_and_clips_without_a_partner_are_counted(tmp_path):
    clips = read_clips(write_results(tmp_path, [Fate("pig"), Fate("pig")], runs=()).results)
    rows = [("./media/clip0000.mp4", "good", "keep", ""), ("media/other.mp4", "good", "keep", "")]
    truth = compare(clips, read_truth(write_truth(tmp_path / "t.csv", rows)))
    assert (truth.unlisted, truth.unknown) == (1, 1)
    assert truth.recall.n == 1


def test_bad_truth_files_are_explained(tmp_path):
    path = tmp_path / "truth.csv"
    with pytest.raises(UserError, match="no such truth file"):
        read_truth(path)
    path.write_text("file,class\n")
    with pytest.raises(UserError, match="expected"):
        read_truth(path)
    with pytest.raises(UserError, match="maybe"):
        judged(tmp_path, [Fate("pig")], [("good", "maybe", "")])


def test_shares_have_intervals_over_videos_and_copies(tmp_path):
    """26 of 26 leaves room; the same clips as four groups say too little."""
    rows = [("good", "keep", "")] * 26
    alone = judged(tmp_path / "a", [Fate("pig")] * 26, rows)
    assert alone.recall.k == alone.recall.n == 26
    assert alone.recall.interval == pytest.approx((0.868, 1), abs=5e-4)
    groups = judged(tmp_path / "b", [Fate("pig", group=f"g{i % 4}") for i in range(26)], rows)
    assert groups.recall.n == 26 and groups.recall.interval is None


def test_thresholds_of_single_classes_are_said_beside_the_mistakes(tmp_path):
    verdict = {"per_class": {"cow": {"audio_min": 0.2, "speech_max": None}}}
    inputs = write_results(tmp_path, [Fate("cow")], config={"verdict": verdict}, runs=())
    rows = [("media/clip0000.mp4", "wrong_sound", "reject", "")]
    inputs = replace(inputs, truth_csv=write_truth(tmp_path / "truth.csv", rows))
    found = collect(inputs)
    assert list(found.own) == ["Thresholds of their own: cow (audio_min 0.2, speech_max off)."]
    assert [row.title for row in found.filters] == ["Sound", "Picture", "Speech", "Level"]
    page = build(inputs, tmp_path / "report.html").partition('id="truth"')[2]
    assert found.own[0] in page.partition("</section>")[0]
