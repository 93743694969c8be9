"""Display times of pictures in a container that keeps decoding times alone, as AVI does.

What libav guesses for those is frames off where pictures are reordered, and may go back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

#: Formats of libav that keep no display times.
_DECODING_TIMES_ALONE = {"avi"}
#: A decoder holds back fewer pictures (16 in H.264, each of two fields).
_MOST_HELD = 64


def slots_of(container: Any) -> Slots | None:
    """``Slots`` for a file that needs them."""
    return Slots() if container.format.name in _DECODING_TIMES_ALONE else None


@dataclass
class Slots:
    """Gives pictures, in display order, the decoding times of their packets in order: these are the
    times at which one is shown, each for another picture.

    A decoder that reorders gives its first picture when it has some packets more, and from then on
    lags behind by as many. ``lag`` is counted from the last keyframe before that picture, since
    nothing can come out of what is before it. ``step`` [ticks] is the shortest time from one packet
    to the next: libav takes interlaced pictures for half as long as they are.
    """

    lag: int | None = None
    step: int = 0
    _before: int | None = None
    _fed: deque[int | None] = field(default_factory=lambda: deque(maxlen=_MOST_HELD))

    def stamp(self, packet: Any) -> None:
        """Set what a packet has for its display time, and for how long its picture stays."""
        packet.pts, before = packet.dts, self._before
        if packet.dts is None:
            return
        gap = packet.dts - before if before is not None else 0
        self.step = min(self.step or gap, gap) if gap > 0 else self.step
        self._before = packet.dts
        packet.duration = self.step or packet.duration

    def feed(self, packet: Any) -> None:
        """Take note of a packet that goes to the decoder."""
        if self.lag is None and packet.is_keyframe:
            self._fed.clear()
        self._fed.append(packet.dts)

    def place(self, frame: Any) -> None:
        """Set when a picture that leaves the decoder is shown, in ticks; None where that follows
        from the one before."""
        if self.lag is None:
            self.lag = max(0, len(self._fed) - 1)
        while len(self._fed) > self.lag + 1:  # a packet before gave no picture
            self._fed.popleft()
        frame.pts = self._fed.popleft() if self._fed else None
