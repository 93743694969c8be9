"""What a generation starts from: clips of a folder, and sounds, pictures and text of a user."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from PIL import Image

from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.backends import registry
from nano4m_audio.errors import UserError
from nano4m_audio.generation import given
from nano4m_audio.generation.make import wav
from nano4m_audio.media import windows
from nano4m_audio.media.stored import read_audio
from nano4m_audio.nano4m.generate import NOTHING
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import Results
from nano4m_audio.shards import set_shards
from tests.tokens import MODALITIES, token_row, write_tokens

RGB, AUDIO, _, _, CAPTION = MODALITIES


@pytest.fixture
def results(tmp_path: Path) -> Results:
    failed = {("rgb", "broken"): {"status": "failed", "reason": "tokenize_failed", "tokens": None}}
    write_tokens(tmp_path, dict.fromkeys(["first", "second", "broken"], "test"), changed=failed)
    set_shards(tmp_path, 2)
    return Results(tmp_path)


def test_tokens_of_clips_come_in_the_order_asked_for(results) -> None:
    found = given.clip_ids(results, ["second", "first"], RGB, 3)
    expected = [token_row(clip, "rgb")["tokens"][3] for clip in ("second", "first")]
    np.testing.assert_array_equal(found, expected)
    captions = given.clip_ids(results, ["first"], CAPTION, 3)
    ids = token_row("first", "caption")["tokens"]
    assert captions[0, : len(ids)].tolist() == ids and (captions[0, len(ids) :] == NOTHING).all()
    np.testing.assert_array_equal(  # there is one sound for all keyframes
        given.clip_ids(results, ["first"], AUDIO, 9)[0], token_row("first", "audio")["tokens"][0]
    )


@pytest.mark.parametrize(
    ("clip", "modality", "message"),
    [
        ("fist", RGB, "did you mean 'first'"),
        ("broken", RGB, "'broken' has no rgb tokens"),
        ("first", Modality("rgb", 5, 196), "only 5 ids"),
    ],
)
def test_missing_and_foreign_tokens_are_one_line(results, clip, modality, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        given.clip_ids(results, [clip], modality, 0)
    assert "\n" not in str(error.value)


def test_a_longer_sequence_is_cut_as_in_training() -> None:
    short = Modality("audio", 2048, 100, 2)
    np.testing.assert_array_equal(given.fitted(np.arange(512), short, "x"), np.arange(100))


@drawn(share=st.floats(0, 1), length=st.integers(0, 64))
def test_what_is_kept_is_a_beginning_in_whole_frames(share, length) -> None:
    ids = np.full((1, 64), NOTHING)
    ids[:, :length] = 5
    stay = int((given.kept(ids, Modality("audio", 10, 64, 2), share) != NOTHING).sum())
    assert stay % 2 == 0 and stay <= length and share * length - 2 < stay <= share * length + 1e-6
    assert (given.kept(ids, Modality("rgb", 10, 64), 1.0) == ids).all()


def stereo(path: Path, seconds: float = 5.0, rate_hz: int = 44_100) -> Path:
    """A WAV of two sides: a rising tone and noise."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    sides = [
        0.4 * np.sin(2 * np.pi * (300 + 200 * t) * t),
        np.random.default_rng(0).normal(0, 0.1, len(t)),
    ]
    samples = (np.stack(sides, axis=1).clip(-1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, rate_hz, len(t), "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def test_a_sound_is_read_as_the_sound_of_a_clip(tmp_path) -> None:
    """The same samples, in a container with a picture, through the decoder of the pipeline."""
    import av

    path = stereo(tmp_path / "a.wav")
    film = tmp_path / "a.mkv"
    with av.open(str(path)) as sound, av.open(str(film), "w") as container:
        video = container.add_stream("mpeg4", rate=5)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=44_100, layout="stereo")
        for _ in range(25):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        for frame in sound.decode(audio=0):
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    expected = read_audio(decode_clip(film).audio_flac)
    for start in (0, 32_000):
        found = given.read_sound(path, start / 32_000)
        assert len(found) == windows.WINDOW_SAMPLES
        np.testing.assert_allclose(found, expected[start:][: len(found)], atol=2e-4)
    assert len(given.read_sound(path, 4.0)) == 32_000  # what is left
    with pytest.raises(UserError, match=r"it has 5.0 s of sound, so no window starts at 5 s"):
        given.read_sound(path, 5.0)


def test_the_ids_of_a_sound_are_those_of_its_window(tmp_path) -> None:
    codec = registry.load("audio_tokenizer", "mini")
    path = stereo(tmp_path / "a.wav", seconds=2.0)  # shorter than the window: silence follows
    ids = given.sound_ids(path, codec)
    assert ids.shape == (512,) and (ids // 1024 == np.arange(512) % 2).all()
    window = windows.cut(given.read_sound(path), 0.0)[None]
    samples = windows.fit_length(windows.resample(window, 24_000), 81_920)
    np.testing.assert_array_equal(codec.encode(samples)[0, 0], ids[::2])


def test_what_is_written_as_wav_is_read_again(tmp_path) -> None:
    tone = 0.5 * np.sin(np.arange(64_000) / 20).astype(np.float32)
    (tmp_path / "a.wav").write_bytes(wav(tone, 32_000))
    np.testing.assert_allclose(given.read_sound(tmp_path / "a.wav"), tone, atol=1e-4)


def picture_file(path: Path, **options) -> Path:
    image = np.random.default_rng(1).integers(0, 256, (300, 240, 3), np.uint8)
    Image.fromarray(image).save(path, **options)
    return path


def test_a_picture_is_cropped_as_keyframes_are(tmp_path) -> None:
    from nano4m_audio.media.crop import square_crop
    from nano4m_audio.tokenize.keyframes import rgb_image

    tokenizer = registry.load("rgb_tokenizer", "mini")
    path = picture_file(tmp_path / "a.png")
    expected = tokenizer.tokenize(rgb_image(square_crop(np.asarray(Image.open(path)))[None]))
    np.testing.assert_array_equal(given.picture_ids(path, tokenizer), expected[0])


def test_pictures_are_upright_and_what_is_transparent_is_white(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = picture_file(tmp_path / "turned.png", exif=exif)
    assert given.read_picture(path).shape == (240, 300, 3)
    clear = Image.new("RGBA", (30, 20), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert (given.read_picture(tmp_path / "clear.png") == 255).all()
    Image.new("L", (30, 20), 7).save(tmp_path / "grey.png")
    assert (given.read_picture(tmp_path / "grey.png") == 7).all()


def cut_picture(path: Path) -> None:
    picture_file(path, format="PNG")
    path.write_bytes(path.read_bytes()[:9000])


HOSTILE = {
    "absent": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("no media\n" * 50),
    "pipe": lambda path: os.mkfifo(path),
    "playlist": lambda path: path.write_text("ffconcat version 1.0\nfile /etc/passwd\n"),
    "cut picture": cut_picture,
    "deep picture": lambda path: Image.new("I;16", (9, 9)).save(path, "PNG"),
    "huge picture": lambda path: Image.new("1", (14_000, 14_000)).save(path, "PNG"),
}


#: A process for every sound takes a second or two.
SOUNDS = ("absent", "text", "pipe", "playlist", "cut picture")


@pytest.mark.parametrize(
    ("kind", "read"),
    [*((k, given.read_picture) for k in HOSTILE), *((k, given.read_sound) for k in SOUNDS)],
)
def test_files_that_cannot_be_used_are_one_line(tmp_path, kind, read) -> None:
    path = tmp_path / "file.bin"
    HOSTILE[kind](path)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "object at" not in str(error.value)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x1b[31m", "\udcff"])
def test_a_caption_is_one_line_of_text(text) -> None:
    with pytest.raises(UserError, match="one line of text"):
        given.text_ids(text, registry.load("text_tokenizer", "gpt2"))


def test_an_empty_sound_says_so(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 32_000, 0, "NONE", ""))
    with pytest.raises(UserError, match="no sound that can be read .it has no sound."):
        given.read_sound(path, 0.0)
