"""The first screen: every claim is one that the tests allow, and names its section."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.schema import Config
from nano4m_audio.filters import FILTERS
from nano4m_audio.report import answers
from nano4m_audio.report.answers import (
    did_sound_learn,
    does_it_make_things,
    judged,
    what_sound_tells,
)
from nano4m_audio.report.collect import collect
from nano4m_audio.report.proposals import near_threshold
from nano4m_audio.report.stage import render
from nano4m_audio.report.truth import Share
from tests.report.fake import HOSTILE, Fate, default_fates, write_results, write_truth

SYNTHETIC = Config().model_dump(mode="json")
REAL = Config.model_validate({"source": "folder"}).model_dump(mode="json")


def metric(name="audio_top1", value=0.5, low=0.3, high=0.7, verdict="better", other=0.1, **more):
    """A share of 20 clips in 15 groups; chance is 0.09."""
    compared = {"verdict": verdict, "value": other, "gain": value - other, "p": 0.01}
    return {
        "name": name, "value": value, "low": low, "high": high, "n": 20, "groups": 15,
        "chance": 0.09, "unit": "accuracy", "baseline": compared, **more,
    }  # fmt: skip


def classes(**facts):
    return {"classes": {"metrics": [metric(**facts)]}}


@pytest.mark.parametrize(
    ("facts", "short", "words"),
    [
        ({}, "Yes", "10 of 20 synthetic test clips is named right (30\u202f% to 70\u202f%)"),
        ({"verdict": "unclear"}, "No better than the guess", "no better than always naming"),
        ({"verdict": "chance"}, "No better than the guess", "no better than always naming"),
        ({"other": 0.35}, "No better than the guess", "no better than always naming"),
        ({"low": 0.05}, "No better than the guess", "no better than always naming"),
        ({"verdict": "worse", "other": 0.9}, "Worse than the guess", "worse than always naming"),
        ({"verdict": "too few"}, "Too few clips to say", "fewer than 10"),
        ({"low": None, "high": None}, "Too few clips to say", "fewer than 10"),
    ],
)  # fmt: skip
def test_a_claim_of_learning_needs_the_test_and_the_whole_interval(facts, short, words):
    answer = did_sound_learn(classes(**facts), SYNTHETIC)
    assert answer.short == short and words in answer.sentences[0].text
    assert answer.sentences[0].sections == ("metrics-classes",)
    assert ("better than" in answer.sentences[0].text.replace("no better than", "")) == (not facts)


@given(
    verdict=st.sampled_from(["better", "chance", "unclear", "worse", "too few"]),
    low=st.none() | st.floats(0, 1),
    other=st.floats(0, 1),
)
def test_better_is_never_said_inside_an_interval(verdict, low, other):
    found = judged(metric(verdict=verdict, low=low, other=other))
    if found == "better":
        assert verdict == "better" and low > other and low > 0.09


def test_without_its_probe_nothing_is_claimed():
    answer = did_sound_learn({}, SYNTHETIC)
    assert answer.short == "Not measured" and "has run" in answer.sentences[0].text
    assert judged(None) == "absent"


def test_real_clips_are_not_called_synthetic():
    real = did_sound_learn(classes(), REAL).sentences[0].text
    assert "20 test clips" in real and "synthetic" not in real


def direction(target, value=1.0, p_holm=0.01, low=0.5, gain_p=0.01, source="audio"):
    one = {"value": value, "p_holm": p_holm, "low": low, "high": 2.0}
    return {
        "source": source, "target": target, "beyond_counts": one,
        "gain": {**one, "value": 1.0, "low": 0.5, "p_holm": gain_p},
    }  # fmt: skip


def tells(*directions):
    return what_sound_tells({"gain": {"directions": list(directions)}}, 0.05)


def test_what_sound_tells_needs_both_corrected_tests():
    assert tells(direction("caption")) == (
        "Given the sound, the model saves 1.00 nats a token of captions (p = 0.010) against "
        "counting."
    )
    none = "Given the sound, the model knows of depth no more than counting does."
    for row in (
        direction("depth", p_holm=0.06),
        direction("depth", gain_p=0.06),
        direction("depth", low=-0.1),
        direction("depth", value=-1.0, low=-2.0),  # clearly worse than counting
    ):
        assert tells(row) == none
    assert tells(direction("depth", p_holm=None)).endswith("cannot be told from so few clips.")
    assert tells(direction("depth", source="rgb")) == tells() == ""
    both = tells(direction("caption", p_holm=0.0001), direction("rgb", p_holm=1.0))
    assert "(p < 0.001)" in both and both.endswith(
        "; of pictures it knows no more than counting does."
    )


def external(**verdicts):
    rows = [
        metric(f"{name}_top1", verdict=v, floor=0.0, ceiling=1.0) for name, v in verdicts.items()
    ]
    return {"external": {"metrics": rows}}


def test_generation_stands_between_floor_and_ceiling():
    both = does_it_make_things(
        external(caption_to_audio_tag="better", audio_to_rgb_prompt="unclear"), SYNTHETIC
    )
    assert both.short == "In part"
    assert both.sentences[0].text == (
        "A judge recognises the class in sounds made from captions: 10 of 20 (30\u202f% to "
        "70\u202f%; real clips 100\u202f%, those of other classes 0\u202f%); pictures from sounds "
        "(10 of 20) are no better than the guess."
    )
    short = lambda **verdicts: does_it_make_things(external(**verdicts), SYNTHETIC).short  # noqa: E731
    assert short(caption_to_audio_tag="better") == "Yes"
    assert short(caption_to_audio_tag="unclear") == "No better than the guess"
    assert short(caption_to_audio_tag="too few") == "Too few clips to say"
    assert does_it_make_things({}, SYNTHETIC).short == "Not measured"


def test_judges_of_the_synthetic_world_say_nothing_of_real_clips():
    evaluation = external(caption_to_audio_tag="better", caption_to_rgb_prompt="better")
    blind = does_it_make_things(evaluation, REAL)
    assert blind.short == "Not known" and "score.audio and score.visual" in blind.sentences[0].text
    other = Config.model_validate(
        {"source": "folder", "score": {"audio": {"backend": "yamnet"}}}
    ).model_dump(mode="json")
    half = does_it_make_things(evaluation, other)
    assert half.short == "Yes" and "pictures" not in half.sentences[0].text


def last_two(content):
    return content.answers[2], content.answers[3]


def test_without_truth_nobody_knows_whether_the_data_is_clean(tmp_path):
    clean, change = last_two(collect(write_results(tmp_path, default_fates(("pig", "cow")))))
    assert clean.short == "Not known" and "is not known" in clean.sentences[0].text
    assert clean.sentences[0].sections == ("funnel", "split")
    assert "none of the 1 test clips has a copy" in clean.sentences[0].text
    assert "1 independent groups of test clips are too few" in change.sentences[0].text
    assert len(change.sentences) <= 2


def test_with_truth_it_is_counted(tmp_path):
    fates = [Fate("pig", split=s) for s in ("train", "val", "test")] + [Fate("cow", "speech")] * 3
    inputs = write_results(tmp_path, fates)
    rows = [(f"media/clip{i:04d}.mp4", "good", "keep", "") for i in (0, 1, 3)]
    rows.append(("media/clip0002.mp4", "noise", "reject", ""))
    inputs = dataclasses.replace(inputs, truth_csv=write_truth(tmp_path / "t.csv", rows))
    clean, change = last_two(collect(inputs))
    assert clean.short == "66.7\u202f% of it belongs"
    assert "2 of 3 kept clips belong and 2 of 3 that do are kept" in clean.sentences[0].text
    assert "truth" in clean.sentences[0].sections
    assert (
        "2 clips are on the wrong side (1 wrongly kept, 1 wrongly lost)" in change.sentences[1].text
    )


def test_models_of_the_synthetic_world_do_not_clean_real_clips(tmp_path):
    real = collect(write_results(tmp_path, [Fate("pig")] * 3, config={"source": "folder"}))
    clean = real.answers[2]
    assert clean.short == "Not known" and "judge real clips blindly" in clean.sentences[0].text


def test_copies_in_the_test_set_come_first(tmp_path):
    inputs = write_results(tmp_path, default_fates(("pig", "cow")))
    content = collect(inputs)
    leak = content.sections["split"].leak
    copied = dataclasses.replace(leak, copies=["clip0008"])
    split = dataclasses.replace(content.sections["split"], leak=copied)
    clean, change = answers.collect(inputs, {**content.sections, "split": split})[2:]
    assert clean.short == "No: test clips are copies"
    assert change.sentences[0].text.startswith("Take the copies (1) out")


def test_proposals_follow_from_numbers(tmp_path):
    """Enough test groups: the filter that alone rejects most, then the shortest class."""
    fates = [Fate("pig", split="test")] * 12 + [Fate("cow")] * 12 + [Fate("dog")] * 2
    fates += [Fate("pig", "speech")] * 4 + [Fate("pig", "silent")] * 2
    change = collect(write_results(tmp_path, fates)).answers[3]
    assert (
        "what the speech filter rejects: it alone stops 4 clips that pass"
        in change.sentences[0].text
    )
    assert change.sentences[0].sections == ("funnel",)
    assert change.sentences[1].text == (
        "Get more clips of dog: 2 are kept, the middle class has 12."
    )


def test_where_no_good_clip_is_lost_no_looser_filter_is_proposed(tmp_path):
    fates = [Fate("pig", split="test")] * 12 + [Fate("cow")] * 12 + [Fate("pig", "speech")] * 4
    inputs = write_results(tmp_path, fates)
    rows = [(f"media/clip{i:04d}.mp4", "k", "keep" if i < 24 else "reject", "") for i in range(28)]
    inputs = dataclasses.replace(inputs, truth_csv=write_truth(tmp_path / "t.csv", rows))
    content = collect(inputs)
    assert content.answers[2].short == "All that is kept belongs"
    assert [s.text for s in content.answers[3].sentences] == [
        "Nothing stands out in the numbers of this run."
    ]
    assert content.sections["truth"].recall == Share(
        24, 24, content.sections["truth"].recall.interval
    )


def test_clips_on_a_threshold_are_not_near_it(tmp_path):
    clips = collect_clips(tmp_path)
    speech, sound = (next(r for r in FILTERS if r.key == k) for k in ("speech_max", "audio_min"))
    level = next(r for r in FILTERS if r.key == "level_min_dbfs")
    assert near_threshold(clips, speech, Verdict()) == ((0, 0), len(clips))
    scored = [c.verdict["audio_score"] for c in clips]
    limit = sorted(scored)[len(scored) // 2] + 0.01
    (below, above), n = near_threshold(clips, sound, Verdict(audio_min=limit))
    assert below == sum(limit - 0.05 <= s < limit for s in scored) > 0 and n == len(clips)
    assert above == sum(limit < s <= limit + 0.05 for s in scored)
    assert near_threshold(clips, level, Verdict())[1] == 0  # loudness has another scale


def collect_clips(tmp_path):
    return write_results(tmp_path, [Fate("pig")] * 40).clips


def test_every_sentence_links_to_a_section_that_is_there(tmp_path):
    inputs = write_results(tmp_path, [Fate(HOSTILE)] * 2 + default_fates(("pig", "cow")))
    content = collect(inputs)
    page = render(content)
    sentences = [s for answer in content.answers for s in answer.sentences]
    assert 3 <= len(sentences) <= 6
    for name in {name for s in sentences for name in s.sections}:
        assert f'<a href="#{name}">' in page and f'id="{name}"' in page
    assert page.index('class="answers"') < page.index('id="funnel"')


def test_a_table_of_the_evaluation_links_to_its_numbers(tmp_path):
    inputs = write_results(tmp_path, default_fates(("pig", "cow")))
    page = render(collect(inputs))
    for probe in ("classes", "cross_entropy", "structure"):
        assert f'href="evaluation/base/{probe}.json"' in page
        json.loads((inputs.results / f"evaluation/base/{probe}.json").read_text())
    assert 'aria-label="Naming the class: metric"' in page
