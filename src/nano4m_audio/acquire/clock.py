"""One time line for a file whose clock starts again in the middle, as joined recordings have it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

#: Decoding times of a stream never go back in one recording; a step back by more is a new start.
_BACK_S = 0.1
#: In formats whose clock may jump (MPEG), a longer gap than this is a jump, not a pause.
_FORWARD_S = 10.0
#: Streams of one recording lie this close together in the file.
_CLOSE_S = 0.5


@dataclass
class _Stream:
    """Decoding times [s] of the last packets of a stream in its present recording."""

    recording: int
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=4))

    def last_s(self) -> float:
        """The latest time but one wild stamp."""
        return sorted(self.recent)[-2] if len(self.recent) > 1 else self.recent[0]


@dataclass
class Clock:
    """Moves packets, in file order, to one time line that goes on where the clock starts again.

    All streams of a recording are moved by the same amount, so that they stay in step.
    ``jumps`` says that the format's clock may also jump ahead. Times are in seconds.
    """

    jumps: bool = False
    offsets_s: list[float] = field(default_factory=lambda: [0.0])
    _streams: dict[int, _Stream] = field(default_factory=dict)
    _start_byte: int = 0
    _now_s: float = 0.0
    _end_s: float = float("-inf")

    @property
    def restarted(self) -> bool:
        return len(self.offsets_s) > 1

    def place(self, packet: Any) -> None:
        """Move the packet's stamps in place."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return
        tick_s = float(packet.time_base)
        time_s = stamp * tick_s
        latest = len(self.offsets_s) - 1
        stream = self._streams.setdefault(packet.stream.index, _Stream(latest))
        # Display times go to and fro; what an edit list hides may lie before what came last.
        counts = packet.dts is not None and not packet.is_discard
        if stream.recent and counts:
            if stream.recording < latest:
                if self._follows(stream, time_s, packet.pos):
                    stream.recording = latest
                    stream.recent.clear()
            elif self._starts_again(stream, time_s):
                first_s = time_s if packet.pts is None else packet.pts * tick_s
                self.offsets_s.append(self._end_s - first_s)
                self._start_byte = packet.pos or 0
                stream.recording = latest + 1
                stream.recent.clear()
        if counts:
            stream.recent.append(time_s)
        offset_s = self.offsets_s[stream.recording]
        if offset_s:
            ticks = round(offset_s / tick_s)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        self._now_s = time_s + offset_s
        shown = packet.dts if packet.pts is None else packet.pts
        self._end_s = max(self._end_s, (shown + (packet.duration or 0)) * tick_s)

    def _starts_again(self, stream: _Stream, time_s: float) -> bool:
        back = time_s < stream.last_s() - _BACK_S
        return back or (self.jumps and time_s > max(stream.recent) + _FORWARD_S)

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
