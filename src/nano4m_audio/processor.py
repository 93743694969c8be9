"""What this machine's CPU can do, as far as it decides how long something takes."""

from __future__ import annotations


def native_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 (AMX, AVX512-BF16, or those of Arm). Without
    them it is emulated, several times slower than float32. Imports torch."""
    import torch

    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("amx_bf16", "avx512_bf16", "arm_bf16", "bf16"))
