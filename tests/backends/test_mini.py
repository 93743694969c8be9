"""The committed mini backends: shapes, bit-stable rows, determinism, and quality on unseen
scenes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.backends.mini.codec import MiniCodec
from nano4m_audio.backends.mini.dense import MiniDepth, MiniNormals
from nano4m_audio.backends.mini.image_tokenizer import (
    MiniDepthTokenizer,
    MiniNormalTokenizer,
    MiniRgbTokenizer,
)
from nano4m_audio.backends.mini.runtime import WEIGHTS
from nano4m_audio.backends.mini.scorer import MiniImageTextScorer
from nano4m_audio.backends.mini.tagger import MiniEmbedder, MiniTagger
from nano4m_audio.barnyard.streams import CLASSES
from nano4m_audio.errors import UserError

N = 5
RNG_SEED = 3


def _rgb() -> np.ndarray:
    return np.random.default_rng(RNG_SEED).integers(0, 256, (N, 224, 224, 3), np.uint8)


def _images(channels: int) -> np.ndarray:
    shape = (N, channels, 224, 224)
    return np.random.default_rng(RNG_SEED).uniform(-1, 1, shape).astype(np.float32)


def _waveforms(samples: int) -> np.ndarray:
    noise = np.random.default_rng(RNG_SEED).standard_normal((N, samples))
    return (0.1 * noise).astype(np.float32)


def _ids(vocab_size: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(RNG_SEED).integers(0, vocab_size, (N, *shape), np.int32)


# name -> (method of a loaded backend, its input)
METHODS: dict[str, Callable[[], tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]]] = {
    "tag": lambda: (MiniTagger.load().tag, _waveforms(109_227)),
    "embed": lambda: (MiniEmbedder.load().embed, _waveforms(109_227)),
    "embed_images": lambda: (MiniImageTextScorer.load().embed_images, _rgb()),
    "depth": lambda: (MiniDepth.load().estimate, _rgb()),
    "normals": lambda: (MiniNormals.load().estimate, _rgb()),
    "rgb_tokenize": lambda: (MiniRgbTokenizer.load().tokenize, _images(3)),
    "rgb_decode": lambda: (MiniRgbTokenizer.load().decode, _ids(4096, 196)),
    "depth_tokenize": lambda: (MiniDepthTokenizer.load().tokenize, _images(1)),
    "depth_decode": lambda: (MiniDepthTokenizer.load().decode, _ids(1024, 196)),
    "normal_tokenize": lambda: (MiniNormalTokenizer.load().tokenize, _images(3)),
    "normal_decode": lambda: (MiniNormalTokenizer.load().decode, _ids(1024, 196)),
    "codec_encode": lambda: (MiniCodec.load().encode, _waveforms(81_920)),
    "codec_decode": lambda: (MiniCodec.load().decode, _ids(1024, 2, 256)),
}


@pytest.mark.parametrize("name", METHODS)
def test_rows_are_bit_identical_however_they_are_batched(name: str) -> None:
    method, items = METHODS[name]()
    whole = method(items)
    order = np.random.default_rng(0).permutation(N)
    assert np.array_equal(method(items[order]), whole[order])
    pieces = [method(items[:1]), method(items[1:4]), method(items[4:])]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_tagger_protocol() -> None:
    tagger = MiniTagger.load()
    scores = tagger.tag(_waveforms(109_227))
    assert tagger.sample_rate_hz == 32_000 and tagger.labels == CLASSES
    assert scores.shape == (N, len(CLASSES)) and scores.dtype == np.float32
    assert scores.min() >= 0 and scores.max() <= 1


def test_the_tagger_tells_classes_from_what_the_embedder_says() -> None:
    embedder, tagger = MiniEmbedder.load(), MiniTagger.load()
    found = embedder.embed(_waveforms(109_227))
    assert found.shape == (N, 768) and found.dtype == np.float32
    with torch.inference_mode():
        scores = torch.sigmoid(tagger.net.head(torch.from_numpy(found))).numpy()
    assert np.allclose(scores, tagger.tag(_waveforms(109_227)), atol=1e-5)


def test_scorer_protocol() -> None:
    scorer = MiniImageTextScorer.load()
    images = scorer.embed_images(_rgb())
    texts = scorer.embed_texts(["a photo of a pig", "zyxw qwfp", ""])
    assert images.dtype == texts.dtype == np.float32
    assert images.shape[0] == N and texts.shape == (3, images.shape[1])
    assert np.allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1, atol=1e-5)


def test_dense_protocols() -> None:
    depth, normals = MiniDepth.load().estimate(_rgb()), MiniNormals.load().estimate(_rgb())
    assert depth.shape == (N, 224, 224) and depth.dtype == np.float32 and depth.min() >= 0
    assert normals.shape == (N, 224, 224, 3) and normals.dtype == np.float32
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("backend", "channels", "vocab_size"),
    [(MiniRgbTokenizer, 3, 4096), (MiniDepthTokenizer, 1, 1024), (MiniNormalTokenizer, 3, 1024)],
)
def test_image_tokenizer_protocol(backend: Any, channels: int, vocab_size: int) -> None:
    tokenizer = backend.load()
    assert (tokenizer.channels, tokenizer.vocab_size) == (channels, vocab_size)
    tokens = tokenizer.tokenize(_images(channels))
    assert tokens.shape == (N, tokenizer.n_tokens) == (N, 196) and tokens.dtype == np.int32
    assert tokens.min() >= 0 and tokens.max() < vocab_size
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == (N, channels, 224, 224) and decoded.dtype == np.float32
    assert abs(decoded).max() <= 1


def test_codec_protocol() -> None:
    codec = MiniCodec.load()
    assert (codec.sample_rate_hz, codec.n_codebooks, codec.codebook_size) == (24_000, 2, 1024)
    codes = codec.encode(_waveforms(81_920))
    assert codes.shape == (N, 2, 256) and codes.dtype == np.int32
    assert codes.min() >= 0 and codes.max() < 1024
    decoded = codec.decode(codes)
    assert decoded.shape == (N, 81_920) and decoded.dtype == np.float32
    assert abs(decoded).max() <= 1


def test_tokens_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1023"):
        MiniDepthTokenizer.load().decode(np.full((1, 196), 1024))


def test_missing_weights_are_explained(tmp_path) -> None:
    with pytest.raises(UserError, match="snakemake --cores 2 mini"):
        MiniTagger.load(folder=tmp_path)


def test_weights_are_small_and_the_card_describes_them() -> None:
    files = {path.stem: path for path in WEIGHTS.glob("*.safetensors")}
    assert sum(path.stat().st_size for path in files.values()) < 8_000_000
    members = json.loads((WEIGHTS / "card.json").read_text())["members"]
    digests = {k: hashlib.sha256(path.read_bytes()).hexdigest() for k, path in files.items()}
    assert {k: member["sha256"] for k, member in members.items()} == digests
    assert MiniDepth.load().weights_sha256 == MiniNormals.load().weights_sha256 == digests["dense"]


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    from nano4m_audio.minitrain.measure import measure_all

    return measure_all(purpose="test", seed=5, views=44, sounds=44)


@pytest.mark.slow
def test_quality_on_unseen_scenes(measured: dict[str, dict[str, float]]) -> None:
    """The card's requirements with a little slack, because this sample is small."""
    assert measured["tagger"]["top_1"] >= 0.9
    assert measured["tagger"]["false_alarms"] <= 0.15
    assert measured["scorer"]["top_1"] >= 0.9
    assert measured["scorer"]["seen"] >= 0.9
    assert measured["scorer"]["unseen"] >= 0.9
    assert measured["depth"]["abs_rel"] <= 0.12
    assert measured["normals"]["mean_deg"] <= 17
    for name in ("rgb_tokenizer", "depth_tokenizer", "normal_tokenizer"):
        assert measured[name]["psnr_db"] >= 23
        assert measured[name]["codebook_used"] >= 0.2
    assert measured["codec"]["class_kept"] >= 0.75
