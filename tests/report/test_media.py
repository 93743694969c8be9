"""Pictures and sounds in the page: right colours, playable, the same bytes again."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from nano4m_audio.media.colours import colour_depth, colour_normals, image_of
from nano4m_audio.media.playable import spectrogram
from nano4m_audio.report import media


def payload(uri: str, kind: str) -> bytes:
    head, _, data = uri.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(data)


def test_depth_colours_get_lighter_towards_the_viewer():
    colours = colour_depth(np.linspace(-1, 1, 64, dtype=np.float32)[None])[0]
    light = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()


def test_normals_become_colours():
    normal = np.array([0.0, 0.0, -1.0], np.float32)[:, None, None]
    assert colour_normals(normal).tolist() == [[[128, 128, 255]]]  # faces the viewer
    assert colour_normals(normal[[0, 2, 1]]).tolist() == [[[128, 255, 128]]]  # faces up
    assert colour_normals(normal[[2, 0, 1]]).tolist() == [[[255, 128, 128]]]  # faces left
    assert image_of(normal).tolist() == [[[128, 128, 0]]]


def test_mp3_is_playable_deterministic_and_sounds_alike():
    import av

    time = np.arange(81920) / 24000
    tone = (0.4 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    uri = media.mp3_uri(tone, 24000)
    assert uri == media.mp3_uri(tone, 24000)
    data = payload(uri, "audio/mpeg")
    assert len(data) < 30_000
    with av.open(io.BytesIO(data), "r") as container:
        decoded = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        assert container.streams.audio[0].rate == 24000
    assert len(decoded) == pytest.approx(81920, abs=3000)
    loudest = np.argmax(np.abs(np.fft.rfft(decoded[8000:32000]))) * 24000 / 24000
    assert loudest == pytest.approx(440, abs=2)


def test_jpeg_is_scaled_and_deterministic():
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
    uri = media.jpeg_uri(picture, 80, 160)
    assert uri == media.jpeg_uri(picture, 80, 160)
    assert Image.open(io.BytesIO(payload(uri, "image/jpeg"))).size == (160, 160)


def test_a_spectrogram_shows_a_higher_tone_higher():
    time = np.arange(81920) / 24000
    rows = []
    for hz in (300, 1000, 4000):
        image = spectrogram(np.sin(2 * np.pi * hz * time).astype(np.float32), 24000)
        assert image.shape == (72, 336, 3) and image.dtype == np.uint8
        rows.append(int(image.sum((1, 2)).argmax()))
    assert rows == sorted(rows, reverse=True) and len(set(rows)) == 3


def test_silence_has_a_dark_spectrogram():
    image = spectrogram(np.zeros(81920, np.float32), 24000)
    assert image.max() <= colour_depth(np.full((1, 1), -1.0)).max()
