"""LAION CLAP: embeddings equal those of transformers' ClapModel and feature extractor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.backends.clap import ClapAudio
from nano4m_audio.backends.compute import Compute
from nano4m_audio.media import windows
from tests.backends.rows import check_rows_do_not_depend_on_batches

pytestmark = pytest.mark.slow
#: preprocessor_config.json of laion/clap-htsat-unfused.
PUBLISHED: dict[str, Any] = {
    "feature_size": 64,
    "sampling_rate": 48_000,
    "hop_length": 480,
    "max_length_s": 10,
    "fft_window_size": 1024,
    "frequency_min": 50,
    "frequency_max": 14_000,
    "padding": "repeatpad",
    "truncation": "rand_trunc",
}


@pytest.fixture(scope="module")
def embedder(random_checkpoint):
    folder, _ = random_checkpoint("clap")
    return ClapAudio.load(Compute(), folder)


def check_parity(embedder, network, waveforms):
    from transformers import ClapFeatureExtractor

    extractor, rows = ClapFeatureExtractor(**PUBLISHED), []
    with torch.no_grad():
        for waveform in waveforms:
            inputs = extractor(waveform, sampling_rate=48_000, return_tensors="pt")
            rows.append(network.get_audio_features(**inputs).pooler_output)
    wanted = torch.cat(rows).numpy()
    assert (wanted @ wanted.T).min() < 0.999  # the sounds are told apart
    found = embedder.embed(waveforms)
    assert found.shape == (len(waveforms), 512)
    assert np.abs(found - wanted).max() <= 1e-4


def test_embeddings_equal_transformers_on_tones(embedder, random_checkpoint, sounds):
    check_parity(embedder, random_checkpoint("clap")[1], sounds(163_840, 48_000)[:3])


def test_embeddings_equal_transformers_on_real_sound(embedder, random_checkpoint, real_windows):
    check_parity(embedder, random_checkpoint("clap")[1], windows.resample(real_windows[:3], 48_000))


def test_rows_do_not_depend_on_batches(embedder, sounds):
    check_rows_do_not_depend_on_batches(embedder.embed, sounds(163_840, 48_000)[:3])


def test_more_than_it_hears_is_an_error(embedder):
    with pytest.raises(ValueError, match="more than the 10 s"):
        embedder.embed(np.zeros((1, 480_001), np.float32))
