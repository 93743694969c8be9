"""Reels whose pictures carry their number and whose sound tells its time, and how to read both."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from nano4m_audio.acquire.decode import DecodedClip
from nano4m_audio.media.stored import read_audio, read_frame

FPS = 25
_BITS = 9
_RATE_HZ = 32000


def picture(number: int, width: int = 320, height: int = 240) -> np.ndarray:
    """A picture [H, W, 3] with ``number`` as nine bright or dark bars."""
    y, x = np.mgrid[0:height, 0:width]
    grey = (110 + 50 * np.sin(x / 23 + number / 20) * np.sin(y / 17)).astype(np.uint8)
    bar = width // (_BITS + 2)
    for bit in range(_BITS):
        grey[height // 4 : -height // 4, bar * (bit + 1) : bar * (bit + 2)] = (
            235 if number >> bit & 1 else 20
        )
    return np.repeat(grey[..., None], 3, axis=2)


def number_of(jpeg: bytes) -> int:
    """The number that a decoded picture shows."""
    shown = read_frame(jpeg)
    height, width = shown.shape[:2]
    middle = shown[int(0.4 * height) : int(0.6 * height)].mean(axis=(0, 2))
    at = [(bit + 1.5) * width / (_BITS + 2) for bit in range(_BITS)]
    return sum((middle[int(x) - 2 : int(x) + 3].mean() > 127) << bit for bit, x in enumerate(at))


def sound(seconds: float, rate_hz: int = _RATE_HZ, start_s: float = 0.0) -> np.ndarray:
    """Float32 [n] noise below 1 kHz at about -22 dBFS that is nowhere like itself."""
    noise = np.random.default_rng(0).standard_normal(100_000)
    time_s = start_s + np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.1 * np.interp(time_s * 2000, np.arange(len(noise)), noise)).astype(np.float32)


def reel(
    path: Path,
    *,
    seconds: float = 8.0,
    start: int = 0,
    channels: np.ndarray | None = None,
    layout: str = "mono",
    rate_hz: int = 48000,
    codecs: tuple[str, str] = ("libx264", "aac"),
    times: list[float] | None = None,
    size: tuple[int, int] = (320, 240),
    options: dict[str, str] | None = None,
) -> Path:
    """Write numbered pictures (at ``times``, or FPS a second) and ``channels`` [c, n] of sound."""
    if channels is None:
        channels = sound(seconds, rate_hz, start / FPS)[None]
    times = list(np.arange(round(seconds * FPS)) / FPS) if times is None else times
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream(
            codecs[0], rate=FPS, options={"threads": "1", **(options or {})}
        )
        video.width, video.height = size
        video.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codecs[0], "yuv420p")
        if codecs[0] not in ("mpeg4", "mpeg2video"):
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        if codecs[0] == "libx264":
            video.options |= {"preset": "ultrafast", "crf": "20"}
        audio: Any = out.add_stream(codecs[1], rate=rate_hz, layout=layout)
        packets: list[Any] = []
        for i, time_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(start + i, *size), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None)
        planes = np.ascontiguousarray(channels, np.float32)
        resampler = av.AudioResampler(format=audio.codec_context.format, layout=layout)
        for at in range(0, planes.shape[1], 1024):
            part = np.ascontiguousarray(planes[:, at : at + 1024])
            heard = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            heard.sample_rate, heard.pts, heard.time_base = rate_hz, at, Fraction(1, rate_hz)
            for same in resampler.resample(heard):
                packets += audio.encode(same)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


def remux(source: Path, out_path: Path, move: Callable[[Any, int], None]) -> Path:
    """Copy the packets of a file, each changed by ``move(packet, its number in its stream)``."""
    with av.open(str(source)) as reel_in, av.open(str(out_path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in reel_in.streams}
        counts = dict.fromkeys(streams, 0)
        for packet in reel_in.demux():
            if packet.dts is None and packet.pts is None:
                continue
            index = packet.stream.index
            move(packet, counts[index])
            counts[index] += 1
            packet.stream = streams[index]
            out.mux_one(packet)
    return out_path


def ffmpeg(*arguments: object) -> None:
    """Run the ffmpeg binary."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def lag_s(heard: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """(by how many seconds ``heard`` is late against ``true``, how alike they are: -1 to 1)."""
    n = 1 << (len(heard) + len(true)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, n) * np.fft.rfft(true, n).conj(), n)
    at = int(np.argmax(product))
    alike = product[at] / max(1e-12, np.sqrt((heard @ heard) * (true @ true)))
    return (at - n if at > n // 2 else at) / _RATE_HZ, float(alike)


def picture_lags_s(clip: DecodedClip, fps: float = FPS) -> np.ndarray:
    """How long before each wanted time i/3 its picture began by its number: 0 to 1/fps if true."""
    return np.array([i / 3 - number_of(f) / fps for i, f in enumerate(clip.frames)])


def sound_lag_s(clip: DecodedClip, start_s: float, end_s: float) -> tuple[float, float]:
    """(lag in seconds, similarity) of the sound between two times of the clip."""
    heard = read_audio(clip.audio_flac)[round(start_s * _RATE_HZ) : round(end_s * _RATE_HZ)]
    true = sound(clip.duration_s + 1)[round(start_s * _RATE_HZ) : round(end_s * _RATE_HZ)]
    return lag_s(heard, true[: len(heard)])
