"""The training loop that all members of the mini family share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nano4m_audio.nano4m.checkpoint import load_state, save_state
from nano4m_audio.processor import native_bfloat16
from nano4m_audio.progress import track

#: The most work that a kill loses.
CHECKPOINT_EVERY_S = 30.0

# A loss over one random batch: (network, generator for all randomness of the step) -> scalar.
StepLoss = Callable[[Any, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """Optimiser settings of one member; ``batch`` counts items per step."""

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-4

    def notes(self) -> dict[str, object]:
        return asdict(self)


def fit(
    net: nn.Module,
    loss: StepLoss,
    recipe: Recipe,
    *,
    seed: int,
    name: str,
    state: Path | None = None,
) -> list[tuple[int, float]]:
    """Train ``net``: AdamW, short warm-up, cosine to zero, clipped gradients, native bfloat16.

    With ``state``, a folder, a killed run goes on at its last checkpoint and ends in the same bits.
    Returns (step, running mean of the loss) at every hundredth of the steps. Raises
    FloatingPointError when the loss is not finite.
    """
    run = _Run(net.train().to(memory_format=torch.channels_last), recipe, seed)  # type: ignore[call-overload]
    known = load_state(state) if state is not None else None
    if known is not None:
        run.restore(known)
    saved_at_s = time.monotonic()
    left = range(run.step, recipe.steps)
    for _ in track(left, len(left), name, lambda: f"loss {run.running:.4f}"):
        run.advance(loss, name)
        if state is not None and time.monotonic() - saved_at_s > CHECKPOINT_EVERY_S:
            save_state(state, run.step, run.state())
            saved_at_s = time.monotonic()
    return run.history


class _Run:
    """Everything that changes from step to step."""

    def __init__(self, net: nn.Module, recipe: Recipe, seed: int) -> None:
        self.net, self.recipe = net, recipe
        self.optimizer = torch.optim.AdamW(
            net.parameters(), recipe.learning_rate, (0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.running = 0, math.nan
        self.history: list[tuple[int, float]] = []

    def advance(self, loss: StepLoss, name: str) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * _schedule(self.step, self.recipe.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=native_bfloat16()):
            value = loss(self.net, self.generator)
        if not math.isfinite(value.item()):
            raise FloatingPointError(f"{name}: loss {value.item()} at step {self.step}")
        self.optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        first = math.isnan(self.running)
        self.running = value.item() if first else 0.98 * self.running + 0.02 * value.item()
        if self.step % max(1, self.recipe.steps // 100) == 0 or self.step == self.recipe.steps:
            self.history.append((self.step, round(self.running, 6)))

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "running": self.running,
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.running = state["step"], state["running"]
        self.history = [tuple(point) for point in state["history"]]


def _schedule(step: int, steps: int) -> float:
    warm_up = min(1.0, (step + 1) / (0.05 * steps))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))
