"""One time line for a file whose time stamps start again in the middle, as in joined recordings."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: Decoding times of a stream never go back in one recording; a step back by more is a new start.
_BACK_S = 0.1
#: Display times, which stand in where there is no decoding time, go to and fro by less than this.
_REORDER_S = 2.0
#: So many packets of the other stream are looked at before a step ahead is taken for a new start.
_AHEAD, _AHEAD_IN_FILE = 6, 600
#: Streams of one recording lie this close together in the file.
_CLOSE_S = 0.5


@dataclass
class _Stream:
    """Decoding times [s] of the last packets of a stream in its present recording."""

    recording: int
    tick_s: float
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=4))

    def last_s(self) -> float:
        """The latest time but one wild stamp."""
        return sorted(self.recent)[-2] if len(self.recent) > 1 else self.recent[0]


@dataclass
class Clock:
    """Moves packets, in file order, to one time line that goes on where the clock starts again.

    All streams of a recording are moved by the same amount, so that they stay in step. A step ahead
    is a new start when all streams make it and it is longer than ``pause_s``. Times in seconds.
    """

    pause_s: float
    offsets_s: list[float] = field(default_factory=lambda: [0.0])
    _streams: dict[int, _Stream] = field(default_factory=dict)
    _start_byte: int = 0
    _now_s: float = 0.0
    _held: deque[Any] = field(default_factory=deque)
    _end_s: float = float("-inf")

    @property
    def restarted(self) -> bool:
        return len(self.offsets_s) > 1

    def follow(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Yield the packets (those without data, too) with their stamps moved."""
        while True:
            packet = self._held.popleft() if self._held else next(packets, None)
            if packet is None:
                return
            self._place(packet, packets)
            yield packet

    def _place(self, packet: Any, packets: Iterator[Any]) -> None:
        shown = packet.dts if packet.pts is None else packet.pts
        if shown is None:
            return
        latest = len(self.offsets_s) - 1
        index = packet.stream_index
        stream = self._streams.get(index)
        if stream is None:
            stream = self._streams[index] = _Stream(latest, float(packet.time_base))
        tick_s = stream.tick_s
        # A decoding time that libav guessed from the packets before may lag behind a jump.
        trusted = packet.dts is not None and abs(shown - packet.dts) * tick_s < _REORDER_S
        time_s = (packet.dts if trusted else shown) * tick_s
        # What an edit list hides may lie before what came last.
        if stream.recent and not packet.is_discard:
            if stream.recording < latest:
                if self._follows(stream, time_s, packet.pos):
                    stream.recording = latest
                    stream.recent.clear()
            elif self._starts_again(packet, time_s, _BACK_S if trusted else _REORDER_S, packets):
                self.offsets_s.append(self._end_s - shown * tick_s)
                self._start_byte = packet.pos or 0
                stream.recording = latest + 1
                stream.recent.clear()
        if trusted and not packet.is_discard:
            stream.recent.append(time_s)
        offset_s = self.offsets_s[stream.recording]
        if offset_s:
            ticks = round(offset_s / tick_s)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        self._now_s = time_s + offset_s
        end_s = (shown + (packet.duration or 0)) * tick_s + offset_s
        self._end_s = max(self._end_s, end_s)

    def _starts_again(
        self, packet: Any, time_s: float, back_s: float, packets: Iterator[Any]
    ) -> bool:
        index = packet.stream_index
        stream = self._streams[index]
        if time_s <= max(stream.recent) + self.pause_s:
            return time_s < stream.last_s() - back_s
        others = self._ahead(index, packets)
        line_s = max((max(s.recent) for i, s in self._streams.items() if i != index), default=None)
        return line_s is None or any(other_s > line_s + self.pause_s for other_s in others)

    def _ahead(self, index: int, packets: Iterator[Any]) -> list[float]:
        """Decoding times of the next packets of the other streams, which are held for later."""
        times: list[float] = []
        for packet in self._held:
            times += _times(packet, index)
        while len(times) < _AHEAD and len(self._held) < _AHEAD_IN_FILE:
            packet = next(packets, None)
            if packet is None:
                break
            self._held.append(packet)
            times += _times(packet, index)
        return times

    def _follows(self, stream: _Stream, time_s: float, byte: int | None) -> bool:
        """Does a packet belong to the new recording that another stream has begun already?"""
        old_s = abs(time_s + self.offsets_s[stream.recording] - self._now_s)
        new_s = abs(time_s + self.offsets_s[-1] - self._now_s)
        behind = byte is not None and byte > self._start_byte
        return (
            time_s < stream.last_s()
            or new_s < old_s - _CLOSE_S
            or (behind and new_s < old_s + _CLOSE_S)
        )


def _times(packet: Any, but: int) -> list[float]:
    if packet.stream_index == but or packet.dts is None:
        return []
    return [packet.dts * float(packet.time_base)]
