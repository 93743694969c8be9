"""Fetching ten seconds of two minutes: only what is needed, beside the whole file.

Example: OMP_NUM_THREADS=1 python -m benchmarks.fetch
Films as video sites send them (480p at some 700 kbit/s, a keyframe every 4 s) lie on a server of
this machine; segments at several places are fetched by both routes, in turn, in this process. The
server's own processor time is part of both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.config.sources import Web
from nano4m_audio.fetch.pieces import Route, Segment, fetch_piece
from nano4m_audio.fetch.resolve import Resolved, Stream
from tests.fetch.films import film
from tests.fetch.server import Server, media, serving

FAST = {"movflags": "+faststart"}
ROUTES: tuple[Route, ...] = ("range", "whole")
RATES = (650_000, 96_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the films")
    parser.add_argument("--segment", type=float, default=10.0, help="length of a segment")
    parser.add_argument("--places", type=int, default=8, help="segments of each film")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds = films(Path(folder), arguments.seconds)
        print("| film | route | read of the film | requests | CPU time | wall time |")
        print("|---|---|---|---|---|---|")
        for kind, names in kinds.items():
            paths = [Path(folder, name) for name in names]
            answers = {f"/{path.name}": media(path.read_bytes()) for path in paths}
            with serving(answers) as server:
                for route in ROUTES:
                    print(f"| {kind} | {route} | {measure(server, paths, route, arguments)} |")


def films(folder: Path, seconds: float) -> dict[str, tuple[str, ...]]:
    """Write the films; returns the files of each kind."""
    how: dict[str, Any] = {"seconds": seconds, "bit_rates": RATES, "size": (320, 240)}
    film(folder / "h264.mp4", options=FAST, **how)
    film(folder / "vp9.webm", codecs=("libvpx-vp9", "libopus"), **how)
    film(folder / "video.mp4", codecs=("libx264", None), options=FAST, **how)
    film(folder / "audio.m4a", codecs=(None, "aac"), options=FAST, **how)
    return {
        "MP4, H.264 and AAC": ("h264.mp4",),
        "WebM, VP9 and Opus": ("vp9.webm",),
        "H.264 and AAC apart": ("video.mp4", "audio.m4a"),
    }


def measure(server: Server, paths: list[Path], route: Route, arguments: argparse.Namespace) -> str:
    """Fetch segments one by one; medians of what each took."""
    settings = Web(private_hosts=("127.0.0.1",), route=route)
    streams = tuple(
        Stream(f"{server.url}/{path.name}", {}, path.name, "", "", "", None, None, "http")
        for path in paths
    )
    video = Resolved("film", None, streams, "", (), {})
    total = sum(path.stat().st_size for path in paths)
    taken = []
    for start_s in np.linspace(0, arguments.seconds - arguments.segment, arguments.places):
        server.sent, n_before = 0, len(server.seen)
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        segment = Segment(start_s, start_s + arguments.segment, paths[0].parent / "piece")
        fetch_piece(video, segment, settings)
        took = (time.process_time() - cpu_s, time.perf_counter() - wall_s)
        taken.append((server.sent / total, len(server.seen) - n_before, *took))
    share, requests, cpu_s, wall_s = np.median(taken, axis=0)
    most = max(part for part, *_ in taken)
    return f"{share:.1%} (at most {most:.1%}) | {requests:.0f} | {cpu_s:.2f} s | {wall_s:.2f} s"


if __name__ == "__main__":
    main()
