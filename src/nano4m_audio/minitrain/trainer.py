"""The one training loop of the mini family, and the table of recipes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

# A loss over one random batch: (network, generator for all randomness of the step) -> scalar.
StepLoss = Callable[[Any, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """Optimiser settings of one member; `batch` counts items per step."""

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-4

    def notes(self) -> dict[str, object]:
        return asdict(self)


def fit(net: nn.Module, loss: StepLoss, recipe: Recipe, *, seed: int, name: str) -> None:
    """Train `net` in place: AdamW, short warm-up, cosine to zero, clipped gradients, bfloat16 if
    native.

    Raises FloatingPointError when the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        net.parameters(), recipe.learning_rate, (0.9, 0.98), weight_decay=recipe.weight_decay
    )
    started_s, running = time.monotonic(), math.nan
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=_native_bfloat16()):
            value = loss(net, generator)
        if not math.isfinite(value.item()):
            raise FloatingPointError(f"{name}: loss {value.item()} at step {step}")
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        running = value.item() if math.isnan(running) else 0.98 * running + 0.02 * value.item()
        if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
            passed_s = time.monotonic() - started_s
            print(
                f"{name} {step + 1}/{recipe.steps} loss {running:.4f} {passed_s:.0f} s",
                file=sys.stderr,
            )


def _schedule(step: int, steps: int) -> float:
    warm_up = min(1.0, (step + 1) / (0.05 * steps))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))


def _native_bfloat16() -> bool:
    # Emulated bfloat16 is slower than float32.
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
