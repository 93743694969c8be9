"""A window of a long file is, picture for picture and sample for sample, the cut of the whole."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import time
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.acquire import source as source_module
from nano4m_audio.acquire.decode import DecodedClip, MediaError, decode_clip
from nano4m_audio.acquire.folder import read_candidates
from nano4m_audio.acquire.source import Source
from nano4m_audio.acquire.stage import check_files, decode_clips
from nano4m_audio.config.schema import DecodeFiles
from nano4m_audio.config.sources import Files
from nano4m_audio.errors import UserError
from nano4m_audio.media.stored import read_audio
from nano4m_audio.paths import Results
from nano4m_audio.reasons import Reason
from nano4m_audio.tables import write_rows

from .reels import FPS, ffmpeg, lag_s, number_of, reel, sound

needs_ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="ffmpeg, which makes these files, is not installed"
)
SECONDS = 36
RATE_HZ = 32000
#: How the whole is sampled: windows begin on this grid.
GRID = 30
_LONG_GOP = ("-c:v", "libx264", "-preset", "veryfast", "-g", 250, "-sc_threshold", 0, "-bf", 3)
_OPEN_GOP = ("-c:v", "libx264", "-preset", "veryfast", "-g", 50, "-x264-params", "open-gop=1")
_AAC = ("-c:a", "aac", "-b:a", "128k", "-aac_pns", 0)
KINDS = {
    "long_gop.mp4": (*_LONG_GOP, *_AAC),
    "intra.mp4": ("-c:v", "libx264", "-preset", "veryfast", "-g", 1, *_AAC, "-ar", 44100),
    "late_clock.mp4": (*_OPEN_GOP, *_AAC, "-output_ts_offset", 5),
    "pieces.mp4": (*_LONG_GOP, *_AAC, "-movflags", "frag_keyframe+empty_moov"),
    "mp3.mp4": (*_OPEN_GOP, "-c:a", "libmp3lame"),
    "open_gop.mkv": (*_OPEN_GOP, *_AAC, "-ar", 44100),
    "long_gop.mkv": (*_LONG_GOP, "-c:a", "flac"),
    "opus.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-g", 100)
    + ("-c:a", "libopus"),
    "vorbis.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-g", 100)
    + ("-c:a", "libvorbis", "-ar", 44100),
    "long_gop.ts": (*_LONG_GOP, *_AAC),
    "late_clock.ts": (*_OPEN_GOP, *_AAC, "-ar", 44100, "-output_ts_offset", 500),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", 2, "-g", 15, "-q:v", 4, "-c:a", "mp2"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", 2, "-g", 60, "-q:v", 4, "-c:a", "libmp3lame"),
    "h264.avi": (*_LONG_GOP, "-c:a", "libmp3lame"),
    "flash.flv": (*_LONG_GOP, *_AAC, "-ar", 44100),
    "pcm.mov": (*_OPEN_GOP, "-c:a", "pcm_s16le", "-ar", 44100),
    "uneven.mkv": ("-vf", "select='gt(mod(n\\,7)\\,2)'", "-fps_mode", "vfr", *_LONG_GOP, *_AAC),
    "uneven.mp4": ("-vf", "select='gt(mod(n\\,7)\\,2)'", "-fps_mode", "vfr", *_LONG_GOP, *_AAC),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("long") / "base.mkv"
    return reel(path, seconds=SECONDS, codecs=("libx264", "flac"), size=(160, 120))


@pytest.fixture(scope="module")
def made(base):
    """Returns a function: kind -> (its file, all of it sampled at GRID, its sound)."""

    @cache
    def make(kind: str) -> tuple[Path, DecodedClip, np.ndarray]:
        path = base.with_name(kind)
        if kind == "late_sound.mp4":
            maps = ("-map", "0:v", "-map", "1:a", "-t", SECONDS)
            ffmpeg("-i", base, "-itsoffset", 15, "-i", base, *maps, *_LONG_GOP, *_AAC, path)
        else:
            ffmpeg("-i", base, *KINDS[kind], path)
        whole = decode_clip(path, max_clip_s=600, frames_per_s=GRID)
        return path, whole, read_audio(whole.audio_flac)

    return make


def _is_the_cut(path: Path, whole: DecodedClip, heard: np.ndarray, k: int, length_s: float) -> None:
    start_s = k / GRID
    clip = decode_clip(path, window=(start_s, start_s + length_s))
    assert clip.duration_s == pytest.approx(min(length_s, whole.duration_s - start_s), abs=1e-6)
    assert clip.source_duration_s == pytest.approx(clip.duration_s, abs=1e-6)
    every = slice(k, k + len(clip.frames) * GRID // 3, GRID // 3)
    assert clip.frames == whole.frames[every]
    times = np.maximum(0, np.array(whole.frame_times_s[every]) - start_s)
    np.testing.assert_allclose(clip.frame_times_s, times, atol=1e-6)
    samples = read_audio(clip.audio_flac)
    assert len(samples) == round(clip.duration_s * RATE_HZ)
    first = round(start_s * RATE_HZ)
    cut = heard[first : first + len(samples)]
    assert np.abs(samples[: len(cut)] - cut).max() <= 3 / 32768


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(k=st.integers(0, GRID * (SECONDS - 8)), length_s=st.sampled_from([4.0, 5.3, 7.0]))
def test_a_window_is_the_cut_of_the_whole(made, kind, k, length_s):
    path, whole, heard = made(kind)
    _is_the_cut(path, whole, heard, k, length_s)


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("start_s", [12, 14, 15, 20, 30])
def test_sound_that_starts_late(made, start_s):
    path, whole, heard = made("late_sound.mp4")
    _is_the_cut(path, whole, heard, start_s * GRID, 6.0)


@needs_ffmpeg
@pytest.mark.slow
def test_a_window_without_sound_in_it(made):
    with pytest.raises(MediaError) as caught:
        decode_clip(made("late_sound.mp4")[0], window=(4, 10))
    assert caught.value.reason == Reason.NO_AUDIO


@needs_ffmpeg
@pytest.mark.slow
def test_a_clock_that_starts_again_is_read_from_the_beginning(tmp_path):
    whole = b""
    for start in (0, 12):
        part = reel(tmp_path / "b.mkv", seconds=12, start=start * FPS)
        ffmpeg("-i", part, "-c", "copy", tmp_path / "p.ts")
        whole += (tmp_path / "p.ts").read_bytes()
    (tmp_path / "joined.ts").write_bytes(whole)
    clip = decode_clip(tmp_path / "joined.ts", max_clip_s=100, frames_per_s=GRID)
    cut = decode_clip(tmp_path / "joined.ts", window=(15.0, 20.0))
    assert cut.frames == clip.frames[15 * GRID : 20 * GRID : GRID // 3]
    heard = read_audio(clip.audio_flac)[15 * RATE_HZ : 20 * RATE_HZ]
    late_s, alike = lag_s(read_audio(cut.audio_flac), heard)
    assert abs(late_s) < 0.001 and alike > 0.99


def test_a_window_shows_and_sounds_what_lies_there(base):
    clip = decode_clip(base, window=(13.0, 19.0))
    assert [number_of(frame) / FPS for frame in clip.frames] == pytest.approx(
        [13 + i / 3 for i in range(18)], abs=1 / FPS + 0.001
    )
    late_s, alike = lag_s(read_audio(clip.audio_flac), sound(6.0, start_s=13.0))
    assert abs(late_s) < 0.001 and alike > 0.99


def test_a_window_that_is_longer_than_may_be_decoded_says_so(base):
    clip = decode_clip(base, window=(3.0, 23.0), max_clip_s=5.0)
    assert (clip.duration_s, clip.source_duration_s) == (5.0, 20.0)
    clip = decode_clip(base, window=(26.0, 60.0), max_clip_s=5.0)
    assert clip.source_duration_s == pytest.approx(10.0, abs=0.1)
    clip = decode_clip(base, window=(SECONDS - 6.0, SECONDS + 6.0))
    assert clip.duration_s == pytest.approx(6.0, abs=0.03)
    assert clip.source_duration_s == clip.duration_s


def test_a_window_past_the_end(base):
    for start_s in (SECONDS + 0.5, 100, 10_000):
        with pytest.raises(MediaError) as caught:
            decode_clip(base, window=(start_s, start_s + 10))
        assert caught.value.reason == Reason.TOO_SHORT
        assert "the file ends before its segment begins" in str(caught.value)
    with pytest.raises(MediaError, match="2.00 s of picture") as caught:
        decode_clip(base, window=(SECONDS - 2, SECONDS + 8))
    assert caught.value.reason == Reason.TOO_SHORT


@needs_ffmpeg
def test_only_a_window_in_which_the_file_was_cut_is_truncated(tmp_path, base):
    path = tmp_path / "a.mp4"
    ffmpeg("-i", base, "-c:v", "copy", "-c:a", "aac", "-movflags", "faststart", path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert decode_clip(path, window=(5, 10)).duration_s == 5
    for window in ((15, 25), (26, 32)):
        with pytest.raises(MediaError) as caught:
            decode_clip(path, window=window)
        assert caught.value.reason == Reason.TRUNCATED


def test_a_still_picture_lasts_as_long_as_the_sound(tmp_path):
    path = reel(tmp_path / "a.mkv", channels=sound(20, 48000)[None], times=[0.0])
    assert decode_clip(path, window=(8.0, 14.0)).duration_s == pytest.approx(6.0)


def test_a_region_is_a_file_of_its_own(tmp_path, base):
    data = base.read_bytes()
    path = tmp_path / "a.tar"
    path.write_bytes(os.urandom(777) + data + data[:5000])
    region = (777, len(data))
    digest = hashlib.sha256(data).hexdigest()
    with Source(path, region) as source:
        assert source.sha256() == digest
        assert source.read_at(0, 10**9) == data
    clip = decode_clip(path, window=(7, 12), region=region, sha256=digest)
    assert clip == decode_clip(base, window=(7, 12))
    wrong = {
        (0, 0): Reason.EMPTY_FILE,
        (777, 10 * len(data)): Reason.TRUNCATED,
        (-5, 10): Reason.NOT_MEDIA,
    }
    for place, reason in wrong.items():
        with pytest.raises(MediaError) as caught:
            Source(path, place)
        assert caught.value.reason == reason


# The folder and the stages


def _list(tmp_path, *lines):
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(["file,class,start_s,end_s,video_id", *lines]) + "\n")
    return path


def test_many_segments_of_one_file(tmp_path):
    rows = read_candidates(
        tmp_path,
        _list(
            tmp_path,
            "long.mp4,dog,3,8,",
            "long.mp4,cat,10,20.5,",
            "./long.mp4,cat,10,20.5,",
            "long.mp4,cat,10,30,",
            "b.mp4,dog,4,,video",
            "b.mp4,dog,4,9,video",
        ),
        ("dog", "cat"),
    )
    assert {(r["video_id"], r["start_s"], r["end_s"]) for r in rows} == {
        ("long", 3, 8),
        ("long", 10, 20.5),
        ("long", 10, 30),
        ("video", 4, None),
        ("video", 4, 9),
    }
    assert len({row["clip_id"] for row in rows}) == len(rows)
    assert "long@3000" in {row["clip_id"] for row in rows}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.mp4,dog,8,8,", "end_s '8' is not after start_s '8'"),
        ("a.mp4,dog,8,3,", "end_s '3' is not after start_s '8'"),
        ("a.mp4,dog,,3,", "end_s without start_s"),
        ("a.mp4,dog,1,x,", "end_s 'x' is not a number of seconds"),
        ("a.mp4,dog,1,inf,", "end_s 'inf' is not a number of seconds"),
        ("a.mp4,dog,-1,3,", "start_s '-1' is not a number of seconds"),
        ("a.mp4,dog,1,9,\na.mp4,cat,1,9,", "a segment is one clip of one class"),
    ],
)
def test_segments_that_cannot_be(tmp_path, line, words):
    with pytest.raises(UserError) as caught:
        read_candidates(tmp_path, _list(tmp_path, line), ("dog", "cat"))
    assert words in str(caught.value)


class _Stages:
    def __init__(self, tmp_path, root, rows):
        self.results, self.files = Results(tmp_path / "results"), Files(root=str(root))
        write_rows(self.results.table("candidates", "0000"), "candidates", rows)

    def run(self):
        check_files(self.results, "0000", self.files)
        decode_clips(self.results, "0000", DecodeFiles(files=self.files))
        tables = (self.results.table(name, "0000") for name in ("media", "clips"))
        return [pq.read_table(path).to_pylist() for path in tables]


def _row(clip_id, path, start_s, end_s):
    row = {"clip_id": clip_id, "video_id": clip_id, "path": path}
    return {**row, "start_s": start_s, "end_s": end_s}


def test_segments_through_the_stages_hash_their_file_once(tmp_path, base, monkeypatch):
    n_hashed = 0
    honest = Source.sha256

    def counted(self):
        nonlocal n_hashed
        n_hashed += 1
        return honest(self)

    monkeypatch.setattr(Source, "sha256", counted)
    rows = [_row(f"a@{s}", base.name, float(s), s + 5.0) for s in (0, 9, 20)]
    stages = _Stages(tmp_path, base.parent, [*rows, _row("b", base.name, 3.0, None)])
    media, clips = stages.run()
    assert n_hashed == 1
    assert [r["file_start_s"] for r in media] == [0, 9, 20, None]
    assert [r["duration_s"] for r in clips] == [5, 5, 5, 30]
    assert len({row["key"] for row in clips}) == 4


def test_what_was_fetched_lies_where_its_table_says(tmp_path, base):
    rows = [_row(c, "", 100.0, 110.0) for c in ("gone", "here", "later")]
    stages = _Stages(tmp_path, base.parent, rows)
    stages.files = Files(root=str(base.parent), fetched=True)
    fetched = [
        {"clip_id": "gone", "status": "failed", "reason": "gone", "message": "removed", "path": ""},
        {"clip_id": "here", "status": "ok", "reason": "", "message": "", "path": base.name}
        | {"file_start_s": 5.0, "file_end_s": 12.0},
    ]
    write_rows(stages.results.table("fetched", "0000"), "fetched", fetched)
    media, clips = stages.run()
    assert [row["reason"] for row in media] == ["gone", "", "not_fetched_yet"]
    assert media[0]["message"] == "removed"
    assert [(row["clip_id"], row["duration_s"]) for row in clips] == [("here", 7.0)]


def test_a_known_hash_is_not_believed_of_a_file_that_was_written(tmp_path, base):
    path = tmp_path / "a.mkv"
    shutil.copy(base, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source_module._HASHED.clear()
    time.sleep(2.2)
    decode_clip(path, window=(3, 8), sha256=digest)
    assert len(source_module._HASHED) == 1
    info = path.stat()
    with open(path, "r+b") as handle:
        handle.seek(-20_000, os.SEEK_END)
        handle.write(b"other")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    with pytest.raises(MediaError) as caught:
        decode_clip(path, window=(3, 8), sha256=digest)
    assert caught.value.reason == Reason.CHANGED


@pytest.fixture(scope="module")
def hour(base) -> Path:
    """An hour of 160x120, the same half minute again and again."""
    part = base.with_name("part.mp4")
    ffmpeg("-i", base, "-t", 30, *_LONG_GOP, *_AAC, part)
    path = base.with_name("hour.mp4")
    ffmpeg("-stream_loop", 119, "-i", part, "-c", "copy", path)
    return path


@needs_ffmpeg
@pytest.mark.slow
def test_the_last_window_of_an_hour_costs_as_much_as_the_first(hour):
    def cost(start_s: float) -> float:
        begun = time.process_time()
        decode_clip(hour, window=(start_s, start_s + 10))
        return time.process_time() - begun

    cost(100)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    costs = [cost(start_s) for start_s in range(40, 3580, 177)]
    assert np.median(costs[-5:]) < 1.6 * np.median(costs[:5])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < peak + 60_000
