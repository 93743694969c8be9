"""Damaged media through the decoder's process: a row with a reason, whatever the file holds."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import av
import pytest

from nano4m_audio.acquire.child import Child, Died, Limits
from nano4m_audio.acquire.clip_rows import decode_row
from nano4m_audio.barnyard.film import film
from nano4m_audio.barnyard.world import plan_world
from nano4m_audio.media.stored import read_audio
from nano4m_audio.reasons import Reason
from tests.conftest import ROOT
from tests.fuzz.damage import EVERY, damaged, many

LIMITS = Limits(memory_mb=600, cpu_s=20, wall_s=120)
OPTIONS = {"max_clip_s": 30.0, "min_clip_s": 3.0}
#: All kinds together: 2,000.
PER_KIND = many(4, 250)


def _repacked(path: Path, suffix: str) -> Path:
    """The same streams in another container."""
    out = path.with_suffix(suffix)
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return out


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[bytes]:
    """Clips of the barnyard in four containers, and some real ones where they are at hand."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "media").mkdir()
    made = [film(plan, folder, 4) for plan in plan_world("test", 3, 22, 4.5, 0.0)[:2]]
    made += [_repacked(made[0], suffix) for suffix in (".mkv", ".ts", ".flv")]
    real = ROOT.parent / "shared/media"
    found = [p for kind in ("clips", "broken") for p in (real / kind).glob("*") if p.stat().st_size]
    made += sorted(found, key=lambda path: path.stat().st_size)[: many(2, 12)]
    return [path.read_bytes() for path in made]


def _check(row: dict, path: Path) -> None:
    if row["status"] != "ok":
        assert row["reason"] in set(Reason) and row["message"].isprintable(), row
        assert str(path.parent) not in row["message"]
        return
    assert 3.0 <= row["duration_s"] <= 30.0
    assert len(row["frames"]) == len(row["frame_times_s"]) == row["n_frames"] > 0
    assert len(read_audio(row["audio_flac"])) == round(row["duration_s"] * 32000)


def largest_child_mb() -> float:
    """The peak of memory of any process that this one has started and seen end."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


@pytest.mark.parametrize("kind", EVERY)
def test_every_damaged_clip_ends_in_a_row(kind, clips, tmp_path):
    path, reasons, before = tmp_path / "clip", [], largest_child_mb()
    with Child(decode_row, LIMITS) as decode:
        for number in range(PER_KIND):
            seed = f"{kind} {number}"
            data = clips[number % len(clips)]
            path.write_bytes(damaged(data, seed, {kind: EVERY[kind]}))
            began = time.monotonic()
            try:
                row = decode(path, OPTIONS)
                _check(row, path)
                reasons.append(row["reason"])
                if number % 10 == 0:
                    assert decode(path, OPTIONS) == row, seed
            except Died as death:
                reasons.append(death.reason)
            except RuntimeError as error:
                pytest.fail(f"{seed}: {error}")
            assert time.monotonic() - began < 2 * LIMITS.wall_s + 20, seed
    print(kind, {reason: reasons.count(reason) for reason in sorted(set(reasons))})
    # With the libraries that it maps; other tests of this process may have had larger children.
    assert largest_child_mb() <= max(before, LIMITS.memory_mb + 600)
