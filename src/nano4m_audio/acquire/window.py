"""Where to begin reading a file for a window of it, and what may be passed over before that.

A demuxer seeks to where it thinks fit, so each try is judged by what came, and the next one begins
earlier. The last reads from the beginning of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nano4m_audio.acquire.clock import Clock
from nano4m_audio.acquire.container import choose_streams, open_media
from nano4m_audio.acquire.frames import ROUNDING_S
from nano4m_audio.acquire.promise import said_s
from nano4m_audio.acquire.runs import Beginning, beginning
from nano4m_audio.acquire.slots import slots_of
from nano4m_audio.acquire.sound import SoundTrack
from nano4m_audio.acquire.source import Source

#: Sound is decoded from so long before the window, and must be there from so long before it, so
#: that decoders which build on what came before (all but the simplest) have settled.
PRE_ROLL_S, _SETTLED_S = 1.5, 0.5
#: Sound of the file's beginning that says where its samples lie.
_BEGINNING_S, _BEGINNING_PACKETS = 1.0, 2000
#: Compressed pictures that are held back while a later keyframe may come.
_MOST_HELD_BYTES = 64 << 20
#: So far [s] the length of a cut may be from that of its segment.
_OFF_S = 0.5
#: In formats whose clock may jump a longer gap than this is a jump.
PAUSE_S = 10.0


@dataclass(frozen=True)
class Try:
    """One way to read: seek to ``back_s`` before the window (None: from the file's beginning), and
    decode from the last keyframe that is ``key_s`` or more before it (None: from the first)."""

    back_s: float | None
    key_s: float | None = 0.0


_SEEKS = (Try(PRE_ROLL_S), Try(12.0, PRE_ROLL_S), Try(60.0, 12.0))
_FROM_BEGINNING = (Try(None), Try(None, 60.0), Try(None, None))


@dataclass(frozen=True)
class Preface:
    """How a file begins: its sound, after the container's origin, and the aspect of its pixels;
    whether its clock starts again later, so that there is no place to seek to; and by how many
    packets its decoder lags behind (``slots.Slots``)."""

    sound: Beginning | None = None
    aspect: Any = None
    restarts: bool = False
    lag: int | None = None


def tries(window: tuple[float, float] | None, preface: Preface) -> Iterator[Try]:
    """The ways to read a window (None: all of the file), in the order in which they are tried."""
    if window is None:
        yield _FROM_BEGINNING[-1]
        return
    if not preface.restarts:
        yield from (one for one in _SEEKS if one.back_s is not None and window[0] > one.back_s)
    yield from _FROM_BEGINNING


@dataclass
class Landing:
    """What came first after a seek, in seconds after the beginning of the window."""

    of: Try
    begin: Beginning | None = None
    sound_s: float | None = None
    picture_s: float | None = None
    passed_over: bool = False
    _held: list[Any] = field(default_factory=list)
    _held_bytes: int = 0
    _open: bool = False

    @property
    def good(self) -> bool:
        """Did pictures and sound come in time, or could nothing come earlier?"""
        if self.of.back_s is None and not self.passed_over:
            return True
        if self.picture_s is None or self.picture_s > ROUNDING_S:
            return False
        if self.of.back_s is None:
            return True
        needed_s = max(-_SETTLED_S, self.begin.start_s + ROUNDING_S if self.begin else -_SETTLED_S)
        return self.sound_s is not None and self.sound_s <= needed_s

    def sound_is_needed(self, time_s: float | None, end_s: float) -> bool:
        """Take note of a packet of sound; is it to be decoded?"""
        if self.sound_s is None and time_s is not None:
            self.sound_s = time_s
        return time_s is None or end_s > -PRE_ROLL_S

    def pictures(self, packet: Any, time_s: float | None, decoded_s: float | None) -> list[Any]:
        """The packets that are to be decoded now that this one has come."""
        if self._open:
            return [packet]
        key = packet.is_keyframe and time_s is not None
        if key and self.of.key_s is not None and (time_s or 0.0) <= ROUNDING_S - self.of.key_s:
            self.passed_over |= bool(self._held)
            self._held, self._held_bytes = [], 0
        elif not self._held and not packet.is_keyframe and self.of.back_s is not None:
            return []  # after a seek: nothing decodes before a keyframe
        self._held.append(packet)
        self._held_bytes += packet.size
        late = decoded_s is not None and decoded_s > 0
        late = late or (key and time_s is not None and time_s > 0)
        if late or self.of.key_s is None or self._held_bytes > _MOST_HELD_BYTES:
            return self.rest()
        return []

    def rest(self) -> list[Any]:
        """What is held back, which no later keyframe can replace."""
        self._open, held, self._held = True, self._held, []
        return held


def seek(container: Any, stream: Any, time_s: float) -> bool:
    """Go to a keyframe at or before a time of the container's clock; False where that fails."""
    import av

    try:
        container.seek(int(time_s / stream.time_base), stream=stream)
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return False
    return True


def is_cut(source: Source, window: tuple[float, float]) -> bool:
    """Whether a file is the segment at ``window`` of its video, and not all of that: it says that
    it is no longer than the segment, or ends before that does, or does not say when it ends."""
    with open_media(source) as container:
        length_s = said_s(container, (container.start_time or 0) / 1e6)
    return (
        length_s is None or length_s < max(window[1], window[1] - window[0] + 2 * _OFF_S) - _OFF_S
    )


def read_preface(source: Source, window: tuple[float, float] | None) -> Preface:
    """How the file begins, by its first second; needed for a window alone."""
    import av

    if window is None:
        return Preface()
    track, aspect, keyed = SoundTrack(), None, False
    with open_media(source) as container:
        video, audio = choose_streams(container, source)
        origin_s = (container.start_time or 0) / 1e6
        again = _restarts(container, source)
        slots = slots_of(container)
        try:
            for n, packet in enumerate(container.demux(video, audio)):
                if n > _BEGINNING_PACKETS or track.decoded_s > _BEGINNING_S:
                    break
                if packet.stream_index == audio.index:
                    for frame in _decoded(packet):
                        stamp = frame.dts if frame.pts is None else frame.pts
                        if stamp is not None:
                            track.feed(frame, float(stamp * audio.time_base) - origin_s)
                elif slots and slots.lag is None and packet.size:
                    slots.feed(packet)
                    for frame in _decoded(packet):
                        slots.place(frame)
                elif packet.is_keyframe and not keyed:
                    _decoded(packet)
                if packet.stream_index == video.index and packet.is_keyframe and not keyed:
                    keyed = True
                    aspect = video.codec_context.sample_aspect_ratio
        except MemoryError:
            raise
        except av.error.FFmpegError:
            pass  # what was read so far is the beginning
    lag = slots.lag if slots else None
    return Preface(beginning(track.pieces) if track.pieces else None, aspect, again, lag)


def _decoded(packet: Any) -> list[Any]:
    import av

    try:
        return packet.decode()
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return []


#: Whether the clock of the file that was read last starts again in it.
_RESTARTS: dict[Any, bool] = {}


def _restarts(container: Any, source: Source) -> bool:
    """Does the clock of the file start again somewhere?

    Only in formats made to be joined (MPEG) is it looked for, by reading all of the packets, once
    for the segments of a file that follow each other.
    """
    import av
    from av.format import Flags

    if not container.format.flags & Flags.ts_discont.value:
        return False
    if source.identity not in _RESTARTS:
        clock = Clock(PAUSE_S)
        with open_media(source) as whole:
            packets = whole.demux(*choose_streams(whole, source))
            try:
                for _ in clock.follow(p for p in packets if p.size):
                    if clock.restarted:
                        break
            except MemoryError:
                raise
            except av.error.FFmpegError:
                pass  # the file ends here
        _RESTARTS.clear()
        _RESTARTS[source.identity] = clock.restarted
    return _RESTARTS[source.identity]
