"""Training data of the mini family: barnyard views and sounds, rendered once into mapped files.

Seeds: a data set of seed s uses the barnyard's seeds s, s + 1, ... one per block; training and
evaluation sets must be further apart than their number of blocks (``EVALUATION_OFFSET`` is).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nano4m_audio.backends.mini.tagger import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from nano4m_audio.files import atomic_path
from nano4m_audio.progress import track

if TYPE_CHECKING:
    import torch

PER_BLOCK = 110
EMPTY_FRACTION = 0.1
OTHER_FRACTION = 0.2
EVALUATION_OFFSET = 10_000
#: Depths beyond this count as this far: the horizon's true depth is unbounded.
FAR_M = 60.0


@dataclass(frozen=True)
class ViewSet:
    """rgb uint8 [N,224,224,3]; inverse_depth float16 [N,224,224] 1/m, sky 0; normals int8
    [N,224,224,3] in 1/127; label int64 [N], -1 = no animal. Tensors may be memory-mapped."""

    rgb: torch.Tensor
    inverse_depth: torch.Tensor
    normals: torch.Tensor
    label: torch.Tensor


@dataclass(frozen=True)
class SoundSet:
    """waveforms int16 [N, 109227] at 32 kHz; label int64 [N], -1 = not an animal."""

    waveforms: torch.Tensor
    label: torch.Tensor


def make_data(folder: Path, *, seed: int, views: int, sounds: int, workers: int) -> None:
    """Render ``views`` pictures and ``sounds`` windows of purpose "mini".

    Writes folder/views.safetensors and folder/sounds.safetensors, atomically.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _render(view_block, seed, views, workers, folder / "views.safetensors")
    _render(sound_block, seed, sounds, workers, folder / "sounds.safetensors")


def load_views(folder: Path) -> ViewSet:
    """The views of ``make_data``, memory-mapped."""
    from safetensors.torch import load_file

    return ViewSet(**load_file(folder / "views.safetensors"))


def load_sounds(folder: Path) -> SoundSet:
    """The sounds of ``make_data``, memory-mapped."""
    from safetensors.torch import load_file

    return SoundSet(**load_file(folder / "sounds.safetensors"))


def view_block(seed: int, purpose: str = "mini", n: int = PER_BLOCK) -> dict[str, np.ndarray]:
    """One block of views as arrays named like the fields of ``ViewSet``."""
    from nano4m_audio.barnyard.views import sample_views

    views = sample_views(purpose, seed, n, empty_fraction=EMPTY_FRACTION)
    near = 1 / np.minimum(views.depth, FAR_M)
    return {
        "rgb": views.rgb,
        "inverse_depth": np.where(np.isfinite(views.depth), near, 0).astype(np.float16),
        "normals": np.round(views.normals * 127).astype(np.int8),
        "label": views.label,
    }


def sound_block(seed: int, purpose: str = "mini", n: int = PER_BLOCK) -> dict[str, np.ndarray]:
    """One block of sounds as arrays named like the fields of ``SoundSet``."""
    from nano4m_audio.barnyard.sounds import sample_sounds

    # One sample more than needed, cut below: the barnyard rounds the length its own way.
    seconds = (WINDOW_SAMPLES + 1) / SAMPLE_RATE_HZ
    waveforms, label = sample_sounds(
        purpose, seed, n, seconds=seconds, other_fraction=OTHER_FRACTION
    )
    waveforms = waveforms[:, :WINDOW_SAMPLES]
    return {"waveforms": np.round(waveforms.clip(-1, 1) * 32767).astype(np.int16), "label": label}


def _render(
    block: Callable[[int, str, int], dict[str, np.ndarray]],
    seed: int,
    n: int,
    workers: int,
    path: Path,
) -> None:
    """Write ``n`` items: whole blocks of seeds seed, seed + 1, ... and the rest of the last one."""
    from safetensors.numpy import save_file

    sizes = [min(PER_BLOCK, n - start) for start in range(0, n, PER_BLOCK)]
    seeds = range(seed, seed + len(sizes))
    # Spawned, not forked: the parent may hold torch threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        done = pool.map(block, seeds, ["mini"] * len(sizes), sizes)
        parts = list(track(done, len(sizes), path.stem))
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    with atomic_path(path) as temp:
        save_file(arrays, temp)
