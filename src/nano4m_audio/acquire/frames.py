"""Frames of a clip: the decoded frame on display at each wanted time, upright, as JPEG."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from nano4m_audio.media.stored import encode_jpeg

#: Container timestamps may be rounded to the millisecond: a frame counts as shown that much early.
ROUNDING_S = 0.001
#: Times that differ by less differ by the arithmetic alone.
_EQUAL_S = 1e-9
#: Transfer curves of HDR films (PQ, HLG), and what says the curve and the colours of other ones.
_HDR, _BT709 = (16, 18), 1
#: Wider or taller pictures than this are refused: the scaled picture would be all long side.
MAX_ASPECT = 16.0


@dataclass
class PixelAspect:
    """Width of a pixel over its height, which a stream may change in the middle.

    The container's word counts (``container``, None or 0 when it has none) until the stream itself
    changes its mind. Values that no picture has are taken for 1.
    """

    container: Fraction | None
    _changes: list[tuple[int, Fraction | None]] = field(default_factory=list)

    def note(self, stamp: int | None, own: Fraction | None) -> None:
        """Remember that the packet shown at ``stamp`` left the decoder at aspect ``own``."""
        if not self._changes or own != self._changes[-1][1]:
            self._changes.append((stamp or 0, own))

    def at(self, stamp: int | None) -> float:
        """The pixel aspect of the frame shown at ``stamp``."""
        shown = self._changes[:1] + [c for c in self._changes[1:] if (stamp or 0) >= c[0]]
        aspect = shown[-1][1] if shown else None
        if not shown or aspect == self._changes[0][1]:
            aspect = self.container
        return float(aspect) if aspect and 0.25 <= aspect <= 4.0 else 1.0


@dataclass
class FramePicker:
    """Collects, from frames fed in display order, the one shown at each multiple of 1/frames_per_s.

    ``frames`` are JPEG bytes (short side exactly ``short_side_px``, display orientation) and
    ``frame_times_s`` the times at which those frames begin (their own timestamps, not the wanted
    times; 0 for a picture that was shown before). Before the first frame its picture stands in;
    after the last it stays.
    """

    frames_per_s: float
    short_side_px: int
    jpeg_quality: int
    bottom_first: bool = False
    frames: list[bytes] = field(default_factory=list)
    frame_times_s: list[float] = field(default_factory=list)
    width: int = 0
    height: int = 0
    _shown: Any = None
    _shown_s: float = 0.0
    _shown_aspect: float = 1.0
    _jpeg: bytes | None = None
    _scaler: Any = None

    def feed(self, frame: Any, time_s: float, pixel_aspect: float = 1.0) -> None:
        """Take the next decoded frame, whose pixels are ``pixel_aspect`` times as wide as high.

        Frames that do not move forward in time are ignored.
        """
        if self._shown is not None:
            if time_s <= self._shown_s:
                return
            self._emit_until(time_s - ROUNDING_S)
        self._shown, self._shown_s, self._jpeg = frame, time_s, None
        self._shown_aspect = pixel_aspect

    def finish(self, end_s: float) -> None:
        """Emit what is left before ``end_s``."""
        self._emit_until(end_s - ROUNDING_S)
        self._shown = None

    def _emit_until(self, end_s: float) -> None:
        while len(self.frames) / self.frames_per_s < end_s - _EQUAL_S:
            if self._jpeg is None:
                self._jpeg = self._encode(self._shown)
            self.frames.append(self._jpeg)
            self.frame_times_s.append(max(0.0, self._shown_s))

    def _encode(self, frame: Any) -> bytes:
        from av.video.reformatter import Interpolation, VideoReformatter

        if self._scaler is None:
            self._scaler = VideoReformatter()
        width, height = max(1, round(frame.width * self._shown_aspect)), frame.height
        scaled_width, scaled_height = scaled_size(width, height, self.short_side_px)
        # Colours of HDR films as on a common screen; those of other films stay as they are.
        hdr = frame.color_trc in _HDR
        plain = {"dst_color_trc": _BT709, "dst_color_primaries": _BT709} if hdr else {}
        scaled = self._scaler.reformat(
            first_field(frame, self.bottom_first) if frame.interlaced_frame else frame,
            width=scaled_width,
            height=scaled_height,
            format="rgb24",
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            threads=1,
            **plain,
        )
        matrix = display_matrix(frame)
        if not self.frames:
            sideways = abs(matrix[1]) > abs(matrix[0])
            self.width, self.height = (height, width) if sideways else (width, height)
        return encode_jpeg(turn_upright(scaled.to_ndarray(), matrix), self.jpeg_quality)


def first_field(frame: Any, bottom: bool) -> Any:
    """Return the field of an interlaced frame that is shown first, as a frame of half the height.

    The second field shows a later moment; woven together they are two pictures, comb-like where
    something moves. ``bottom`` chooses the odd lines.
    """
    import av

    if frame.format.has_palette or frame.height < 4:
        return frame
    field_ = av.VideoFrame(frame.width, frame.height // 2, frame.format.name)
    field_.colorspace, field_.color_range = frame.colorspace, frame.color_range
    plane: Any
    half: Any
    for plane, half in zip(frame.planes, field_.planes, strict=True):
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
        lines = lines[int(bottom) :: 2]
        out = np.frombuffer(half, np.uint8).reshape(-1, half.line_size)[: half.height]
        columns, rows = min(lines.shape[1], out.shape[1]), min(len(lines), len(out))
        out[:rows, :columns] = lines[:rows, :columns]
        out[rows:, :columns] = lines[-1:, :columns]
    return field_


def scaled_size(width: int, height: int, short_side_px: int) -> tuple[int, int]:
    """Return (width, height) scaled so that the short side is exactly ``short_side_px``.

    Raises ValueError for a picture more than 16 times as long as wide.
    """
    short, long = min(width, height), max(width, height)
    if long > MAX_ASPECT * short:
        raise ValueError(f"a picture of {width}x{height} pixels is too narrow")
    scaled_long = round(long * short_side_px / short)
    return (scaled_long, short_side_px) if width >= height else (short_side_px, scaled_long)


def display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """Return (a, b, c, d) of the display matrix: x' = a x + c y, y' = b x + d y (y down)."""
    from av.sidedata.sidedata import Type

    for data in frame.side_data:
        if data.type == Type.DISPLAYMATRIX and len(bytes(data)) >= 36:
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            return a, b, c, d
    return 1, 0, 0, 1


def turn_upright(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Apply a display matrix to a picture [H, W, 3] as the nearest quarter turn and flips."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        picture = picture.transpose(1, 0, 2)
        down, right = b, c
    else:
        down, right = d, a
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])
