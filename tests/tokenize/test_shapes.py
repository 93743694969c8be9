"""Tokenizers with other numbers of tokens, codebooks and sample rates need no other tables."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from nano4m_audio.backends.registry import MAX_VOCAB, REGISTRY, BackendSpec
from nano4m_audio.config.grids import overlaid
from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.config.schema import Config
from nano4m_audio.config.tokenizers import TokenizeSettings
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import modality_table, train_settings
from nano4m_audio.media.windows import window_samples
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import count_tokens, read_clips
from nano4m_audio.tables import read_rows
from nano4m_audio.tokenize.interleave import deinterleave
from nano4m_audio.tokenize.stage import tokenize_clips
from nano4m_audio.training.token_sets import read_token_sets
from tests.conftest import ROOT
from tests.report.fake import Fate, write_results
from tests.tokenize import codecs

SHAPES = {"OneBook": (1, 256), "OddFrames": (2, 171), "NineBooks": (9, 294)}


def register(monkeypatch: pytest.MonkeyPatch, name: str, n_tokens: int | None = None) -> None:
    books, frames = SHAPES[name]
    spec = BackendSpec(
        f"tests.tokenize.codecs:{name}",
        vocab_size=books * 1024,
        n_tokens=n_tokens or books * frames,
        n_codebooks=books,
    )
    monkeypatch.setitem(REGISTRY["audio_tokenizer"], name, spec)


def tokenize(results: Results, name: str) -> None:
    for shard in ("0000", "0001"):
        tokenize_clips(results, shard, TokenizeSettings(modality="audio", backend=name))


@pytest.mark.parametrize("name", SHAPES)
def test_audio_tokens_of_any_shape_reach_the_engine(tmp_path, monkeypatch, name):
    register(monkeypatch, name)
    fates = [Fate("pig"), Fate("cow"), Fate("dog", split="val")]
    results = Results(write_results(tmp_path, fates, heavy=True).results)
    tokenize(results, name)
    books, frames = SHAPES[name]
    config = Config.model_validate({"tokenize": {"audio": name}})
    modalities = [Modality(**row) for row in modality_table(config)]
    audio = next(m for m in modalities if m.name == "audio")
    assert (audio.vocab_size, audio.max_tokens) == (books * 1024, books * frames)
    assert audio.span_stride == books
    sets = read_token_sets(results.split, results.token_files(2), modalities, results.store)
    tokens = sets["train"].data.arrays[modalities.index(audio)]
    assert tokens.shape == (2, 1, books * frames)
    rows = read_rows(results.table("tokens/audio", "0000"), "tokens/audio")
    assert rows[0]["tokens"] == tokens[0].tolist()
    codec = getattr(codecs, name)()
    codes = deinterleave(tokens[:, 0].astype(np.int64), books, 1024)
    assert codes.shape == (2, books, frames)
    assert codec.decode(codes).shape[1] >= window_samples(codec.sample_rate_hz)
    assert count_tokens(results.root, read_clips(results.root))["audio"] == 3 * books * frames


def test_a_wrong_row_of_the_registry_is_one_line(tmp_path, monkeypatch):
    register(monkeypatch, "OneBook", n_tokens=512)
    results = Results(write_results(tmp_path, [Fate("pig")], heavy=True).results)
    with pytest.raises(UserError, match=r"OneBook makes tokens \[1, 256\] of a clip, not the \["):
        tokenize(results, "OneBook")


def test_tokens_of_another_tokenizer_are_named_when_they_are_read(tmp_path, monkeypatch):
    register(monkeypatch, "OneBook")
    results = Results(write_results(tmp_path, [Fate("pig"), Fate("cow")], heavy=True).results)
    tokenize(results, "OneBook")
    modalities = [Modality(**row) for row in modality_table(Config())]
    with pytest.raises(UserError, match=r"clip 'clip0000' has 256 tokens in a row, not 512"):
        read_token_sets(results.split, results.token_files(2), modalities, results.store)


def test_more_ids_than_the_tables_hold_are_refused(monkeypatch):
    spec = BackendSpec("nowhere:Huge", vocab_size=MAX_VOCAB + 1)
    monkeypatch.setitem(REGISTRY["rgb_tokenizer"], "huge", spec)
    with pytest.raises(UserError, match=r"tokenize.rgb: huge has 65,537 ids .* 16 bits"):
        parse_workflow({"tokenize": {"rgb": "huge"}})


@pytest.mark.parametrize("wanted", [514, 511])
def test_an_audio_window_that_no_tokenizer_makes_is_refused(wanted):
    with pytest.raises(UserError, match="at most 512 and a multiple of 2"):
        parse_workflow({"experiments": {"base": {"data": {"audio_tokens": wanted}}}})


def test_the_mini_codec_takes_the_window_that_the_stage_cuts():
    from nano4m_audio.backends.mini.codec import SAMPLE_RATE_HZ, WINDOW_SAMPLES

    assert window_samples(SAMPLE_RATE_HZ) == WINDOW_SAMPLES


@pytest.mark.parametrize(
    ("name", "vocab_size", "n_tokens", "stride"),
    [("xcodec", 1024, 171, 1), ("wavtokenizer", 4096, 256, 1), ("mimi", 16_384, 344, 8)],
)
def test_a_lever_changes_the_audio_tokens_of_the_paper_alone(name, vocab_size, n_tokens, stride):
    paper, lever = (
        yaml.safe_load((ROOT / f"configs/{file}.yaml").read_text())
        for file in ("paper", f"lever_{name}")
    )
    settings = [
        train_settings(parse_workflow(values), "base").model_dump()
        for values in (paper, overlaid(paper, lever))
    ]
    by_name = [{m["name"]: m for m in s["model"].pop("modalities")} for s in settings]
    assert settings[0] == settings[1]
    audio = by_name[1].pop("audio")
    assert by_name[0].pop("audio") != audio and by_name[0] == by_name[1]
    found = audio["vocab_size"], audio["max_tokens"], audio["span_stride"]
    assert found == (vocab_size, n_tokens, stride)
