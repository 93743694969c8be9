"""Copies: planted ones are found, clips that share only scene or sound are not, one is kept."""

from __future__ import annotations

import csv
import hashlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.curate import Duplicates
from nano4m_audio.curate.duplicates import connected, find_groups

D = 95


def _unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values)).astype(np.float32)


def _fingerprint(scene: int, call: int, noise: int = 0, mirrored: bool = False) -> dict:
    """Synthetic fingerprints of a scene with a call; ``noise`` makes copies differ a little."""
    flip = np.where(np.arange(D) % 2, -1.0, 1.0)
    jitter = np.random.default_rng(noise).normal(0, 0.05, D)
    picture = np.random.default_rng(1000 + scene).normal(size=D) + jitter
    picture = picture * flip if mirrored else picture
    sound = np.random.default_rng(2000 + call).random((60, 16))
    sound += np.random.default_rng(noise).normal(0, 0.03, sound.shape)
    return {"image": _unit(picture), "image_mirror": _unit(picture * flip), "audio": sound}


def _row(name: str, video: str = "", sha: str = "", size: int = 100, part: str = "") -> dict:
    sha = sha or f"hash of {name}"
    return {
        "clip_id": name,
        "video_id": video or name,
        "clip_key": f"key of {part} of {sha}",
        "sha256": sha,
        "size_bytes": size,
    }


def test_picture_and_sound_must_agree():
    fingerprints = {
        "a": _fingerprint(1, 1),
        "b": _fingerprint(1, 1, noise=5),
        "c": _fingerprint(1, 2),  # the same scene, another call
        "d": _fingerprint(2, 1),  # another scene, the same recording
        "e": _fingerprint(1, 1, noise=6, mirrored=True),
    }
    rows = [_row("a"), _row("b", size=200), _row("c"), _row("d"), _row("e")]
    groups = find_groups(rows, fingerprints, 0.9, 0.8)
    assert groups.group == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "a"}
    assert groups.duplicate_of == {"a": "b", "e": "b"}
    assert {(p.first, p.second) for p in groups.pairs} == {("a", "b"), ("a", "e"), ("b", "e")}
    assert all(p.picture > 0.9 and p.sound > 0.8 for p in groups.pairs)


def test_exact_copies_need_no_fingerprint():
    groups = find_groups([_row("b", sha="x"), _row("a", sha="x"), _row("c")], {}, 0.9, 0.8)
    assert groups.duplicate_of == {"b": "a"}
    assert groups.group == {"a": "a", "b": "a", "c": "c"}


def test_clips_of_one_video_are_grouped_but_not_copies():
    rows = [_row("c", video="v"), _row("b", video="v"), _row("a", sha="x"), _row("d", "v", "x")]
    groups = find_groups(rows, {}, 0.9, 0.8)
    assert set(groups.group.values()) == {"a"}
    assert groups.duplicate_of == {"d": "a"}


def test_parts_of_one_file_are_no_copies_of_each_other():
    """Three films in one file, and the second of them once more under another id."""
    rows = [_row(f"v@{part}", "v", "x", part=str(part)) for part in range(3)]
    rows.append(_row("w@1", "w", "x", part="1"))
    groups = find_groups(rows, {}, 0.9, 0.8)
    assert groups.duplicate_of == {"w@1": "v@1"}
    assert set(groups.group.values()) == {"v@0"}


def test_of_a_file_a_part_has_its_share_of_the_bytes():
    """The original stays, though the file that holds a worse copy of it among others is larger."""
    fingerprints = {"long@1": _fingerprint(1, 1), "own": _fingerprint(1, 1, noise=5)}
    parts = [_row(f"long@{i}", "long", "x", size=587, part=str(i)) for i in range(3)]
    groups = find_groups([*parts, _row("own", size=319)], fingerprints, 0.9, 0.8)
    assert groups.duplicate_of == {"long@1": "own"}


def test_of_a_chain_of_copies_only_those_go_that_are_like_one_that_stays():
    """Windows that overlap: each is like the next ones, the first is not like the last."""
    rng = np.random.default_rng(0)
    long = rng.random((200, 16))
    picture = _fingerprint(1, 1)
    names = [f"{i:02d}" for i in range(12)]
    fingerprints = {
        name: {**picture, "audio": long[10 * i : 10 * i + 60]} for i, name in enumerate(names)
    }
    groups = find_groups([_row(name) for name in names], fingerprints, 0.9, 0.3)
    alike = {frozenset((pair.first, pair.second)) for pair in groups.pairs}
    assert set(groups.group.values()) == {"00"} and len(groups.duplicate_of) >= 6
    assert all(frozenset(copy) in alike for copy in groups.duplicate_of.items())
    kept = sorted(set(names) - groups.duplicate_of.keys())
    assert len(kept) > 1
    assert not any(frozenset((a, b)) in alike for a in kept for b in kept if a != b)
    assert set(groups.duplicate_of.values()) <= set(kept)


@given(st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(shuffler: random.Random):
    fingerprints = {f"{i:02d}": _fingerprint(i % 4, i % 8, noise=i) for i in range(16)}
    rows = [_row(name, size=int(name) % 3) for name in fingerprints]
    wanted = find_groups(rows, fingerprints, 0.9, 0.8)
    shuffler.shuffle(rows)
    names = list(fingerprints)
    shuffler.shuffle(names)
    assert find_groups(rows, {name: fingerprints[name] for name in names}, 0.9, 0.8) == wanted
    assert len(wanted.duplicate_of) == 8


def test_many_clips_across_batches():
    n = 2500
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(n, D)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    pictures[2400:2450] = pictures[:50]
    sound = _fingerprint(0, 0)["audio"]
    fingerprints = {
        f"{i:04d}": {"image": p, "image_mirror": -p, "audio": sound} for i, p in enumerate(pictures)
    }
    groups = find_groups([_row(name) for name in fingerprints], fingerprints, 0.9, 0.8)
    assert groups.duplicate_of == {f"{2400 + i}": f"{i:04d}" for i in range(50)}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_connected_components(links):
    nodes = [f"{i:02d}" for i in range(31)]
    named = [(nodes[a], nodes[b]) for a, b in links]
    component = connected(nodes, named)
    assert all(component[a] == component[b] for a, b in named)
    assert all(component[root] == root <= node for node, root in component.items())
    # Flood filling from each root reaches its component and nothing else.
    for root in set(component.values()):
        reached, before = {root}, set[str]()
        while reached != before:
            before = set(reached)
            reached |= {b for a, b in named if a in before} | {a for a, b in named if b in before}
        assert reached == {node for node in nodes if component[node] == root}


@pytest.mark.slow
def test_real_clips(shared):
    """All planted copies are found, and no other pair, among 99 decodable real clips."""
    from nano4m_audio.acquire.decode import MediaError, decode_clip
    from nano4m_audio.curate.fingerprints import fingerprint
    from nano4m_audio.media.stored import read_audio

    with open(shared / "media" / "clips.csv", encoding="utf-8", newline="") as handle:
        listed = list(csv.DictReader(handle))
    rows, fingerprints = [], {}
    for entry in listed:
        path = shared / "media" / entry["file"]
        try:
            clip = decode_clip(path)
        except MediaError:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(_row(entry["file"], entry["file"], digest, path.stat().st_size))
        fingerprints[entry["file"]] = fingerprint(
            clip.frames, np.array(clip.frame_times_s), read_audio(clip.audio_flac)
        )
    planted = {frozenset((e["file"], e["duplicate_of"])) for e in listed if e["duplicate_of"]}
    limits = Duplicates()
    groups = find_groups(rows, fingerprints, limits.picture_min, limits.sound_min)
    assert len(planted) == 6
    assert {frozenset((p.first, p.second)) for p in groups.pairs} == planted
