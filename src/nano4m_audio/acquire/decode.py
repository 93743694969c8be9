"""Decode a clip in one pass: frames at fixed times, mono audio at its true offset, or a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.container import open_media, say
from nano4m_audio.acquire.frames import FramePicker
from nano4m_audio.acquire.promise import (
    check_complete,
    container_promise_s,
    data_missing,
    is_matroska,
    said_s,
)
from nano4m_audio.acquire.reading import Reading, read, start
from nano4m_audio.acquire.sound import levels_dbfs
from nano4m_audio.acquire.source import MediaError, Region, Source, opened
from nano4m_audio.acquire.window import is_cut, read_preface, tries
from nano4m_audio.media.stored import encode_flac, read_audio, read_frame
from nano4m_audio.reasons import Reason

__all__ = ["DecodedClip", "MediaError", "decode_clip", "read_audio", "read_frame"]

#: A picture alone may come in two packets (two fields, or a hidden picture for reference).
_STILL_PACKETS = 2
_CUT_ALREADY = "; if the file is a cut of its video already, its list needs no end_s"


@dataclass(frozen=True)
class DecodedClip:
    """A clip as every later stage reads it. Time 0 is the start of the container, or that of the
    window of it that was asked for.

    ``frames[i]`` (JPEG) is the picture on display at ``i / frames_per_s``; ``frame_times_s[i]`` is
    when that picture appeared. ``width`` and ``height`` are those of the source as displayed.
    ``audio_flac`` covers exactly ``duration_s``; it is silence outside ``audio_start_s`` ..
    ``audio_end_s``. Levels are in dB of full scale, -120 for digital silence; ``level_dbfs`` is
    the RMS of the loudest second. ``message`` says what was mended in the sound, mostly nothing.
    ``source_duration_s`` is how long the picture of the file, or of the window, lasts, of which at
    most ``max_clip_s`` were decoded (None when the container does not say).
    """

    duration_s: float
    fps: float
    width: int
    height: int
    frames: list[bytes]
    frame_times_s: list[float]
    audio_flac: bytes
    audio_start_s: float
    audio_end_s: float
    level_dbfs: float
    peak_dbfs: float
    video_codec: str
    audio_codec: str
    message: str = ""
    source_duration_s: float | None = None


def decode_clip(
    path: Path,
    *,
    window: tuple[float, float] | None = None,
    may_be_cut: bool = False,
    region: Region | None = None,
    sha256: str | None = None,
    sample_rate_hz: int = 32000,
    frames_per_s: float = 3.0,
    short_side_px: int = 256,
    jpeg_quality: int = 92,
    max_clip_s: float = 30.0,
    min_clip_s: float = 3.4134,
) -> DecodedClip:
    """Decode the first ``max_clip_s`` seconds of a clip in one pass over its file.

    The clip is all of the file, or what lies in ``window`` (start_s, end_s) after the container's
    origin: the same pictures and sound as of the whole file, but only the window and a little
    before it is read. A file that ``may_be_cut`` and cannot hold that much is the clip itself.
    ``region`` (first byte, number of bytes) is where in ``path`` the file lies.

    The clip lasts as long as its picture; sound that ends earlier is followed by silence, sound
    that starts late keeps its offset, gaps are silence. Rotation and pixel aspect are applied.
    Raises MediaError with the reason for every file that cannot be used, CHANGED where its content
    is not that of the hex digest ``sha256``. Same file, same result.
    """
    import av

    try:
        with opened(path, sha256, region) as source:
            if window and may_be_cut and is_cut(source, window):
                window = None
            preface = read_preface(source, window)
            for one in tries(window, preface):
                with open_media(source) as container:
                    picker = FramePicker(frames_per_s, short_side_px, jpeg_quality)
                    reading = start(container, source, picker, window, max_clip_s, one)
                    if not reading.begin(container, preface):
                        continue
                    read(container, reading)
                    if not reading.landing.good:
                        continue
                    clip_s = _finish(container, source, reading, min_clip_s)
                    source_s = _source_s(container, reading)
                    break
        return _assemble(reading, clip_s, source_s, sample_rate_hz)
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, say(error)) from error
    except (av.error.FFmpegError, ValueError, ArithmeticError, KeyError) as error:
        raise MediaError(Reason.DECODE_ERROR, say(error)) from error


def _finish(container: Any, source: Source, reading: Reading, min_clip_s: float) -> float:
    """Judge what was decoded; returns the clip's duration and completes the pictures."""
    video, audio = reading.video, reading.audio
    any_picture = video.first_s is not None
    if video.n_past and any_picture:
        video.decoded_end_s = reading.max_clip_s
    if audio.n_past and not (audio.n_frames or audio.n_failed):
        raise MediaError(Reason.NO_AUDIO, "the sound begins after the clip's end")
    _check_promises(container, source, reading)
    if not any_picture:
        raise MediaError(Reason.NO_VIDEO, "the video stream has no picture")
    alone = video.n_frames <= 1 and video.n_packets + video.n_before <= _STILL_PACKETS
    if alone and not video.n_failed:
        # A still picture stays as long as the sound; containers differ in what length they give it.
        video.decoded_end_s = max(video.decoded_end_s, audio.decoded_end_s)
    if reading.start_s and not video.decoded_end_s:
        message = f"the file ends before its segment begins, at {reading.start_s:.2f} s"
        raise MediaError(Reason.TOO_SHORT, message + _CUT_ALREADY)
    if not audio.n_frames:
        raise MediaError(Reason.NO_AUDIO, "the audio stream has no sound")
    clip_s = min(video.decoded_end_s, reading.max_clip_s)
    if clip_s < min_clip_s:
        message = f"{clip_s:.2f} s of picture, {min_clip_s:.2f} s are needed"
        raise MediaError(Reason.TOO_SHORT, message)
    reading.picker.finish(clip_s)
    return clip_s


def _check_promises(container: Any, source: Source, reading: Reading) -> None:
    """Compare both streams with what the container promises, where that can be believed."""
    video, audio = reading.video, reading.audio
    believed = not reading.clock.restarted and (
        not is_matroska(container) or data_missing(container, source, reading.last_byte)
    )
    file_s = reading.origin_s - reading.start_s
    whole_s = container_promise_s(container, file_s) if believed else None
    whole_s = None if whole_s is None else whole_s - reading.start_s
    limits = [reading.max_clip_s, *([whole_s] if whole_s else [])]
    for progress, kind in ((video, "picture"), (audio, "sound")):
        promised_s = progress.promised_s if believed else None
        check_complete(progress, kind, None if promised_s is None else min(promised_s, *limits))
    if whole_s and None in (video.promised_s, audio.promised_s):
        furthest = max(video, audio, key=lambda p: p.decoded_end_s)
        check_complete(furthest, "clip", min(limits))


def _source_s(container: Any, reading: Reading) -> float | None:
    """How long the picture of the file or window lasts: measured, or what the container says."""
    video, asked_s = reading.video, reading.asked_s
    if not video.n_past:
        return min(video.decoded_end_s, asked_s)
    file_s = reading.origin_s - reading.start_s
    said = said_s(container, file_s)
    length_s = video.promised_s or (said - reading.start_s if said else None)
    if length_s is not None and length_s <= reading.max_clip_s:
        length_s = None  # contradicted by what came
    if asked_s < math.inf:
        return min(asked_s, length_s or asked_s)
    return length_s


def _assemble(
    reading: Reading, clip_s: float, source_s: float | None, sample_rate_hz: int
) -> DecodedClip:
    video, picker, track = reading.video, reading.picker, reading.track
    n_samples = round(clip_s * sample_rate_hz)
    samples = track.render(n_samples, sample_rate_hz, reading.start_s)
    level_dbfs, peak_dbfs = levels_dbfs(samples, sample_rate_hz)
    start_s = min(max(0.0, min(run.start_s for run in track.runs)), clip_s)
    return DecodedClip(
        duration_s=clip_s,
        fps=video.n_frames / max(video.decoded_end_s - (video.first_s or 0.0), 1e-3),
        width=picker.width,
        height=picker.height,
        frames=picker.frames,
        frame_times_s=picker.frame_times_s,
        audio_flac=encode_flac(samples, sample_rate_hz),
        audio_start_s=start_s,
        audio_end_s=max(start_s, min(max(run.end_s for run in track.runs), clip_s)),
        level_dbfs=level_dbfs,
        peak_dbfs=peak_dbfs,
        video_codec=video.stream.codec_context.codec.canonical_name,
        audio_codec=reading.audio.stream.codec_context.codec.canonical_name,
        message="; ".join(track.notes),
        source_duration_s=source_s,
    )
