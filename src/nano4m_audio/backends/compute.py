"""Where a backend runs: device, floating-point type and CPU threads. No heavy imports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Compute:
    """``device`` is a torch device name (cpu, cuda, cuda:1, mps), ``dtype`` a torch dtype name
    (float32, bfloat16, float16). The dtype is part of a row's content key, the device and the
    threads are not."""

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
