"""Where a backend runs: device, floating-point type and CPU threads."""

from __future__ import annotations

from dataclasses import dataclass

from nano4m_audio.processor import native_bfloat16


@dataclass(frozen=True)
class Compute:
    """``device`` is a torch device name (cpu, cuda, cuda:1, mps) or "auto", ``dtype`` a torch dtype
    name (float32, bfloat16, float16). The dtype is part of a row's key, the other two are not."""

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1


def emulated(compute: Compute) -> bool:
    """Whether the CPU is asked for bfloat16 and has no instructions for it."""
    return compute.device == "cpu" and compute.dtype == "bfloat16" and not native_bfloat16()


def resolve_device(name: str) -> str:
    """What "auto" means on this machine: cuda, else mps, else cpu. Other names stay as they are.

    Imports torch, so it is asked only where a model is about to be loaded.
    """
    if name != "auto":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
