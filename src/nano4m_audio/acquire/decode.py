"""One pass over a clip: frames at fixed times, mono sound at its true offset, or why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.frames import FramePicker, read_frame
from nano4m_audio.acquire.sound import SoundTrack, encode_flac, levels_dbfs, read_audio
from nano4m_audio.acquire.source import MediaError, Source, opened
from nano4m_audio.reasons import Reason

__all__ = ["DecodedClip", "MediaError", "decode_clip", "read_audio", "read_frame"]

#: Demuxers that may open a file. Playlists (HLS, concat) would make libav open other files.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegts,ogg"
#: Limits against hostile files; ordinary clips stay far below.
_MAX_FRAME_PIXELS = 4096 * 2304
_MAX_DECODED_PIXELS = 30e9
_MAX_FRAMES_PER_S = 250
_SAMPLE_RATES_HZ = range(4000, 768001)
#: How far past the end a badly interleaved file is read for the other stream.
_INTERLEAVE_S = 10.0
#: A clip that decodes to less than this share of what its container promises is not used.
_ENOUGH = 0.8
#: Starts of containers whose index is written last: unreadable means cut short, not foreign.
_CONTAINER_STARTS = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (0, b"RIFF"))


@dataclass(frozen=True)
class DecodedClip:
    """A clip as every later stage reads it. Time 0 is the start of the container.

    ``frames[i]`` (JPEG) is the picture on display at ``i / frames_per_s``; ``frame_times_s[i]`` is
    when that picture appeared. ``width`` and ``height`` are those of the source as displayed.
    ``audio_flac`` covers exactly ``duration_s``; it is silence outside ``audio_start_s`` ..
    ``audio_end_s``. Levels are in dB of full scale, -120 for digital silence; ``level_dbfs`` is
    the RMS of the loudest second.
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


@dataclass
class _Progress:
    """What was read of one stream, in seconds after the clip's origin."""

    stream: Any
    promised_s: float | None
    packets_end_s: float = 0.0
    decoded_end_s: float = 0.0
    first_s: float | None = None
    n_frames: int = 0
    n_packets: int = 0
    n_failed: int = 0
    done: bool = False


@dataclass
class _Reading:
    """The state of one pass: both streams, and what collects their frames."""

    origin_s: float
    max_clip_s: float
    video: _Progress
    audio: _Progress
    picker: FramePicker
    track: SoundTrack = field(default_factory=SoundTrack)
    decoded_pixels: float = 0.0


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
        with opened(path, sha256) as source, _open(source) as container:
            picker = FramePicker(frames_per_s, short_side_px, jpeg_quality)
            reading = _start(container, picker, max_clip_s)
            _read(container, reading)
            clip_s = _finish(reading, container.duration, min_clip_s)
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, _say(error)) from error
    except (av.error.FFmpegError, ValueError, ArithmeticError, KeyError) as error:
        raise MediaError(Reason.DECODE_ERROR, _say(error)) from error
    return _assemble(reading, clip_s, sample_rate_hz)


def _open(source: Source) -> Any:
    """Open the container; no other file or address can be reached through it."""
    import av

    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "none",
        "max_pixels": str(_MAX_FRAME_PIXELS),
    }
    try:
        return av.open(source, options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        source.seek(0)
        head = source.read(8)
        if any(head[at : at + len(magic)] == magic for at, magic in _CONTAINER_STARTS):
            message = "the container has a beginning but no readable index: the file was cut short"
            raise MediaError(Reason.TRUNCATED, message) from error
        raise MediaError(Reason.NOT_MEDIA, f"no media container: {_say(error)}") from error


def _say(error: BaseException) -> str:
    """The error without the file's path, so that the message does not depend on the machine."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _start(container: Any, picker: FramePicker, max_clip_s: float) -> _Reading:
    from av.stream import Disposition

    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    films.sort(key=lambda s: not s.disposition & Disposition.default)
    video, audio = (films[0] if films else None), container.streams.best("audio")
    if video is None or video.codec_context is None:
        raise MediaError(Reason.NO_VIDEO, "no video stream" if not films else "unknown video codec")
    if audio is None or audio.codec_context is None:
        raise MediaError(Reason.NO_AUDIO, "no audio stream" if not audio else "unknown audio codec")
    for stream in (video, audio):
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(_MAX_FRAME_PIXELS)}
    aspect = video.sample_aspect_ratio
    if aspect and 0.25 <= aspect <= 4.0:
        picker.pixel_aspect = float(aspect)
    origin_s = (container.start_time or 0) / 1e6
    return _Reading(
        origin_s,
        max_clip_s,
        _Progress(video, _promised_s(video, origin_s, max_clip_s)),
        _Progress(audio, _promised_s(audio, origin_s, max_clip_s)),
        picker,
    )


def _promised_s(stream: Any, origin_s: float, max_clip_s: float) -> float | None:
    if not stream.duration:
        return None
    end = (stream.start_time or 0) + stream.duration
    return min(float(end * stream.time_base) - origin_s, max_clip_s)


def _read(container: Any, reading: _Reading) -> None:
    """Feed every frame of both streams, up to the end of the clip, to the collectors."""
    import av

    feed = {reading.video.stream.index: _feed_video, reading.audio.stream.index: _feed_audio}
    for progress, packet in _packets(container, reading):
        if progress.done:
            continue
        try:
            frames = progress.stream.codec_context.decode(packet)
        except av.error.EOFError:
            continue
        except MemoryError:
            raise
        except av.error.FFmpegError:
            progress.n_failed += 1
            continue
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
    try:
        for packet in container.demux(reading.video.stream, reading.audio.stream):
            if packet.size == 0:
                continue
            progress = both[packet.stream.index]
            progress.n_packets += 1
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                end = float((stamp + (packet.duration or 0)) * packet.time_base) - reading.origin_s
                progress.packets_end_s = max(progress.packets_end_s, end)
                if end > reading.max_clip_s + _INTERLEAVE_S:
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
    too_many = progress.n_frames > _MAX_FRAMES_PER_S * reading.max_clip_s
    if too_many or reading.decoded_pixels > _MAX_DECODED_PIXELS:
        raise ValueError("more pictures than a clip of this length can have")
    if time_s >= reading.max_clip_s:
        progress.done = True
        if progress.n_frames:
            progress.decoded_end_s = reading.max_clip_s
        return
    progress.n_frames += 1
    progress.n_failed += bool(frame.is_corrupt)
    if progress.first_s is None:
        progress.first_s = time_s
    progress.decoded_end_s = max(progress.decoded_end_s, time_s + step_s)
    reading.picker.feed(frame, time_s)


def _feed_audio(reading: _Reading, progress: _Progress, frame: Any) -> None:
    if frame.sample_rate not in _SAMPLE_RATES_HZ:
        raise ValueError(f"a sample rate of {frame.sample_rate} Hz")
    time_s = _time_s(reading, progress, frame)
    if time_s >= reading.max_clip_s:
        progress.done = True
        return
    if reading.track.decoded_s > 2 * reading.max_clip_s:
        raise ValueError("more sound than a clip of this length can have")
    reading.track.feed(frame, time_s)
    progress.n_frames += 1
    progress.decoded_end_s = max(progress.decoded_end_s, time_s + frame.samples / frame.sample_rate)


def _time_s(reading: _Reading, progress: _Progress, frame: Any) -> float:
    stamp = frame.dts if frame.pts is None else frame.pts
    if stamp is None:
        return progress.decoded_end_s
    return float(stamp * progress.stream.time_base) - reading.origin_s


def _finish(reading: _Reading, container_us: int | None, min_clip_s: float) -> float:
    """Judge what was decoded; returns the clip's duration and completes the pictures."""
    video, audio = reading.video, reading.audio
    container_s = min((container_us or 0) / 1e6, reading.max_clip_s)
    for progress, kind in ((video, "picture"), (audio, "sound")):
        promised_s = progress.promised_s
        if promised_s is not None and container_s:
            promised_s = min(promised_s, container_s)
        _check_complete(progress, kind, promised_s)
    if None in (video.promised_s, audio.promised_s):
        furthest = max(video, audio, key=lambda p: p.decoded_end_s)
        _check_complete(furthest, "clip", container_s)
    if not video.n_frames:
        raise MediaError(Reason.NO_VIDEO, "the video stream has no picture")
    if not audio.n_frames:
        raise MediaError(Reason.NO_AUDIO, "the audio stream has no sound")
    clip_s = min(video.decoded_end_s, reading.max_clip_s)
    if clip_s < min_clip_s:
        message = f"{clip_s:.2f} s of picture, {min_clip_s:.2f} s are needed"
        raise MediaError(Reason.TOO_SHORT, message)
    reading.picker.finish(clip_s)
    return clip_s


def _check_complete(progress: _Progress, kind: str, promised_s: float | None) -> None:
    decoded_s = progress.decoded_end_s
    if promised_s and progress.packets_end_s < _ENOUGH * promised_s:
        message = f"the {kind} ends at {decoded_s:.2f} s of the promised {promised_s:.2f} s"
        raise MediaError(Reason.TRUNCATED, message)
    failed = f"{progress.n_failed} of {progress.n_packets} packets of the {kind} do not decode"
    if promised_s and decoded_s < _ENOUGH * promised_s:
        message = f"the {kind} decodes to {decoded_s:.2f} s of {promised_s:.2f} s; {failed}"
        raise MediaError(Reason.DECODE_ERROR, message)
    if progress.n_failed > (1 - _ENOUGH) * progress.n_packets:
        raise MediaError(Reason.DECODE_ERROR, failed)


def _assemble(reading: _Reading, clip_s: float, sample_rate_hz: int) -> DecodedClip:
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
        audio_end_s=max(start_s, min(track.end_s, clip_s)),
        level_dbfs=level_dbfs,
        peak_dbfs=peak_dbfs,
        video_codec=video.stream.codec_context.codec.canonical_name,
        audio_codec=reading.audio.stream.codec_context.codec.canonical_name,
    )
