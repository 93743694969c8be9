"""Decode a clip in one pass: frames at fixed times, mono audio at its true offset, or a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nano4m_audio.acquire import memory
from nano4m_audio.acquire.clock import Clock
from nano4m_audio.acquire.container import (
    MAX_FRAME_PIXELS,
    choose_streams,
    open_media,
    say,
)
from nano4m_audio.acquire.frames import FramePicker, PixelAspect
from nano4m_audio.acquire.promise import (
    check_complete,
    container_promise_s,
    data_missing,
    is_matroska,
    said_s,
    stream_promise_s,
)
from nano4m_audio.acquire.sound import SoundTrack, levels_dbfs
from nano4m_audio.acquire.source import MediaError, Source, opened
from nano4m_audio.media.stored import encode_flac, read_audio, read_frame
from nano4m_audio.reasons import Reason

__all__ = ["DecodedClip", "MediaError", "decode_clip", "read_audio", "read_frame"]

#: Limits against hostile files; ordinary clips stay far below: 30 s of 8K at 60 pictures a second.
_MAX_DECODED_PIXELS = MAX_FRAME_PIXELS * 60 * 30
_MAX_FRAMES_PER_S = 250
_SAMPLE_RATES_HZ = range(4000, 768001)
#: How far past the end a badly interleaved file is read for the other stream.
_INTERLEAVE_S = 10.0
#: In formats whose clock may jump (MPEG) a longer gap than this is a jump.
_PAUSE_S = 10.0
#: So many frames in a row past the end are its end; fewer are wild stamps.
_PAST = 3
#: A picture alone may come in two packets (two fields, or a hidden picture for reference).
_STILL_PACKETS = 2
#: Values of libav's field order in which the bottom field is shown first.
_BOTTOM_FIRST = (3, 4)


@dataclass(frozen=True)
class DecodedClip:
    """A clip as every later stage reads it. Time 0 is the start of the container.

    ``frames[i]`` (JPEG) is the picture on display at ``i / frames_per_s``; ``frame_times_s[i]`` is
    when that picture appeared. ``width`` and ``height`` are those of the source as displayed.
    ``audio_flac`` covers exactly ``duration_s``; it is silence outside ``audio_start_s`` ..
    ``audio_end_s``. Levels are in dB of full scale, -120 for digital silence; ``level_dbfs`` is
    the RMS of the loudest second. ``message`` says what was mended in the sound, mostly nothing.
    ``source_duration_s`` is how long the file's picture lasts, of which at most ``max_clip_s`` were
    decoded (None when its container does not say).
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


@dataclass
class _Progress:
    """What was read of one stream, in seconds after the clip's origin."""

    stream: Any
    promised_s: float | None
    tick_s: float
    packets_end_s: float = 0.0
    decoded_end_s: float = 0.0
    first_s: float | None = None
    step_s: float = 0.0
    n_frames: int = 0
    n_packets: int = 0
    n_failed: int = 0
    n_past: int = 0
    done: bool = False


@dataclass
class _Reading:
    """The state of one pass: both streams, and what collects their frames."""

    origin_s: float
    max_clip_s: float
    video: _Progress
    audio: _Progress
    picker: FramePicker
    aspect: PixelAspect
    clock: Clock
    track: SoundTrack = field(default_factory=SoundTrack)
    decoded_pixels: int = 0
    last_byte: int = 0


def decode_clip(
    path: Path,
    *,
    sha256: str | None = None,
    sample_rate_hz: int = 32000,
    frames_per_s: float = 3.0,
    short_side_px: int = 256,
    jpeg_quality: int = 92,
    max_clip_s: float = 30.0,
    min_clip_s: float = 3.4134,
) -> DecodedClip:
    """Decode the first ``max_clip_s`` seconds of a clip in one pass over its file.

    The clip lasts as long as its picture; sound that ends earlier is followed by silence, sound
    that starts late keeps its offset, gaps are silence. Rotation and pixel aspect are applied.
    Raises MediaError with the reason for every file that cannot be used, CHANGED where its content
    is not that of the hex digest ``sha256``. Same file, same result.
    """
    import av

    try:
        with opened(path, sha256) as source, open_media(source) as container:
            picker = FramePicker(frames_per_s, short_side_px, jpeg_quality)
            reading = _start(container, source, picker, max_clip_s)
            _read(container, reading)
            clip_s = _finish(container, source, reading, min_clip_s)
            source_s = _source_s(container, reading)
        return _assemble(reading, clip_s, source_s, sample_rate_hz)
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, say(error)) from error
    except (av.error.FFmpegError, ValueError, ArithmeticError, KeyError) as error:
        raise MediaError(Reason.DECODE_ERROR, say(error)) from error


def _start(container: Any, source: Source, picker: FramePicker, max_clip_s: float) -> _Reading:
    from av.format import Flags

    video, audio = choose_streams(container, source)
    picker.bottom_first = video.codec_context.field_order in _BOTTOM_FIRST
    origin_s = (container.start_time or 0) / 1e6
    jumps = container.format.flags & Flags.ts_discont.value
    return _Reading(
        origin_s,
        max_clip_s,
        _progress(container, video, origin_s),
        _progress(container, audio, origin_s),
        picker,
        PixelAspect(video.sample_aspect_ratio),
        Clock(_PAUSE_S if jumps else max_clip_s + _INTERLEAVE_S),
    )


def _progress(container: Any, stream: Any, origin_s: float) -> _Progress:
    return _Progress(stream, stream_promise_s(container, stream, origin_s), float(stream.time_base))


def _read(container: Any, reading: _Reading) -> None:
    """Feed every frame of both streams, up to the end of the clip, to the collectors."""
    import av

    feed = {reading.video.stream.index: _feed_video, reading.audio.stream.index: _feed_audio}
    limited = memory.limited()
    for progress, packet in _packets(container, reading):
        if progress.done:
            continue
        if limited and progress is reading.video and memory.due(progress.n_packets):
            memory.ask_for_pictures(progress.stream.codec_context)
        try:
            frames = progress.stream.codec_context.decode(packet)
        except av.error.EOFError:
            continue
        except MemoryError:
            raise
        except av.error.FFmpegError:
            progress.n_failed += 1
            continue
        if progress is reading.video and packet is not None and packet.is_keyframe:
            aspect = progress.stream.codec_context.sample_aspect_ratio
            reading.aspect.note(packet.pts, aspect)
        for frame in frames:
            feed[progress.stream.index](reading, progress, frame)
            if progress.done:
                break


def _packets(container: Any, reading: _Reading) -> Iterator[tuple[_Progress, Any]]:
    """Packets of both streams in file order, then None for each to flush its decoder.

    Stops as soon as both streams are done, or one is far past the clip's end. A file that breaks
    off in the middle ends the packets; what was promised is compared with what came afterwards.
    """
    import av

    both = {p.stream.index: p for p in (reading.video, reading.audio)}
    n_late = 0
    try:
        packets = container.demux(reading.video.stream, reading.audio.stream)
        for packet in reading.clock.follow(packets):
            if packet.size == 0:
                continue
            progress = both[packet.stream_index]
            progress.n_packets += 1
            reading.last_byte = max(reading.last_byte, (packet.pos or 0) + packet.size)
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                end = (stamp + (packet.duration or 0)) * progress.tick_s - reading.origin_s
                progress.packets_end_s = max(progress.packets_end_s, end)
                n_late = n_late + 1 if end > reading.max_clip_s + _INTERLEAVE_S else 0
                if n_late > _PAST:
                    break
            yield progress, packet
            if reading.video.done and reading.audio.done:
                return
    except MemoryError:
        raise
    except av.error.FFmpegError:
        pass  # the same as an early end of the file: _finish compares it with the promise
    for progress in both.values():
        yield progress, None


def _feed_video(reading: _Reading, progress: _Progress, frame: Any) -> None:
    rate = progress.stream.average_rate or progress.stream.guessed_rate or 25
    step_s = float(frame.duration * progress.stream.time_base) or float(1 / rate)
    time_s = _time_s(reading, progress, frame)
    reading.decoded_pixels += frame.width * frame.height
    if progress.n_frames > _MAX_FRAMES_PER_S * reading.max_clip_s:
        raise ValueError("more pictures than a clip of this length can have")
    if reading.decoded_pixels > _MAX_DECODED_PIXELS:
        message = f"more than {_MAX_DECODED_PIXELS / 1e9:.0f} billion pixels in one clip"
        raise MediaError(Reason.TOO_LARGE, message)
    if _is_past(reading, progress, time_s):
        return
    progress.n_frames += 1
    progress.n_failed += bool(frame.is_corrupt)
    if progress.first_s is None:
        progress.first_s = time_s
    progress.step_s = step_s
    progress.decoded_end_s = max(progress.decoded_end_s, time_s + step_s)
    reading.picker.feed(frame, time_s, reading.aspect.at(frame.pts))


def _feed_audio(reading: _Reading, progress: _Progress, frame: Any) -> None:
    if frame.sample_rate not in _SAMPLE_RATES_HZ:
        raise ValueError(f"a sample rate of {frame.sample_rate} Hz")
    time_s = _time_s(reading, progress, frame)
    if reading.track.decoded_s > 2 * reading.max_clip_s:
        raise ValueError("more sound than a clip of this length can have")
    past = _is_past(reading, progress, time_s)
    if not progress.done:
        # A stamp past the end may be a wild one in unbroken sound.
        reading.track.feed(frame, time_s)
    if past:
        return
    progress.n_frames += 1
    progress.decoded_end_s = max(progress.decoded_end_s, time_s + frame.samples / frame.sample_rate)


def _is_past(reading: _Reading, progress: _Progress, time_s: float) -> bool:
    """Does a frame begin after the clip's end? Some in a row are the end of the stream."""
    past = time_s >= reading.max_clip_s
    progress.n_past = progress.n_past + 1 if past else 0
    progress.done = progress.n_past > _PAST
    return past


def _time_s(reading: _Reading, progress: _Progress, frame: Any) -> float:
    stamp = frame.dts if frame.pts is None else frame.pts
    if stamp is None:
        return progress.decoded_end_s
    return float(stamp * progress.stream.time_base) - reading.origin_s


def _finish(container: Any, source: Source, reading: _Reading, min_clip_s: float) -> float:
    """Judge what was decoded; returns the clip's duration and completes the pictures."""
    video, audio = reading.video, reading.audio
    if video.n_past and video.n_frames:
        video.decoded_end_s = reading.max_clip_s
    _check_promises(container, source, reading)
    if not video.n_frames:
        raise MediaError(Reason.NO_VIDEO, "the video stream has no picture")
    if not audio.n_frames:
        raise MediaError(Reason.NO_AUDIO, "the audio stream has no sound")
    if video.n_frames == 1 and video.n_packets <= _STILL_PACKETS and not video.n_failed:
        # A still picture stays as long as the sound; containers differ in what length they give it.
        video.decoded_end_s = max(video.decoded_end_s, audio.decoded_end_s)
    clip_s = min(video.decoded_end_s, reading.max_clip_s)
    if clip_s < min_clip_s:
        message = f"{clip_s:.2f} s of picture, {min_clip_s:.2f} s are needed"
        raise MediaError(Reason.TOO_SHORT, message)
    reading.picker.finish(clip_s)
    return clip_s


def _check_promises(container: Any, source: Source, reading: _Reading) -> None:
    """Compare both streams with what the container promises, where that can be believed."""
    video, audio = reading.video, reading.audio
    believed = not reading.clock.restarted and (
        not is_matroska(container) or data_missing(container, source, reading.last_byte)
    )
    whole_s = container_promise_s(container, reading.origin_s) if believed else None
    limits = [reading.max_clip_s, *([whole_s] if whole_s else [])]
    for progress, kind in ((video, "picture"), (audio, "sound")):
        promised_s = progress.promised_s if believed else None
        check_complete(progress, kind, None if promised_s is None else min(promised_s, *limits))
    if whole_s and None in (video.promised_s, audio.promised_s):
        furthest = max(video, audio, key=lambda p: p.decoded_end_s)
        check_complete(furthest, "clip", min(limits))


def _source_s(container: Any, reading: _Reading) -> float | None:
    """How long the picture of the file lasts: measured, or what the container says."""
    video = reading.video
    if not video.n_past:
        return video.decoded_end_s
    length_s = video.promised_s or said_s(container, reading.origin_s)
    return length_s if length_s and length_s > reading.max_clip_s else None


def _assemble(
    reading: _Reading, clip_s: float, source_s: float | None, sample_rate_hz: int
) -> DecodedClip:
    video, picker, track = reading.video, reading.picker, reading.track
    samples = track.render(round(clip_s * sample_rate_hz), sample_rate_hz)
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
