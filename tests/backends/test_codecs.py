"""The codecs of transformers: codes and sound equal the package's own, on the files it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import random_weights
from nano4m_audio.backends.codec import CONFIG, WEIGHTS, TransformersCodec
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.mimi import Mimi
from nano4m_audio.backends.registry import REGISTRY
from nano4m_audio.backends.wavtokenizer import WavTokenizer, WavTokenizer40Hz
from nano4m_audio.backends.xcodec import Xcodec1, Xcodec2
from nano4m_audio.errors import UserError
from nano4m_audio.media import windows
from nano4m_audio.tokenize.interleave import decode_ids, interleave
from tests.backends.rows import check_rows_do_not_depend_on_batches

pytestmark = pytest.mark.slow
Kind = type[TransformersCodec]
WAV_40 = partial(random_weights.wavtokenizer, ratios=(6, 5, 5, 4))
WRITERS: dict[Kind, Callable[..., Any]] = {
    Xcodec1: random_weights.xcodec,
    Xcodec2: random_weights.xcodec,
    WavTokenizer: random_weights.wavtokenizer,
    WavTokenizer40Hz: WAV_40,
    Mimi: random_weights.mimi,
}
#: Their names in a config, and the shape of a window: codebooks x frames, ids of a codebook.
NAMES = {
    "xcodec1": (Xcodec1, 1, 171, 1024),
    "xcodec2": (Xcodec2, 2, 171, 1024),
    "wavtokenizer": (WavTokenizer, 1, 256, 4096),
    "wavtokenizer_40hz": (WavTokenizer40Hz, 1, 137, 4096),
    "mimi": (Mimi, 8, 43, 2048),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Callable[[Kind], tuple[Path, Any]]:
    """A function: codec -> (folder as published, the package's own network), thin ones."""
    made: dict[Any, tuple[Path, Any]] = {}

    def write(kind: Kind) -> tuple[Path, Any]:
        writer = WRITERS[kind]
        if writer not in made:
            folder = tmp_path_factory.mktemp("codec")
            made[writer] = folder, writer(folder, small=True)
        return made[writer]

    return write


@pytest.fixture(params=WRITERS, ids=lambda kind: kind.__name__)
def kind(request) -> Kind:
    return request.param


@pytest.fixture
def codec(kind, written) -> TransformersCodec:
    return kind.load(Compute(), written(kind)[0])


def window_of(sounds, codec: TransformersCodec) -> np.ndarray:
    return sounds(windows.window_samples(codec.sample_rate_hz), codec.sample_rate_hz)


def upstream_codes(codec: TransformersCodec, net: Any, waveform: np.ndarray) -> np.ndarray:
    """What the package makes of one waveform, its own feature extractor first."""
    from transformers import (
        DacFeatureExtractor,
        EncodecFeatureExtractor,
        WavTokenizerFeatureExtractor,
    )

    if isinstance(codec, Mimi):
        inputs = EncodecFeatureExtractor(sampling_rate=24_000)(
            waveform, sampling_rate=24_000, return_tensors="pt"
        )
        return net.encode(inputs["input_values"], num_quantizers=8).audio_codes.numpy()
    if isinstance(codec, WavTokenizer):
        extractor = WavTokenizerFeatureExtractor(hop_length=codec.frame_samples)
        inputs = extractor(waveform, sampling_rate=24_000, return_tensors="pt")
        return net.encode(inputs["input_values"]).audio_codes.numpy()
    dac = DacFeatureExtractor(sampling_rate=16_000, hop_length=320)
    inputs = dac(waveform, sampling_rate=16_000, return_tensors="pt")
    bandwidth = 0.5 * codec.n_codebooks
    return net.encode(inputs["input_values"], bandwidth=bandwidth).audio_codes.numpy()


def check_parity(codec: TransformersCodec, net: Any, waveforms: np.ndarray) -> None:
    with torch.no_grad():
        wanted = np.concatenate([upstream_codes(codec, net, row) for row in waveforms])
    for book in wanted.transpose(1, 0, 2):
        assert len(np.unique(book)) > 20  # many entries are in use
    codes = codec.encode(waveforms)
    assert codes.dtype == np.int32 and codes.shape == wanted.shape
    # The last bits of a latent may differ, and with them a near tie of two entries.
    assert (codes[:, 0] == wanted[:, 0]).mean() > 0.99
    assert (codes == wanted).mean() > 0.98
    with torch.no_grad():
        sound = [net.decode(torch.from_numpy(row[None])) for row in wanted]
    heard = torch.cat([s.audio_values.reshape(1, -1) for s in sound]).numpy()
    found = codec.decode(wanted)
    assert found.dtype == np.float32
    assert found.shape == (len(wanted), wanted.shape[2] * codec.frame_samples) == heard.shape
    assert np.abs(heard[0] - heard[1]).max() > 1e-3 * np.abs(heard).max()  # told apart
    assert np.abs(found - heard).max() <= 1e-4 * np.abs(heard).max()


def test_codes_and_sound_equal_the_package(codec, kind, written, sounds):
    check_parity(codec, written(kind)[1], window_of(sounds, codec))


def test_codes_and_sound_of_real_sound_equal_the_package(codec, kind, written, real_windows):
    resampled = windows.resample(real_windows[:3], codec.sample_rate_hz)
    samples = windows.window_samples(codec.sample_rate_hz)
    check_parity(codec, written(kind)[1], windows.fit_length(resampled, samples))


def test_the_networks_of_full_size_run(kind, sounds, tmp_path):
    net = WRITERS[kind](tmp_path)
    codec = kind.load(Compute(), tmp_path)
    check_parity(codec, net, window_of(sounds, codec)[:2])


def test_rows_do_not_depend_on_batches(codec, sounds):
    waveforms = window_of(sounds, codec)
    check_rows_do_not_depend_on_batches(codec.encode, waveforms)
    check_rows_do_not_depend_on_batches(codec.decode, codec.encode(waveforms))


def test_ids_of_a_window_decode_to_a_window(codec, sounds):
    waveforms = window_of(sounds, codec)
    codes = codec.encode(waveforms)
    ids = interleave(codes, codec.codebook_size)
    sound = decode_ids(codec, ids)
    assert sound.shape == waveforms.shape
    assert np.array_equal(sound, codec.decode(codes)[:, : waveforms.shape[1]])


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_says_what_a_window_becomes(name, written, sounds):
    kind, books, frames, size = NAMES[name]
    spec = REGISTRY["audio_tokenizer"][name]
    assert spec.target.endswith(f":{kind.__name__}")
    assert (spec.n_codebooks, spec.n_tokens) == (books, books * frames)
    assert spec.vocab_size == books * size <= 1 << 16
    codec = kind.load(Compute(), written(kind)[0])
    assert (codec.n_codebooks, codec.codebook_size) == (books, size)
    codes = codec.encode(window_of(sounds, codec)[:1])
    assert codes.shape == (1, books, frames) and codes.max() < size


def test_two_codebooks_begin_with_the_one(written, sounds):
    one, two = (kind.load(Compute(), written(kind)[0]) for kind in (Xcodec1, Xcodec2))
    waveforms = window_of(sounds, one)
    assert np.array_equal(one.encode(waveforms), two.encode(waveforms)[:, :1])


def test_it_stays_in_float32_whatever_is_asked_for(codec, kind, written, sounds):
    reduced = kind.load(Compute(dtype="bfloat16"), written(kind)[0])
    waveforms = window_of(sounds, codec)[:1]
    assert np.array_equal(reduced.encode(waveforms), codec.encode(waveforms))


def test_less_than_a_frame_is_an_error(codec):
    with pytest.raises(ValueError, match="are no frame of"):
        codec.encode(np.zeros((1, codec.frame_samples - 1), np.float32))


def changed(written: Path, folder: Path, config: dict[str, Any] | None = None) -> Path:
    """A copy of a checkpoint with other keys in its config."""
    values = json.loads((written / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**values, **(config or {})}))
    (folder / WEIGHTS).write_bytes((written / WEIGHTS).read_bytes())
    return folder


def test_code_that_a_config_names_is_not_fetched(codec, kind, written, tmp_path, sounds):
    hostile = {
        "auto_map": {"AutoModel": "evil/repo--modeling.Evil"},
        "attn_implementation": "evil/kernels",
        "_attn_implementation": "evil/kernels",
        "quantization_config": {"quant_method": "bitsandbytes"},
        "torch_dtype": "float16",
        "dtype": "float16",
    }
    own = kind.load(Compute(), changed(written(kind)[0], tmp_path, hostile))
    waveforms = window_of(sounds, codec)[:1]
    assert np.array_equal(own.encode(waveforms), codec.encode(waveforms))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "encodec"}, "is the config of a network 'encodec', not 'wavtokenizer'"),
        ({"sampling_rate": 16_000}, "is of another codec: 16000 Hz, frames of 320 samples"),
        ({"upsampling_ratios": [6, 5, 5, 4]}, "another codec: 24000 Hz, frames of 600 samples"),
        ({"codebook_size": 512}, "is of another codec"),
        ({"codebook_dim": 7}, "is no config of wavtokenizer"),
        ({"num_filters": "many"}, "is no config of wavtokenizer"),
        ({"decoder_hidden_size": 32}, "holds the weights of another network"),
    ],
)
def test_another_config_is_one_line(written, tmp_path, config, message):
    folder = changed(written(WavTokenizer)[0], tmp_path, config)
    with pytest.raises(UserError, match=message) as error:
        WavTokenizer.load(Compute(), folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "null", "{", "\udcff"])
def test_a_config_that_is_none_is_one_line(written, tmp_path, text):
    folder = changed(written(WavTokenizer)[0], tmp_path)
    (folder / CONFIG).write_text(text, "utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=r"config.json is not a config of a network"):
        WavTokenizer.load(Compute(), folder)


def test_a_missing_tensor_is_one_line(kind, written, tmp_path):
    folder = changed(written(kind)[0], tmp_path)
    tensors = load_file(folder / WEIGHTS)
    books = [key for key in tensors if key.endswith(("codebook.embed", "codebook.embed_sum"))]
    del tensors[books[0]]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(UserError, match="lacks 1 tensors"):
        kind.load(Compute(), folder)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_one_line(written, tmp_path, name):
    folder = changed(written(WavTokenizer)[0], tmp_path)
    (folder / name).unlink()
    with pytest.raises(UserError, match="no such file; fetch it again"):
        WavTokenizer.load(Compute(), folder)
