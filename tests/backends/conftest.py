"""Recorded golden material, checkpoints of real architectures with seeded weights, real media."""

from __future__ import annotations

import csv
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import random_weights
from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.media import windows
from nano4m_audio.media.crop import square_crop
from nano4m_audio.media.stored import read_audio, read_frame

N_ROWS = 5
Golden = tuple[dict[str, Any], dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def golden(shared: Path):
    """name -> (meta.json, arrays of io.npz) of one golden folder."""

    def read(name: str) -> Golden:
        folder = shared / "golden" / name
        with np.load(folder / "io.npz") as arrays:
            return json.loads((folder / "meta.json").read_text()), dict(arrays)

    return read


@pytest.fixture(scope="session")
def recipe(shared: Path):
    """The module that makes seeded weights."""
    path = shared / "golden" / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location("seeded_weights", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def seeded(shared: Path, recipe):
    """name, key prefixes -> the seeded state dict under the published keys."""

    def state(name: str, prefixes: tuple[str, ...] = ("",)) -> dict[str, torch.Tensor]:
        folder = shared / "golden" / name
        keys, meta = (json.loads((folder / f"{n}.json").read_text()) for n in ("keys", "meta"))
        kept = {key: shape for key, (shape, _) in keys.items() if key.startswith(prefixes)}
        tensors = recipe.fill_state_dict(kept, meta["kind_overrides"])
        return {key: tensors[key].view(shape) for key, shape in kept.items()}

    return state


@pytest.fixture(scope="module")
def random_checkpoint() -> Iterator[Callable[[str], tuple[Path, Any]]]:
    """Returns a function: writer in benchmarks/random_weights.py -> (folder with its checkpoint,
    the upstream network with the same weights). Hundreds of MB each: made once per module, and gone
    with it."""
    made: dict[str, tuple[Path, Any]] = {}
    with tempfile.TemporaryDirectory() as root:

        def make(name: str) -> tuple[Path, Any]:
            if name not in made:
                folder = Path(root) / name
                folder.mkdir()
                made[name] = folder, getattr(random_weights, name)(folder)
            return made[name]

        yield make


@pytest.fixture(scope="session")
def real_clips(shared) -> list[tuple[np.ndarray, np.ndarray]]:
    """Good clips of the reference media: (RGB crop [224, 224, 3], sound at 32 kHz)."""
    with open(shared / "media/clips.csv", newline="") as handle:
        files = [row["file"] for row in csv.DictReader(handle) if row["kind"] == "good"][::12]
    clips = []
    for file in files:
        clip = decode_clip(shared / "media" / file)
        clips.append((square_crop(read_frame(clip.frames[0])), read_audio(clip.audio_flac)))
    return clips


@pytest.fixture(scope="session")
def real_pictures(real_clips) -> np.ndarray:
    """uint8 [N, 224, 224, 3]."""
    return np.stack([picture for picture, _ in real_clips])


@pytest.fixture(scope="session")
def real_windows(real_clips) -> np.ndarray:
    """float32 [N, 109227] at 32 kHz: a window of 3.4133 s from the middle of each clip."""
    return np.stack([windows.cut(sound, 2.0) for _, sound in real_clips])


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """uint8 [N, 224, 224, 3]: waves of different colours and frequencies."""
    rng = np.random.default_rng(3)
    axis = np.linspace(0, 1, 224)
    out = []
    draws = zip(rng.uniform(2, 40, (N_ROWS, 3)), rng.uniform(0, 6, (N_ROWS, 3)), strict=True)
    for frequency, phase in draws:
        wave = np.sin(frequency * axis[:, None, None] + phase) * np.cos(frequency * axis[:, None])
        out.append(((wave + 1) * 127.5).astype(np.uint8))
    return np.stack(out)


@pytest.fixture(scope="session")
def sounds() -> Callable[[int, int], np.ndarray]:
    """Returns a function: samples, rate -> float32 [N, samples] of fading tones over noise."""

    def make(samples: int, rate_hz: int) -> np.ndarray:
        rng = np.random.default_rng(4)
        time_s = np.arange(samples) / rate_hz
        low, high = [100, 0, 0.001], [3000, 2, 0.05]
        pitch_hz, fade, noise = rng.uniform(low, high, (N_ROWS, 3)).T[..., None]
        tones = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s) * np.exp(-fade * time_s)
        return (tones + noise * rng.standard_normal((N_ROWS, samples))).astype(np.float32)

    return make
