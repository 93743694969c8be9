"""One pass over a file: the packets of picture and sound, decoded and laid on the clip's time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nano4m_audio.acquire import memory
from nano4m_audio.acquire.clock import Clock
from nano4m_audio.acquire.container import MAX_FRAME_PIXELS, choose_streams
from nano4m_audio.acquire.frames import FramePicker, PixelAspect
from nano4m_audio.acquire.promise import stream_promise_s
from nano4m_audio.acquire.slots import Slots, slots_of
from nano4m_audio.acquire.sound import SoundTrack
from nano4m_audio.acquire.source import MediaError, Source
from nano4m_audio.acquire.window import (
    PAUSE_S,
    PRE_ROLL_S,
    Landing,
    Preface,
    Try,
    seek,
)
from nano4m_audio.reasons import Reason

#: Limits against hostile files; ordinary clips stay far below: 30 s of 8K at 60 pictures a second.
_MAX_DECODED_PIXELS = MAX_FRAME_PIXELS * 60 * 30
_MAX_FRAMES_PER_S = 250
_SAMPLE_RATES_HZ = range(4000, 768001)
#: How far past the end a badly interleaved file is read for the other stream.
_INTERLEAVE_S = 10.0
#: So many frames in a row past the end are its end; fewer are wild stamps.
_PAST = 3
#: Values of libav's field order in which the bottom field is shown first.
_BOTTOM_FIRST = (3, 4)


@dataclass
class Progress:
    """What was read of one stream, in seconds after the clip's origin.

    What lies before the origin prepares for it: it is decoded, and counts for nothing.
    """

    stream: Any
    promised_s: float | None
    tick_s: float
    packets_end_s: float = 0.0
    decoded_end_s: float = 0.0
    first_s: float | None = None
    step_s: float = 0.0
    n_frames: int = 0
    n_packets: int = 0
    n_before: int = 0
    n_failed: int = 0
    n_past: int = 0
    done: bool = False


@dataclass
class Reading:
    """The state of one pass: both streams, and what collects their frames.

    ``origin_s`` is the clip's time 0 by the clock of the container, ``start_s`` how far into the
    file it lies, ``asked_s`` the length of the window (infinite: all of the file).
    """

    origin_s: float
    start_s: float
    asked_s: float
    max_clip_s: float
    video: Progress
    audio: Progress
    picker: FramePicker
    aspect: PixelAspect
    clock: Clock
    landing: Landing
    slots: Slots | None = None
    track: SoundTrack = field(default_factory=SoundTrack)
    decoded_pixels: int = 0
    last_byte: int = 0

    def begin(self, container: Any, preface: Preface) -> bool:
        """Go to where reading begins, told how the file begins; False where that fails."""
        if self.slots is not None:
            # Pictures before a keyframe are lost after a seek: the lag cannot be counted there.
            self.slots.lag = preface.lag
        sound = preface.sound
        if sound is not None:
            # What is read from its beginning is laid as a whole file is.
            sound = sound.moved(-self.start_s) if self.start_s > PRE_ROLL_S else None
        self.landing.begin = self.track.begin = sound
        back_s = self.landing.of.back_s
        if back_s is None:
            return True
        self.aspect.note(None, preface.aspect)
        return seek(container, self.video.stream, self.origin_s - back_s)


def start(
    container: Any,
    source: Source,
    picker: FramePicker,
    window: tuple[float, float] | None,
    max_clip_s: float,
    one: Try,
) -> Reading:
    """Choose the streams and lay out one try at reading a window (None: all of the file)."""
    from av.format import Flags

    start_s, end_s = window or (0.0, math.inf)
    video, audio = choose_streams(container, source)
    picker.bottom_first = video.codec_context.field_order in _BOTTOM_FIRST
    file_s = (container.start_time or 0) / 1e6
    jumps = container.format.flags & Flags.ts_discont.value
    clip_s = min(max_clip_s, end_s - start_s)
    return Reading(
        file_s + start_s,
        start_s,
        end_s - start_s,
        clip_s,
        _progress(container, video, file_s, start_s),
        _progress(container, audio, file_s, start_s),
        picker,
        PixelAspect(video.sample_aspect_ratio),
        Clock(PAUSE_S if jumps else start_s + clip_s + _INTERLEAVE_S),
        Landing(one),
        slots_of(container),
        SoundTrack(middle=window is not None, tick_s=float(audio.time_base)),
    )


def _progress(container: Any, stream: Any, file_s: float, start_s: float) -> Progress:
    promised_s = stream_promise_s(container, stream, file_s)
    promised_s = None if promised_s is None else promised_s - start_s
    return Progress(stream, promised_s, float(stream.time_base))


def read(container: Any, reading: Reading) -> None:
    """Feed every frame of both streams, up to the end of the clip, to the collectors."""
    import av

    feed = {reading.video.stream.index: _feed_video, reading.audio.stream.index: _feed_audio}
    limited = memory.limited()
    for progress, packet in _packets(container, reading):
        if progress.done:
            continue
        if limited and progress is reading.video and memory.due(progress.n_packets):
            memory.ask_for_pictures(progress.stream.codec_context)
        slots = reading.slots if progress is reading.video else None
        if slots is not None and packet is not None:
            slots.feed(packet)
        try:
            frames = progress.stream.codec_context.decode(packet)
        except av.error.EOFError:
            continue
        except MemoryError:
            raise
        except av.error.FFmpegError:
            progress.n_failed += progress.n_packets > 0
            continue
        if progress is reading.video and packet is not None and packet.is_keyframe:
            aspect = progress.stream.codec_context.sample_aspect_ratio
            reading.aspect.note(packet.pts, aspect)
        for frame in frames:
            if slots is not None:
                slots.place(frame)
            feed[progress.stream.index](reading, progress, frame)
            if progress.done:
                break


def _packets(container: Any, reading: Reading) -> Iterator[tuple[Progress, Any]]:
    """Packets of both streams in file order, then None for each to flush its decoder.

    Stops as soon as both streams are done, or one is far past the clip's end. A file that breaks
    off in the middle ends the packets; what was promised is compared with what came afterwards.
    """
    import av

    both = {p.stream.index: p for p in (reading.video, reading.audio)}
    n_late, landing = 0, reading.landing
    try:
        packets = container.demux(reading.video.stream, reading.audio.stream)
        for packet in reading.clock.follow(packets):
            if reading.slots is not None and packet.stream_index == reading.video.stream.index:
                reading.slots.stamp(packet)
            if packet.size == 0:  # also the last one of every stream of the file
                if packet.stream_index in both:
                    _stay(reading, both[packet.stream_index], packet)
                continue
            progress = both[packet.stream_index]
            reading.last_byte = max(reading.last_byte, (packet.pos or 0) + packet.size)
            shown_s, end_s = _packet_s(reading, progress, packet)
            progress.n_packets += shown_s is None or end_s > 0
            progress.n_before += shown_s is not None and end_s <= 0
            progress.packets_end_s = max(progress.packets_end_s, end_s)
            n_late = n_late + 1 if end_s > reading.max_clip_s + _INTERLEAVE_S else 0
            if n_late > _PAST:
                break
            if progress is reading.audio:
                if landing.sound_is_needed(shown_s, end_s):
                    yield progress, packet
            else:
                decoded_s = None if packet.dts is None else _seconds(reading, progress, packet.dts)
                for ready in landing.pictures(packet, shown_s, decoded_s):
                    yield progress, ready
            if reading.video.done and reading.audio.done:
                return
    except MemoryError:
        raise
    except av.error.FFmpegError:
        pass  # the same as an early end of the file: _finish compares it with the promise
    for packet in landing.rest():
        yield reading.video, packet
    for progress in both.values():
        yield progress, None


def _stay(reading: Reading, progress: Progress, packet: Any) -> None:
    """An empty packet: in Theora the picture before it stays. A decoder would take it for the
    end."""
    if packet.pts is not None:
        _, end_s = _packet_s(reading, progress, packet)
        progress.packets_end_s = max(progress.packets_end_s, end_s)
        shown_s = min(end_s, reading.max_clip_s)
        progress.decoded_end_s = max(progress.decoded_end_s, shown_s)


def _packet_s(reading: Reading, progress: Progress, packet: Any) -> tuple[float | None, float]:
    """When a packet is shown and until when; None and 0 for one without a stamp."""
    stamp = packet.dts if packet.pts is None else packet.pts
    if stamp is None:
        return None, 0.0
    end_s = _seconds(reading, progress, stamp + (packet.duration or 0))
    return _seconds(reading, progress, stamp), end_s


def _seconds(reading: Reading, progress: Progress, stamp: int) -> float:
    return stamp * progress.tick_s - reading.origin_s


def _feed_video(reading: Reading, progress: Progress, frame: Any) -> None:
    rate = progress.stream.average_rate or progress.stream.guessed_rate or 25
    step_s = float(frame.duration * progress.stream.time_base) or float(1 / rate)
    time_s = _time_s(reading, progress, frame)
    wanted = time_s + step_s > 0
    reading.decoded_pixels += frame.width * frame.height * wanted
    if reading.landing.picture_s is None and not frame.is_corrupt:
        reading.landing.picture_s = time_s
    if progress.n_frames > _MAX_FRAMES_PER_S * reading.max_clip_s:
        raise ValueError("more pictures than a clip of this length can have")
    if reading.decoded_pixels > _MAX_DECODED_PIXELS:
        message = f"more than {_MAX_DECODED_PIXELS / 1e9:.0f} billion pixels in one clip"
        raise MediaError(Reason.TOO_LARGE, message)
    if _is_past(reading, progress, time_s):
        return
    progress.n_frames += wanted
    progress.n_failed += wanted and bool(frame.is_corrupt)
    if progress.first_s is None:
        progress.first_s = time_s
    progress.step_s = step_s
    progress.decoded_end_s = max(progress.decoded_end_s, time_s + step_s)
    reading.picker.feed(frame, time_s, reading.aspect.at(frame.pts))


def _feed_audio(reading: Reading, progress: Progress, frame: Any) -> None:
    if frame.sample_rate not in _SAMPLE_RATES_HZ:
        raise ValueError(f"a sample rate of {frame.sample_rate} Hz")
    time_s = _time_s(reading, progress, frame)
    if reading.track.decoded_s > 2 * (reading.max_clip_s + PRE_ROLL_S):
        raise ValueError("more sound than a clip of this length can have")
    past = _is_past(reading, progress, time_s)
    if not progress.done:
        # A stamp past the end may be a wild one in unbroken sound.
        reading.track.feed(frame, time_s)
    if past:
        return
    end_s = time_s + frame.samples / frame.sample_rate
    progress.n_frames += end_s > 0
    progress.decoded_end_s = max(progress.decoded_end_s, end_s)


def _is_past(reading: Reading, progress: Progress, time_s: float) -> bool:
    """Does a frame begin after the clip's end? Some in a row are the end of the stream."""
    past = time_s >= reading.max_clip_s
    progress.n_past = progress.n_past + 1 if past else 0
    progress.done = progress.n_past > _PAST
    return past


def _time_s(reading: Reading, progress: Progress, frame: Any) -> float:
    stamp = frame.dts if frame.pts is None else frame.pts
    if stamp is None:
        return progress.decoded_end_s
    return float(stamp * progress.stream.time_base) - reading.origin_s
