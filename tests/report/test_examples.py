"""The choice of examples, and real decoding of tokens by the mini tokenizers."""

from __future__ import annotations

import dataclasses
import re

import pytest

from nano4m_audio.backends import registry
from nano4m_audio.filters import FILTERS
from nano4m_audio.report import examples
from nano4m_audio.report.inputs import read_clips
from nano4m_audio.report.stage import build_report
from tests.report.fake import HOSTILE, Fate, default_fates, foreign_scripts, write_results

CLASSES = ("pig", "cow", "dog", "cat")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    fates = [*default_fates(CLASSES, 3), Fate("pig", name=f"{HOSTILE}", split="test")]
    return write_results(tmp_path_factory.mktemp("fake"), fates, heavy=True)


@pytest.fixture
def tokenizers():
    for kind in ("rgb_tokenizer", "depth_tokenizer", "normal_tokenizer", "audio_tokenizer"):
        try:
            registry.identity(kind, "mini")
        except FileNotFoundError:
            pytest.skip(
                "the weights of the mini tokenizers are not there: run `snakemake --cores 2 mini`"
            )


def test_examples_go_round_the_classes(world):
    clips = read_clips(world.results)
    chosen = examples.pick(clips, 5)
    assert [c.class_name for c in chosen] == ["cow", "dog", "pig", "cow", "dog"]
    assert chosen == examples.pick(list(reversed(clips)), 5)
    assert all(clip.complete for clip in chosen) and len(set(chosen_ids(chosen))) == 5
    assert len(examples.pick(clips, 1000)) == sum(clip.complete for clip in clips)


def chosen_ids(clips):
    return [clip.clip_id for clip in clips]


def test_rejected_clips_cover_the_reasons(world):
    clips = read_clips(world.results)
    chosen = examples.pick_rejected(clips)
    assert {c.stop for c in chosen} == {*(row.reason for row in FILTERS), "duplicate"}
    many = [dataclasses.replace(c, stop="speech") for c in clips]
    assert len(examples.pick_rejected(many)) == examples.REJECTED_PER_REASON


def test_examples_are_decoded_by_the_real_tokenizers(world, tokenizers, tmp_path):
    made = examples.make_examples(dataclasses.replace(world, threads=1))
    assert [len(e.pictures) for e in made.accepted] == [3, 3, 3]
    assert all(original != again for e in made.accepted for _, original, again in e.pictures)
    assert made.left_out == 0 and len(made.rejected) == len(FILTERS) + 1
    build_report(world, tmp_path / "a.html")
    build_report(world, tmp_path / "b.html")
    page = (tmp_path / "a.html").read_bytes()
    assert page == (tmp_path / "b.html").read_bytes()
    assert len(page) < 12_000_000
    assert b"<audio controls" in page and foreign_scripts(page.decode()) == []
    found = re.findall(r'<(img|audio) [^>]*?(?:alt|aria-label)="([^"]+)"', page.decode())
    assert len(found) == page.count(b"<img ") + page.count(b"<audio ")
    assert len(set(found)) == len(found)  # no two pictures or players have one name


def test_the_page_stays_within_its_budget(world, tokenizers, monkeypatch):
    monkeypatch.setattr(examples, "BUDGET_BYTES", 300_000)
    made = examples.make_examples(dataclasses.replace(world, threads=1))
    assert made.left_out > 0 and len(made.accepted) + made.left_out == 3
