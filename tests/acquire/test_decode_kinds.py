"""Files that hold more or other than one film and its sound: what is decoded, and what is said."""

from __future__ import annotations

import shutil
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from nano4m_audio.acquire.decode import MediaError, decode_clip
from nano4m_audio.media.stored import read_frame
from nano4m_audio.reasons import Reason

from .reels import FPS, ffmpeg, number_of, picture, picture_lags_s, reel, sound, sound_lag_s

pytestmark = pytest.mark.slow
needs_ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="ffmpeg, which makes these files, is not installed"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return reel(tmp_path_factory.mktemp("base") / "a.mp4", seconds=5)


def _is_the_reel(path: Path, seconds: float = 5.0) -> None:
    clip = decode_clip(path)
    assert clip.duration_s == pytest.approx(seconds, abs=0.03)
    assert picture_lags_s(clip).max() < 1 / FPS + 0.03
    late_s, alike = sound_lag_s(clip, 0.2, seconds - 0.2)
    assert late_s < 0.025 and alike > 0.97


def _reason(path: Path) -> tuple[Reason, str]:
    with pytest.raises(MediaError) as caught:
        decode_clip(path)
    return caught.value.reason, str(caught.value)


# Streams that do not decode


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def twice(request, base) -> Path:
    """Two films and two sounds in one file."""
    path = base.with_name(f"twice.{request.param}")
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg, which makes this file, is not installed")
    maps = [part for s in ("0:v", "1:v", "0:a", "1:a") for part in ("-map", s)]
    ffmpeg("-i", base, "-i", base, *maps, "-c", "copy", path)
    return path


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_stream_of_an_unknown_codec_is_passed_over(tmp_path, twice, kind, which):
    names = {"video": (b"avc1", b"V_MPEG4/ISO/AVC"), "audio": (b"mp4a", b"A_AAC")}[kind]
    name = names[twice.suffix == ".mkv"]
    whole = twice.read_bytes()
    # In MP4 the film's name is also a brand of the file, at its start.
    at = [i for i in range(64, len(whole)) if whole.startswith(name, i)]
    assert len(at) == 2
    path = tmp_path / twice.name
    path.write_bytes(whole[: at[which]] + b"zzzz" + whole[at[which] + 4 :])
    _is_the_reel(path)
    if name == b"mp4a":
        return  # what MP4 says elsewhere of its codec still decodes
    whole = path.read_bytes()
    path.write_bytes(whole[: at[1 - which]] + b"zzzz" + whole[at[1 - which] + 4 :])
    assert _reason(path)[0] == (Reason.NO_VIDEO if kind == "video" else Reason.NO_AUDIO)


@pytest.mark.parametrize("garbled", [False, True])
@pytest.mark.parametrize("index", [0, 2])
def test_an_empty_or_garbled_stream_is_passed_over(tmp_path, twice, index, garbled):
    path, rng = tmp_path / twice.name, np.random.default_rng(0)
    with av.open(str(twice)) as source, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None and packet.pts is None:
                continue
            at = packet.stream.index
            if at == index:
                if not garbled:
                    continue
                noise = av.Packet(rng.integers(0, 256, packet.size, np.uint8).tobytes())
                noise.pts, noise.dts, noise.duration = packet.pts, packet.dts, packet.duration
                noise.time_base, noise.is_keyframe, packet = packet.time_base, True, noise
            packet.stream = streams[at]
            out.mux_one(packet)
    _is_the_reel(path)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("disposition", ["attached_pic", "default"])
def test_a_cover_is_no_film(tmp_path, base, suffix, disposition):
    Image.fromarray(picture(0)).save(tmp_path / "cover.jpg")
    path = tmp_path / f"a{suffix}"
    cover = ("-c", "copy", "-disposition:v:0", disposition)
    maps = ("-map", "0:v", "-map", "1:v", "-map", "1:a")
    ffmpeg("-i", tmp_path / "cover.jpg", "-i", base, *maps, *cover, path)
    _is_the_reel(path)
    if disposition == "attached_pic" and suffix == ".mp4":
        ffmpeg("-i", tmp_path / "cover.jpg", "-i", base, *maps[:2], *maps[4:], *cover, path)
        assert _reason(path) == (Reason.NO_VIDEO, "a cover picture and no film")


# Still pictures


@needs_ffmpeg
@pytest.mark.parametrize("rate", [25, 1])
@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [
        (".mp4", ("libx264", "aac")),
        (".mkv", ("libx264", "aac")),
        (".mkv", ("png", "pcm_s16le")),
        (".webm", ("libvpx", "libopus")),
        (".mov", ("mjpeg", "pcm_s16le")),
        (".avi", ("mpeg4", "libmp3lame")),
        (".avi", ("mjpeg", "pcm_s16le")),
        (".ts", ("libx264", "aac")),
        (".mpg", ("mpeg2video", "mp2")),
        (".flv", ("libx264", "aac")),
        (".wmv", ("wmv2", "wmav2")),
    ],
)
def test_a_still_picture_lasts_as_long_as_the_sound(tmp_path, base, suffix, codecs, rate):
    Image.fromarray(picture(77)).save(tmp_path / "a.png")
    path = tmp_path / f"a{suffix}"
    kind = () if codecs[0] == "png" else ("-pix_fmt", "yuv420p")
    coded = ("-c:v", codecs[0], "-c:a", codecs[1], "-strict", -2, *kind)
    inputs = ("-r", rate, "-i", tmp_path / "a.png", "-i", base)
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", *coded, path)
    clip = decode_clip(path)
    assert clip.duration_s == pytest.approx(5.0, abs=0.08)
    assert {number_of(frame) for frame in clip.frames} == {77}
    assert sound_lag_s(clip, 0.2, 4.8)[1] > 0.9


def test_a_film_cut_after_its_first_picture_is_no_still(tmp_path):
    with av.open(str(reel(tmp_path / "a.mkv", seconds=5))) as source:
        later = next(p for p in source.demux(video=0) if p.pts and p.pts > 40)
        sounds = sum(p.size for p in source.demux(audio=0))
    assert sounds
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: later.pos])
    assert _reason(tmp_path / "b.mkv")[0] == Reason.TRUNCATED


# Samples and channels


def _heard(path: Path, channels: np.ndarray, layout: str = "mono", codec: str = "pcm_f32le"):
    reel(path, seconds=4, channels=channels, layout=layout, codecs=("libx264", codec))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode_clip(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -3e38, 1e6, -1000.0, 20.0])
@pytest.mark.parametrize("n", [1, 100, 5000])
def test_samples_that_are_no_sound_are_silenced(tmp_path, value, n):
    samples = sound(4, 48000)[None].copy()
    samples[0, np.random.default_rng(0).choice(192000, n, replace=False)] = value
    if n == 5000 and abs(value) <= 1e6:
        pytest.skip("where one sample in forty is loud, loud is the scale of the sound")
    clip = _heard(tmp_path / "a.mkv", samples)
    assert clip.level_dbfs == pytest.approx(-21.5, abs=0.6)
    assert sound_lag_s(clip, 0, 3.9)[1] > 0.97
    assert clip.message == f"sound samples that were not finite or absurd: {n} silenced"


def test_loud_sound_is_scaled_not_silenced(tmp_path):
    for scale in (3.0, 32768.0):
        clip = _heard(tmp_path / "a.mkv", sound(4, 48000)[None] * scale)
        assert sound_lag_s(clip, 0, 3.9)[1] > 0.999
        assert clip.message == ""


def test_sound_that_is_mostly_damaged_is_refused(tmp_path):
    samples = sound(4, 48000)[None].copy()
    samples[:, ::3] = np.nan
    with pytest.raises(MediaError) as caught:
        _heard(tmp_path / "a.mkv", samples)
    assert caught.value.reason == Reason.DECODE_ERROR
    assert str(caught.value) == "64000 of 192000 samples of the sound are not finite or absurd"


def test_one_damaged_channel_leaves_the_other(tmp_path):
    samples = np.repeat(sound(4, 48000)[None], 2, 0)
    samples[0] = np.nan
    clip = _heard(tmp_path / "a.mkv", samples, "stereo")
    assert clip.level_dbfs == pytest.approx(-27.5, abs=0.5)
    assert "192000 silenced" in clip.message


@pytest.mark.parametrize("codec", ["aac", "libopus", "pcm_s16le"])
@pytest.mark.parametrize(
    ("layout", "gains", "level_dbfs", "side"),
    [
        ("stereo", (1, -1), -21.5, "left"),
        ("stereo", (1, -0.5), -21.5, "left"),
        ("stereo", (-0.7, 1), -21.5, "right"),
        ("stereo", (1, 0), -27.5, ""),
        ("stereo", (0, 1), -27.5, ""),
        ("stereo", (1, 1), -21.5, ""),
        ("5.1", (1, -1, 0, 0, 0, 0), -21.5, "left"),
        ("5.1", (0, 0, 0, 0, 1, -1), -24.5, "left"),
        ("5.1", (0, 0, 1, 0, 0, 0), -24.5, ""),
        ("5.1", (0, 0, 0, 0, 0, 1), -30.5, ""),
    ],
)
def test_sound_survives_the_mono_mix(tmp_path, codec, layout, gains, level_dbfs, side):
    samples = np.array(gains, np.float32)[:, None] * sound(4, 48000)
    clip = _heard(tmp_path / "a.mkv", samples, layout, codec)
    assert clip.level_dbfs == pytest.approx(level_dbfs, abs=0.5)
    assert sound_lag_s(clip, 0, 3.9)[1] > 0.98
    said = f"left and right cancel: the {side} side is the mono sound"
    assert clip.message == (said if side else "")


# Pictures


@needs_ffmpeg
@pytest.mark.parametrize(("size", "wanted"), [("4000x3000", ""), ("7680x4320", "")])
def test_large_pictures_are_decoded(tmp_path, size, wanted):
    _plain_film(tmp_path / "a.mp4", size)
    clip = decode_clip(tmp_path / "a.mp4")
    assert f"{clip.width}x{clip.height}" == size
    assert min(read_frame(clip.frames[0]).shape[:2]) == 256


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_too_large_pictures_are_named_with_the_limit(tmp_path, suffix):
    _plain_film(tmp_path / f"a{suffix}", "10000x6000")
    reason, message = _reason(tmp_path / f"a{suffix}")
    assert reason == Reason.TOO_LARGE
    assert "10000x6000" in message and "8192x4352" in message


def _plain_film(path: Path, size: str, *options: object) -> None:
    film = ("-f", "lavfi", "-i", f"color=gray:s={size}:r=1:d=4")
    tone = ("-f", "lavfi", "-i", "sine=d=4")
    ffmpeg(*film, *tone, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", *options, path)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
def test_pixel_aspect_that_changes(tmp_path, suffix):
    whole = b""
    for i, aspect in enumerate(("1/1", "16/11", "1/1")):
        film = ("-f", "lavfi", "-i", "testsrc=s=320x240:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2")
        shape = ("-vf", f"setsar={aspect}", "-c:v", "libx264", "-bf", 2)
        ffmpeg(*film, *shape, "-output_ts_offset", 2 * i, tmp_path / "part.ts")
        whole += (tmp_path / "part.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(whole)
    if suffix != ".ts":
        ffmpeg("-i", tmp_path / "a.ts", "-c", "copy", tmp_path / f"a{suffix}")
    clip = decode_clip(tmp_path / f"a{suffix}")
    widths = np.array([read_frame(frame).shape[1] for frame in clip.frames])
    times = np.array(clip.frame_times_s)
    assert set(widths[times < 1.9]) | set(widths[times > 4.2]) == {341}
    assert set(widths[(times > 2.2) & (times < 3.8)]) == {496}


@needs_ffmpeg
@pytest.mark.parametrize("mode", ["tff", "bff"])
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".ts", "mpeg2video")])
def test_interlaced_pictures_show_their_first_field(tmp_path, suffix, codec, mode):
    source = reel(
        tmp_path / "a.mkv",
        seconds=4,
        times=[i / 50 for i in range(200)],
        codecs=("libx264", "pcm_s16le"),
    )
    first = "top" if mode == "tff" else "bottom"
    weave = ("-vf", f"tinterlace=mode=interleave_{first},setfield={mode}", "-r", 25)
    options: tuple[object, ...] = ("-x264opts", f"{mode}=1") if codec == "libx264" else ()
    options += ("-q:v", 3, "-top", int(mode == "tff")) if codec == "mpeg2video" else ()
    path = tmp_path / f"b{suffix}"
    flags = ("-c:v", codec, "-flags", "+ildct+ilme", *options, "-strict", -2)
    ffmpeg("-i", source, *weave, *flags, "-c:a", "mp2" if suffix == ".ts" else "aac", path)
    clip = decode_clip(path)
    numbers = [number_of(frame) for frame in clip.frames]
    assert all(number % 2 == 0 for number in numbers)
    assert np.abs(np.array(numbers) / 50 - clip.frame_times_s).max() < 0.05
    # ffmpeg's own deinterlacer, one picture a frame, sees the same.
    raw = tmp_path / "raw.rgb"
    whole = ("-vf", "yadif=0,scale=341:256", "-pix_fmt", "rgb24", "-f", "rawvideo")
    ffmpeg("-i", path, "-map", "0:v", *whole, "-frames:v", 1, raw)
    reference = np.fromfile(raw, np.uint8).reshape(256, 341, 3).astype(float)
    assert 10 * np.log10(255**2 / np.mean((read_frame(clip.frames[0]) - reference) ** 2)) > 25
    # No comb: beside the bars, lines next to each other are nearly alike.
    shown = read_frame(clip.frames[-1])[..., 0].astype(float)
    true = np.asarray(Image.fromarray(picture(numbers[-1])).resize((341, 256)))[..., 0]
    assert 10 * np.log10(255**2 / np.mean((shown - true) ** 2)) > 24


@needs_ffmpeg
@pytest.mark.parametrize("rate", ["30000/1001", "24000/1001", "7", "59.94", "12.5"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_odd_frame_rates(tmp_path, rate, suffix):
    fps = float(Fraction(rate))
    n = round(4 * fps)
    source = reel(tmp_path / "a.mkv", seconds=4, times=[i / FPS for i in range(n)])
    path = tmp_path / f"b{suffix}"
    retime = ("-vf", f"setpts=N/({rate})/TB", "-r", rate, "-c:v", "libx264", "-bf", 2, "-g", 20)
    ffmpeg("-i", source, *retime, "-c:a", "aac", path)
    clip = decode_clip(path)
    lags = picture_lags_s(clip, fps)[1:-1]
    assert lags.min() > -0.002 and lags.max() < 1 / fps + 0.05
    assert clip.fps == pytest.approx(fps, rel=0.03)


@needs_ffmpeg
@pytest.mark.parametrize("still_s", [1, 3])
def test_a_theora_film_whose_picture_rests_at_the_end_is_whole(tmp_path, still_s):
    """A picture like the one before it is an empty packet there."""
    path = tmp_path / "rest.ogv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=4", "-f", "lavfi",
           "-i", f"sine=440:duration={4 + still_s}", "-vf",
           f"tpad=stop_mode=clone:stop_duration={still_s}", "-c:v", "libtheora", "-g", 64, "-c:a",
           "libvorbis", path)  # fmt: skip
    clip = decode_clip(path)
    assert clip.duration_s == pytest.approx(4 + still_s, abs=0.15)
    last = [read_frame(frame).astype(int) for frame in clip.frames[-2:]]
    assert np.abs(last[0] - last[1]).mean() < 1


def _film_of(colour: tuple[float, float, float], curve: str, tmp_path: Path) -> Path:
    """A 10-bit film of one colour, linear light in BT.2020, 1 = white of 203 cd/m2."""
    linear = np.array(colour)
    if curve == "smpte2084":
        y = (linear * 203 / 10_000) ** 0.1593017578
        signal = ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
    else:
        e = linear * 0.265
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        signal = np.where(e <= 1 / 12, np.sqrt(3 * e), a * np.log(np.maximum(12 * e - b, 1e-9)) + c)
    raw = np.tile((signal * 65_535).astype("<u2"), (64, 96, 1)).tobytes() * 40
    (tmp_path / "raw").write_bytes(raw)
    path = tmp_path / f"{curve}.mp4"
    ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "96x64", "-r", 10, "-i", tmp_path / "raw",
           "-f", "lavfi", "-i", "sine=500:d=4", "-vf",
           "scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le", "-c:v", "libx265",
           "-x265-params", "log-level=0", "-color_primaries", "bt2020", "-color_trc", curve,
           "-colorspace", "bt2020nc", "-c:a", "aac", path)  # fmt: skip
    return path


@needs_ffmpeg
@pytest.mark.parametrize("curve", ["smpte2084", "arib-std-b67"])
def test_hdr_films_have_the_colours_of_others(tmp_path, curve):
    """A strong red of BT.709 stays one: read as if it were BT.709, it is a pale brown."""
    red_2020 = (0.6274 * 0.52, 0.0691 * 0.52, 0.0164 * 0.52)
    frame = read_frame(decode_clip(_film_of(red_2020, curve, tmp_path)).frames[3]).astype(int)
    red, green, blue = frame[20:40, 30:60].reshape(-1, 3).mean(0)
    assert red > 150 and green < 45 and blue < 45, (red, green, blue)
