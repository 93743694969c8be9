"""Copy one segment of a film, packet by packet, so that it decodes to the same frames as the film.

Nothing is encoded. A piece begins at the keyframe before its segment, with some sound before that
the decoder needs, and goes on until everything that is shown in the segment is in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.container import open_media, say
from nano4m_audio.acquire.source import MediaError, Source
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.files import atomic_path

#: How far before a segment to look for its keyframe: at least this, so that sound begins before it.
_LEADS_S = (1, 4, 16, 64, 256, 1024)
#: Sound that has a gap there is not looked for further back than this.
_PATIENT_LEAD_S = 4
#: Decoders of sound need some of it before what they give is right.
_PREROLL_S = Fraction(1, 2)
#: Read on so far, for those who filter sound across the end.
_AFTER_S = Fraction(1, 4)
#: One stream may be so far ahead of another; then the other has ended.
_AHEAD_S = 5
#: What a piece may lack at its end.
_TOLERANCE_S = 0.2
#: Matroska counts milliseconds; the times of all else are kept exactly by MP4.
_MATROSKA_TICK = Fraction(1, 1000)
_MOST_TICKS = 2**31 - 1
_KINDS = ("video", "audio")
_MANY_STREAMS = 8


@dataclass
class Media:
    """The open files of one film: one with everything, or one each for picture and sound.

    Time 0 of the film is the smallest start of its files, as a decoder of the merged file has it:
    ``origin_s`` of theirs. ``video_s`` is when its picture ends, where a container says so.
    """

    sources: Sequence[Any]
    containers: list[Any]
    origin_s: float
    video_s: float | None
    fresh: list[bool]

    @classmethod
    def open(cls, sources: Sequence[Any]) -> Media:
        """Open files that are read as ``acquire.source.Source`` is. Raises FetchError."""
        containers: list[Any] = []
        try:
            for source in sources:
                containers.append(open_media(source))
        except MediaError as error:
            for container in containers:
                container.close()
            for source in sources:
                source.check()
            raise FetchError(str(error), place="media") from error
        origin = min(Fraction(c.start_time or 0, 1_000_000) for c in containers)
        ends = [
            end - origin
            for container in containers
            for stream in _streams(container)
            if stream.type == "video" and (end := _end(container, stream)) is not None
        ]
        video_s = float(max(ends)) if ends else None
        media = cls(sources, containers, float(origin), video_s, [True] * len(containers))
        if not any(stream.type == "video" for stream in media.streams):
            media.close()
            raise FetchError("the media has no picture", place="media")
        return media

    @property
    def streams(self) -> list[Any]:
        """The streams of all files that are copied."""
        return [stream for container in self.containers for stream in _streams(container)]

    @property
    def has_sound(self) -> bool:
        """Is there a stream of sound?"""
        return any(stream.type == "audio" for stream in self.streams)

    def at_start(self, number: int) -> Any:
        """A file's container, read from its first packet: no seeking finds all that comes first."""
        if not self.fresh[number]:
            self.containers[number].close()
            self.containers[number] = open_media(self.sources[number])
        return self.containers[number]

    def close(self) -> None:
        """Close the containers."""
        for container in self.containers:
            container.close()


@dataclass(frozen=True)
class Cut:
    """Where a segment lies in the file that was written, as decoders of it count [s]."""

    start_s: float
    end_s: float
    has_sound: bool


def cut(media: Media, start_s: float, end_s: float, out: Path) -> Cut:
    """Write the segment [start_s, end_s) of ``media`` to ``out``, atomically.

    Raises FetchError ("content too short" and others) when it is not what was asked for.
    """
    import av

    if media.video_s is not None and start_s >= media.video_s:
        text = f"content too short: the video ends after {media.video_s:.2f} s"
        raise FetchError(text, place="media")
    begin = Fraction(media.origin_s) + Fraction(start_s)
    end = Fraction(media.origin_s) + Fraction(end_s)
    try:
        packets = [
            packet
            for number in range(len(media.containers))
            for packet in _read(media, number, begin, end)
        ]
        with atomic_path(out) as temp:
            shift_s = _write(temp, media.streams, packets)
            return look(temp, media, start_s, end_s, shift_s)
    except (av.error.FFmpegError, MediaError, ValueError) as error:
        raise FetchError(f"the media cannot be read: {say(error)}", place="media") from error


def look(path: Path, media: Media, start_s: float, end_s: float, shift_s: int = 0) -> Cut:
    """Check that the file holds the segment of ``media``, and say where in it.

    Its times are those of the media, less ``shift_s``. Raises FetchError.
    """
    start = Fraction(media.origin_s) + Fraction(start_s) - shift_s
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in _KINDS}
    with Source(path) as source, open_media(source) as piece:
        offset_s = float(start - Fraction((piece.start_time or 0) / 1e6))
        for packet in piece.demux(*_streams(piece)):
            if packet.size:
                length = (packet.duration or 0) * packet.time_base
                times[packet.stream.type].append((float(_time(packet) - start), float(length)))
    length_s = min(end_s, media.video_s or math.inf) - start_s
    pictures, sounds = sorted(times["video"]), times["audio"]
    if not pictures or (media.has_sound and not sounds):
        lacking = "sound" if pictures else "picture"
        raise FetchError(f"content too short: no {lacking} in the segment", place="media")
    if pictures[0][0] > _TOLERANCE_S and start_s > 0:
        text = f"content too short: pictures begin {pictures[0][0]:.2f} s late"
        raise FetchError(text, place="media")
    gaps = [after[0] - before[0] for before, after in pairwise(pictures)]
    ends_s = pictures[-1][0] + max([pictures[-1][1], *gaps[-1:]])
    if media.video_s is None:
        length_s = min(length_s, ends_s)
    if ends_s < length_s - _TOLERANCE_S:
        text = f"content too short: {max(ends_s, 0):.2f} s of {length_s:.2f} s"
        raise FetchError(text, place="media")
    return Cut(offset_s, offset_s + length_s, bool(sounds))


def _end(container: Any, stream: Any) -> Fraction | None:
    """When a stream ends, by the clock of its container, if that says so."""
    if stream.duration:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    if container.duration:
        return Fraction((container.start_time or 0) + container.duration, 1_000_000)
    return None


def _streams(container: Any) -> list[Any]:
    from av.stream import Disposition

    return [
        stream
        for stream in container.streams
        if stream.type in _KINDS
        and stream.codec_context is not None
        and not stream.disposition & Disposition.attached_pic
    ][:_MANY_STREAMS]


def _read(media: Media, number: int, begin: Fraction, end: Fraction) -> list[Any]:
    """The packets of a file from the last keyframe before ``begin`` to ``end``."""
    container = media.containers[number]
    first = Fraction(container.start_time or 0, 1_000_000)
    for lead_s in _LEADS_S:
        target = begin - lead_s
        if target <= first:
            break
        streams = _streams(container)
        if not streams:
            return []
        leading = next((s for s in streams if s.type == "video"), streams[0])
        media.fresh[number] = False
        container.seek(math.floor(target / leading.time_base), stream=leading)
        strict = set(_KINDS) if lead_s <= _PATIENT_LEAD_S else {"video"}
        packets = _from_here(container, streams, begin, end, strict)
        if packets is not None:
            return packets
    container = media.at_start(number)
    media.fresh[number] = False
    packets = _from_here(container, _streams(container), begin, end, set())
    assert packets is not None
    return packets


def _from_here(
    container: Any, streams: Sequence[Any], begin: Fraction, end: Fraction, strict: set[str]
) -> list[Any] | None:
    """The packets from here on, or None when streams of the kinds ``strict`` begin too late."""
    latest = {s.index: _latest(s, begin) for s in streams}
    waiting = set(latest)
    packets = []
    for packet in _packets(container, streams, end):
        index, kind = packet.stream_index, packet.stream.type
        if index in waiting:
            if kind == "video" and not packet.is_keyframe:
                continue
            if kind in strict and _time(packet) > latest[index]:
                return None
            waiting.discard(index)
        packets.append(packet)
    lacking = {stream.type for stream in streams if stream.index in waiting}
    return None if lacking & strict & {"video"} else packets


def _latest(stream: Any, begin: Fraction) -> Fraction:
    """Up to when the first packet of a stream must come, for a segment from ``begin``."""
    latest = begin - (0 if stream.type == "video" else _PREROLL_S)
    return max(latest, (stream.start_time or 0) * stream.time_base)


def _packets(container: Any, streams: Sequence[Any], end: Fraction) -> Iterator[Any]:
    """Packets until every stream is past ``end``, or so far past it that no more will come."""
    going_on = {stream.index for stream in streams}
    for packet in container.demux(*streams):
        if not packet.size:
            continue
        decoded_at = packet.pts if packet.dts is None else packet.dts
        if decoded_at is None:
            raise ValueError("a packet without a time")
        time = decoded_at * packet.time_base
        if time >= end + _AFTER_S:
            going_on.discard(packet.stream_index)
            if not going_on or time > end + _AHEAD_S:
                return
            continue
        yield packet


def _time(packet: Any) -> Fraction:
    return (packet.dts if packet.pts is None else packet.pts) * packet.time_base


def _fill_in(packets: Sequence[Any]) -> None:
    """Give packets without one a time of decoding that keeps their order, which Matroska lacks."""
    missing: list[Any] = []
    last: int | None = None
    for packet in packets:
        if packet.dts is None:
            if last is None:
                missing.append(packet)
                continue
            packet.dts = last + 1
        for back, early in enumerate(reversed(missing), 1):
            early.dts = packet.dts - back
        missing.clear()
        last = packet.dts
    for number, packet in enumerate(missing):
        packet.dts = min(p.pts for p in missing) - len(missing) + number


def _shift_s(packets: Sequence[Any], negative: bool) -> int:
    """Whole seconds by which all goes back, so that the piece begins in its first second.

    Where times cannot be ``negative``, all may go forward by one.
    """
    times = [time * p.time_base for p in packets for time in (p.pts, p.dts)]
    if not times:
        raise FetchError("content too short: nothing in the segment", place="media")
    step_s = math.lcm(*(packet.time_base.numerator for packet in packets))
    whole_s = math.floor(min(times) / step_s) * step_s
    return max(whole_s, 0) if negative else whole_s


def _write(path: Path, streams: Sequence[Any], packets: Sequence[Any]) -> int:
    """Write the packets, times less as many seconds as are returned."""
    import av

    for stream in streams:
        _fill_in([p for p in packets if p.stream is stream])
    for packet in packets:
        packet.pts = packet.dts if packet.pts is None else packet.pts
    bases = {stream.time_base for stream in streams}
    for name in ("matroska", "mp4") if bases == {_MATROSKA_TICK} else ("mp4", "matroska"):
        options = {"fflags": "+bitexact"}
        if name == "mp4":
            # Starts of streams are written in ticks of the film: fine enough for all of them.
            ticks = math.lcm(1000, *(base.denominator for base in bases))
            if ticks > _MOST_TICKS:
                continue
            options["movie_timescale"] = str(ticks)
        shift_s = _shift_s(packets, negative=name == "mp4")
        with av.open(str(path), "w", format=name, container_options=options) as out:
            try:
                copies = {id(stream): _copy_of(out, stream) for stream in streams}
                out.start_encoding()
            except (ValueError, av.error.FFmpegError):
                continue  # a codec that this format does not hold
            for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
                back = int(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts - back, packet.dts - back
                packet.stream = copies[id(packet.stream)]
                out.mux(packet)
        return shift_s
    raise FetchError("no container for these codecs", place="media")


def _copy_of(out: Any, stream: Any) -> Any:
    copy = out.add_stream_from_template(stream, opaque=True)  # no encoder of that name is needed
    copy.time_base = stream.time_base
    copy.disposition = stream.disposition
    return copy
