"""Films like those of video sites, and what decoding a window of them gives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

FPS = 10
RATE_HZ = 48000


def film(
    path: Path,
    *,
    seconds: float = 120.0,
    codecs: tuple[str | None, str | None] = ("libx264", "aac"),
    gop_s: float = 4.0,
    size: tuple[int, int] = (160, 120),
    bit_rates: tuple[int, int] = (220_000, 64_000),
    fps: Fraction | int = FPS,
    rate_hz: int = RATE_HZ,
    options: dict[str, str] | None = None,
    start_s: float = 0.0,
) -> Path:
    """Write a film of moving noise, whose frames all differ, with a chord that glides."""
    codec_v, codec_a = codecs
    with av.open(str(path), "w", container_options=options or {}) as out:
        streams: list[Any] = []
        if codec_v:
            video: Any = out.add_stream(codec_v, rate=fps)
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            video.bit_rate, video.gop_size = bit_rates[0], round(gop_s * float(fps))
            fast = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
            video.options = fast if "vp" in codec_v else {"preset": "veryfast", "threads": "1"}
            streams.append((video, _pictures(seconds, size, fps)))
        if codec_a:
            audio: Any = out.add_stream(codec_a, rate=rate_hz, layout="stereo")
            audio.bit_rate = bit_rates[1]
            if codec_a == "aac":  # its noise is another one at every start of a decoder
                audio.options = {"aac_pns": "0"}
            streams.append((audio, _sounds(seconds, rate_hz)))
        shown = {id(stream): Fraction(0) for stream, _ in streams}
        while streams:
            stream, frames = min(streams, key=lambda s: shown[id(s[0])])
            frame = next(frames, None)
            if frame is None:
                streams = [s for s in streams if s[0] is not stream]
            else:
                shown[id(stream)] = frame.pts * frame.time_base
                frame.pts += round(start_s / frame.time_base)
                if stream.type == "audio":
                    frame = _resampled(stream, frame)
            for one in frame if isinstance(frame, list) else [frame]:
                out.mux(stream.encode(one))
    return path


def _pictures(seconds: float, size: tuple[int, int], fps: Any):
    width, height = size
    grain = np.random.default_rng(0).integers(0, 60, (height * 2, width * 2), np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    for i in range(round(seconds * float(fps))):
        grey = 90 + 60 * np.sin(x / 9 + i / 11) * np.sin(y / 7 + i / 29)
        dy, dx = (i // 2) % height, i % width
        grey = grey.astype(np.uint8) + grain[dy : dy + height, dx : dx + width]
        frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, 2), format="rgb24")
        frame.pts, frame.time_base = i, 1 / Fraction(fps)
        yield frame


def _sounds(seconds: float, rate_hz: int):
    for at in range(0, round(seconds * rate_hz), 960):
        t = (at + np.arange(960)) / rate_hz
        wave = 0.2 * np.sin(2 * np.pi * (300 * t + 4 * t**2)) + 0.1 * np.sin(2 * np.pi * 1100 * t)
        sound = av.AudioFrame.from_ndarray(
            np.stack([wave, 0.5 * wave]).astype(np.float32), format="fltp", layout="stereo"
        )
        sound.sample_rate, sound.pts, sound.time_base = rate_hz, at, Fraction(1, rate_hz)
        yield sound


def _resampled(stream: Any, frame: Any) -> Any:
    if stream.codec_context.format.name == "fltp":
        return frame
    if not hasattr(stream.codec_context, "_resampler"):
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout="stereo", rate=frame.sample_rate
        )
        _RESAMPLERS.setdefault(id(stream), resampler)
    return _RESAMPLERS[id(stream)].resample(frame)


_RESAMPLERS: dict[int, Any] = {}


def merged(path: Path, *parts: Path) -> Path:
    """The streams of several files in one, as a player merges them."""
    inputs = [av.open(str(part)) for part in parts]
    with av.open(str(path), "w") as out:
        packets = []
        for one in inputs:
            for stream in one.streams:
                copy = out.add_stream_from_template(stream)
                copy.time_base = stream.time_base
                packets += [(p, copy) for p in one.demux(stream) if p.size]
        packets.sort(key=lambda pair: pair[0].dts * pair[0].time_base)
        for packet, copy in packets:
            packet.stream = copy
            out.mux(packet)
    for one in inputs:
        one.close()
    return path


def window(path: Path, start_s: float, end_s: float) -> tuple[list[Any], np.ndarray]:
    """Decode a file from its start: frames (time, pixels) shown in [start_s, end_s), the first of
    them on display at start_s, and the samples [channels, n] of that time."""
    frames: list[Any] = []
    with av.open(str(path)) as container:
        origin_s = (container.start_time or 0) / 1e6
        kinds = {stream.type for stream in container.streams}
        if "video" in kinds:
            for frame in container.decode(video=0):
                time_s = frame.time - origin_s - start_s
                if time_s >= end_s - start_s - 1e-4:
                    break
                if time_s <= 1e-4:
                    frames.clear()
                frames.append((time_s, frame.to_ndarray()))
    with av.open(str(path)) as container:
        if "audio" not in kinds:
            return frames, np.zeros((1, 0))
        rate = container.streams.audio[0].codec_context.sample_rate
        n = round((end_s - start_s) * rate)
        samples = np.zeros((2, n), np.float32)
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
        for sound in container.decode(audio=0):
            at = round((sound.time - origin_s - start_s) * rate)
            for one in resampler.resample(sound):
                block = one.to_ndarray()
                lo, hi = max(0, at), min(n, at + block.shape[1])
                if lo < hi:
                    samples[:, lo:hi] = block[:, lo - at : hi - at]
    return frames, samples
