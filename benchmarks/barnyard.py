"""Rendered frames and filmed clips per second and core.

Example: OMP_NUM_THREADS=1 python benchmarks/barnyard.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from nano4m_audio.barnyard.film import film, sound_track
from nano4m_audio.barnyard.render import render
from nano4m_audio.barnyard.scene import make_scene
from nano4m_audio.barnyard.streams import CLASSES, stream
from nano4m_audio.barnyard.world import plan_world

FRAMES_PER_CLASS = 20
CLIPS = 11
FPS = 8.0


def main() -> None:
    """Print CPU time per frame (224 x 224, with depth and normals), per sound track, per clip."""
    started = time.process_time()
    for name in CLASSES:
        scene = make_scene(name, stream("test", 0, "a", name), stream("test", 0, "b", name), 6.0)
        for i in range(FRAMES_PER_CLASS):
            render(scene, i * 0.3)
    frames = FRAMES_PER_CLASS * len(CLASSES)
    print(f"render: {frames / (time.process_time() - started):.0f} frames/s per core")

    plans = plan_world("test", 0, CLIPS, 6.0, 0.0)
    started = time.process_time()
    for plan in plans:
        sound_track(plan)
    print(f"sound:  {CLIPS / (time.process_time() - started):.1f} tracks of 6 s per s and core")

    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for plan in plans:
            film(plan, Path(folder), FPS)
    spent = time.process_time() - started
    print(f"film:   {CLIPS / spent:.2f} clips/s per core ({CLIPS * 6 * FPS / spent:.0f} frames/s)")


if __name__ == "__main__":
    main()
