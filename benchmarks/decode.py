"""Clips per second of processor time, against calls of the ffmpeg binary; and memory on long input.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [--minutes 60] [--clips 12]

The usual way cuts ten pictures out of a clip by ten seeks, and its sound by one more call. Here one
pass gives a clip's pictures (three a second) and its sound. Both read the same ten seconds of the
same file, alone in a file and out of the middle of a long one; processor time of children counts.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nano4m_audio.acquire.decode import decode_clip

CLIP_S, PICTURES = 10.0, 10
_PICTURE = ("-frames:v", "1", "-vf", "scale=-2:256", "-q:v", "2")


def ffmpeg(*arguments: object) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-threads", "1", *map(str, arguments)]
    subprocess.run(command, check=True)


def make(folder: Path, minutes: float) -> tuple[Path, Path]:
    """A clip of ten seconds at 640x360, and the same again and again for some minutes."""
    clip, long = folder / "clip.mp4", folder / "long.mp4"
    picture, sound = "testsrc2=s=640x360:r=25", "anoisesrc=a=0.2:r=48000"
    sources = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", CLIP_S)
    ffmpeg(
        *sources, "-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "aac", clip
    )
    ffmpeg("-stream_loop", round(minutes * 60 / CLIP_S) - 1, "-i", clip, "-c", "copy", long)
    return clip, long


def usual(path: Path, start_s: float, folder: Path) -> None:
    for i in range(PICTURES):
        at_s = start_s + i * CLIP_S / PICTURES
        ffmpeg("-ss", at_s, "-i", path, *_PICTURE, folder / f"{i}.jpg")
    sound = ("-t", CLIP_S, "-vn", "-ac", "1", "-ar", "32000", folder / "sound.wav")
    ffmpeg("-ss", start_s, "-i", path, *sound)


def cpu_s() -> float:
    both = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def rate(work: Callable[[float], None], starts_s: list[float]) -> float:
    """Clips per second of processor time."""
    begun = cpu_s()
    for start_s in starts_s:
        work(start_s)
    return len(starts_s) / (cpu_s() - begun)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clips", type=int, default=12)
    options = parser.parse_args()
    if not shutil.which("ffmpeg"):
        print("skipped: the ffmpeg binary, which makes the files, is not installed")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, long = make(folder, options.minutes)
        last_s = options.minutes * 60 - CLIP_S - 1
        spread = [3.0 + i * (last_s - 3.0) / (options.clips - 1) for i in range(options.clips)]
        decode_clip(clip)
        before_mb = peak_mb()
        print("| ten seconds of 640x360 | usual, clips per CPU second | here | ratio |")
        print("|---|---|---|---|")
        cases = (
            ("a file of its own", clip, [0.0] * options.clips, False),
            (f"a segment of {options.minutes:g} min", long, spread, True),
        )
        for title, path, starts_s, window in cases:

            def here(start_s: float, path: Path = path, window: bool = window) -> None:
                decode_clip(path, window=(start_s, start_s + CLIP_S) if window else None)

            def there(start_s: float, path: Path = path) -> None:
                usual(path, start_s, folder)

            theirs, ours = rate(there, starts_s), rate(here, starts_s)
            print(f"| {title} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.1f} |")
        begun = time.process_time()
        decode_clip(long, window=(last_s, last_s + CLIP_S))
        print(f"\nthe last segment: {time.process_time() - begun:.2f} s of processor time")
        print(f"peak memory: {before_mb:.0f} MB after one clip, {peak_mb():.0f} MB after all")


if __name__ == "__main__":
    main()
