"""Filming: a plan becomes an ordinary MP4 file (H.264 and AAC), with its defect if it has one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from nano4m_audio.barnyard import noises
from nano4m_audio.barnyard.hard import hard_picture, hard_scene, hard_sound
from nano4m_audio.barnyard.render import SIZE_PX, render_rgb
from nano4m_audio.barnyard.scene import make_scene
from nano4m_audio.barnyard.streams import CLASSES
from nano4m_audio.barnyard.voices import phrase
from nano4m_audio.barnyard.world import ClipPlan
from nano4m_audio.files import atomic_path, write_bytes
from nano4m_audio.tables import content_key

_RATE_HZ = noises.SAMPLE_RATE_HZ
_SHIFT_S = 0.7
_SPARE_S = 1.0  # footage beyond the clip, which a shifted copy shows
_RAMP_S = 0.15
#: How the key of a recipe begins. It is in the bytes of a film, so that it stays what it was.
_RECIPE = "film", 3
_NOT_FOUND = b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n"


def film(plan: ClipPlan, folder: Path, fps: float) -> Path:
    """Write the plan's file into ``folder`` and return its path.

    A film carries the key of its recipe in its metadata: a finished one with the same key is kept,
    so that an interrupted build goes on where it was. An exact duplicate needs its original there.
    """
    path = folder / plan.file
    key = content_key(*_RECIPE, asdict(plan), fps)
    if _recipe_of(path) == key:
        return path
    if plan.kind == "exact_duplicate":
        write_bytes(path, (folder / plan.duplicate_of).read_bytes())
    elif plan.kind == "text_file":
        write_bytes(path, _NOT_FOUND)
    elif plan.kind == "zero_bytes":
        write_bytes(path, b"")
    elif plan.kind == "truncated":
        with atomic_path(path) as temp:
            _write(plan, temp, fps, key="")
            os.truncate(temp, int(temp.stat().st_size * 0.45))
    else:
        with atomic_path(path) as temp:
            _write(plan, temp, fps, key)
    return path


def _recipe_of(path: Path) -> str:
    """The recipe key of a finished film, or an empty string."""
    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment", "")
    except (av.FFmpegError, OSError):
        return ""


def sound_track(plan: ClipPlan) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The clip's sound, float32 at 32 kHz, and when the animal calls [(start_s, end_s)]."""
    total_s = plan.clip_s + _SPARE_S
    rng = plan.rng("voice")
    sound, calls = phrase(plan.class_name, rng, total_s)
    sound = hard_sound(sound, plan.trouble, plan.hard, plan.class_name, plan.rng("trouble"))
    if plan.kind == "speech":
        sound = noises.limit(sound + 1.4 * noises.speech(rng, total_s))
    elif plan.kind == "wrong_sound":
        sound, calls = _wrong_sound(plan, rng, total_s), []
    elif plan.kind == "silent":
        sound, calls = noises.silence(rng, total_s), []
    if plan.kind == "near_duplicate_shift":
        sound = sound[round(_SHIFT_S * _RATE_HZ) :]
        calls = [(start - _SHIFT_S, end - _SHIFT_S) for start, end in calls]
    return sound[: round(plan.clip_s * _RATE_HZ)], calls


def _wrong_sound(plan: ClipPlan, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Another animal, or no animal at all."""
    makers = (noises.machine, noises.siren, noises.rain)
    pick = int(rng.integers(2 * len(makers)))
    if pick < len(makers):
        return makers[pick](rng, seconds)
    others = [name for name in CLASSES if name != plan.class_name]
    return phrase(others[int(rng.integers(len(others)))], rng, seconds)[0]


def pictures(plan: ClipPlan, fps: float, calls: list[tuple[float, float]]) -> Iterator[np.ndarray]:
    """The clip's frames, uint8 [224, 224, 3]; the head rises with every call."""
    name = None if plan.kind == "no_animal" else plan.class_name
    scene = make_scene(name, plan.rng("look"), plan.rng("pose"), plan.clip_s)
    trouble, hard, rng = plan.trouble, plan.hard, plan.rng("trouble")
    scene = hard_scene(scene, trouble, hard, plan.class_name, rng)
    shift = _SHIFT_S if plan.kind == "near_duplicate_shift" else 0.0
    seconds = 0.3 if plan.kind == "too_short" else plan.clip_s
    for i in range(round(seconds * fps)):
        t = i / fps
        rgb = render_rgb(scene, t + shift, _calling(t, calls))
        rgb = hard_picture(rgb, trouble, hard, rng)
        yield np.ascontiguousarray(rgb[:, ::-1]) if plan.kind == "near_duplicate_mirror" else rgb


def _calling(t: float, calls: list[tuple[float, float]]) -> float:
    """How much the animal calls at ``t``: 0..1, rising and falling over a ramp."""
    rises = [min(t - start + _RAMP_S, end - t + _RAMP_S) / _RAMP_S for start, end in calls]
    return float(np.clip(max(rises, default=0.0), 0, 1))


def _write(plan: ClipPlan, path: Path, fps: float, key: str) -> None:
    """Encode pictures and sound; one encoder thread, so that the bytes are deterministic."""
    sound, calls = sound_track(plan)
    poor = plan.kind == "near_duplicate_bitrate"
    options = {"movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        container.metadata["comment"] = key
        if plan.kind != "no_video":
            size = 160 if plan.kind == "near_duplicate_resize" else SIZE_PX
            video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
            video.width = video.height = size
            video.pix_fmt = "yuv420p"
            video.thread_count = 1
            # x264's macroblock tree gives other bytes now and then for the same pictures.
            video.options = {
                "preset": "superfast",
                "crf": "33" if poor else "21",
                "x264-params": "mbtree=0",
            }
        if plan.kind != "no_audio":
            audio = container.add_stream("aac", rate=_RATE_HZ, layout="mono")
            audio.bit_rate = 32_000 if poor else 64_000
            audio.options = {"aac_coder": "fast"}
        if plan.kind != "no_video":
            reformatter = VideoReformatter()
            for rgb in pictures(plan, fps, calls):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame = reformatter.reformat(frame, size, size, "yuv420p", threads=1)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if plan.kind != "no_audio":
            if plan.kind == "too_short":
                sound = sound[: round(0.3 * _RATE_HZ)]
            container.mux(audio.encode(_audio_frame(sound)))
            container.mux(audio.encode(None))


def _audio_frame(sound: np.ndarray) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate = _RATE_HZ
    frame.time_base = Fraction(1, _RATE_HZ)
    frame.pts = 0
    return frame
