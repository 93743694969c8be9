"""Compare bfloat16 with float32 training on the same batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.distributed import join
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.nano4m.train import Run, draw_share, start_run, take_step

#: Above this relative difference of a loss, bfloat16 is not the same training any more.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Divergence:
    """Losses of every step in float32 and in bfloat16, and how far the weights are apart at the
    end: the norm of their difference over the norm of what float32 has changed."""

    losses: list[tuple[float, float]]
    weights: float

    @property
    def worst(self) -> float:
        """The largest relative difference of two losses; NaN when one is not finite."""
        differences = [abs(half - full) / abs(full) for full, half in self.losses]
        return max(differences) if all(d == d for d in differences) else float("nan")

    @property
    def accepted(self) -> bool:
        """False for NaN, too."""
        return self.worst <= TOLERANCE


def compare_precisions(settings: TrainSettings, data: TokenData, steps: int) -> Divergence:
    """Train ``steps`` steps from the same weights on the same batches in both precisions.

    One process. Raises ValueError for data without a clip.
    """
    ranks = join(settings.hardware.device)
    runs = []
    for precision in ("float32", "bfloat16"):
        numerics = settings.numerics.model_copy(update={"precision": precision})
        runs.append(start_run(settings.model_copy(update={"numerics": numerics}), ranks))
    before = _flat(runs[0])
    losses = []
    for step in range(min(steps, settings.optim.steps)):
        share = draw_share(step, settings, data, ranks)
        full, half = (take_step(run, share).item() for run in runs)
        losses.append((full, half))
    full_weights, half_weights = map(_flat, runs)
    apart = (half_weights - full_weights).norm() / (full_weights - before).norm()
    return Divergence(losses, float(apart))


def _flat(run: Run) -> torch.Tensor:
    return torch.cat([p.detach().float().ravel() for p in run.model.parameters()])
