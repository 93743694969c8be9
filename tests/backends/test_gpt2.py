"""Captions in the stored form of the published data."""

from __future__ import annotations

import json

import pytest

from nano4m_audio.backends.gpt2 import EOS, PAD, SOS, Gpt2Tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return Gpt2Tokenizer.load()


def test_ids_equal_the_published_ones(tokenizer, shared):
    captions = json.loads((shared / "golden/nano4m_captions/captions.json").read_text())
    compared = 0
    for entry in captions:
        if "[PAD]" in entry["caption"] or "<|" in entry["caption"]:
            continue  # we take these letters as text, see below
        ids = tokenizer.encode(entry["caption"])
        assert ids + [PAD] * (64 - len(ids)) == entry["ids"], entry["caption"]
        compared += 1
    assert compared >= 11


def test_a_class_caption_needs_no_reference(tokenizer):
    assert tokenizer.encode("cat meowing") == [SOS, 9246, 502, 7855, EOS]
    assert tokenizer.decode([SOS, 9246, 502, 7855, EOS]) == "cat meowing"


@pytest.mark.parametrize("text", ["[SOS]", "a [EOS] b", "[PAD]", "<|endoftext|>"])
def test_a_caption_cannot_inject_special_ids(tokenizer, text):
    ids = tokenizer.encode(text)
    assert [i for i in ids if i >= PAD - 1] == [SOS, EOS]
    assert tokenizer.decode(ids) == text


def test_long_captions_keep_the_end_mark(tokenizer):
    ids = tokenizer.encode("moo " * 500)
    assert len(ids) == 64
    assert ids[-1] == EOS
