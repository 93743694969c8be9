"""Diffusion arithmetic of the 4M decoders: noise schedules and single DDIM and DDPM steps.

DDPM is Ho et al. 2020, DDIM Song et al. 2021; schedules without signal at the last step are Lin et
al. 2023 (zero terminal SNR). Numbers follow ml-4m fourm/vq/scheduling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

BETA_FIRST, BETA_LAST = 1e-4, 0.02


@dataclass(frozen=True)
class Diffusion:
    """How a decoder was trained to denoise; the names are those of the published config.json."""

    scheduler: Literal["ddpm", "ddim"] = "ddpm"
    beta_schedule: str = "squaredcos_cap_v2"
    prediction_type: Literal["sample", "epsilon", "v_prediction"] = "v_prediction"
    zero_terminal_snr: bool = True
    thresholding: bool = True
    clip_sample: bool = False
    num_train_timesteps: int = 1000

    @property
    def clamps(self) -> bool:
        """Whether the image estimate is clamped to -1..1. "Dynamic thresholding" divides by a
        quantile that is itself clamped to 1..1 in these models: the same plain clamp."""
        return self.thresholding or self.clip_sample


@cache
def signal_levels(diffusion: Diffusion) -> torch.Tensor:
    """Cumulative alphas, float32 [num_train_timesteps]: the share of signal power at each time.

    Raises ValueError for an unknown ``beta_schedule``.
    """
    n, name = diffusion.num_train_timesteps, str(diffusion.beta_schedule)
    if name.startswith("shifted_cosine:"):
        return _shifted_cosine(n, float(name.partition(":")[2]))
    if name == "linear":
        betas = torch.linspace(BETA_FIRST, BETA_LAST, n)
    elif name == "scaled_linear":
        betas = torch.linspace(BETA_FIRST**0.5, BETA_LAST**0.5, n) ** 2
    elif name == "squaredcos_cap_v2":
        betas = _cosine_betas(n)
    else:
        raise ValueError(f"unknown beta_schedule {name!r}")
    levels = torch.cumprod(1 - betas, 0)
    return _without_last_signal(levels) if diffusion.zero_terminal_snr else levels


def _cosine_betas(n: int) -> torch.Tensor:
    """Nichol and Dhariwal 2021, betas at most 0.999."""

    def level(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    return torch.tensor([min(1 - level((i + 1) / n) / level(i / n), 0.999) for i in range(n)])


def _shifted_cosine(n: int, shift: float) -> torch.Tensor:
    """Hoogeboom et al. 2023: the cosine schedule with its signal-to-noise ratio divided by
    ``shift`` squared; it ends without signal by itself."""
    t = torch.arange(n, dtype=torch.float64) / (n - 1)
    signal, noise = torch.cos(t * math.pi / 2) ** 2, torch.sin(t * math.pi / 2) ** 2
    levels = signal / (signal + noise * shift**2)
    levels[-1] = 0
    return levels.float()


def _without_last_signal(levels: torch.Tensor) -> torch.Tensor:
    """Lin et al. 2023, algorithm 1: shift and scale the amplitudes so that the last one is 0."""
    root = levels.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    levels = ((root - last) * (first / (first - last))) ** 2
    return torch.cumprod(torch.cat([levels[:1], levels[1:] / levels[:-1]]), 0)


def timesteps(diffusion: Diffusion, steps: int) -> list[int]:
    """Times to denoise at, falling. DDIM: "trailing", from the last one down; when ``steps`` does
    not divide the number of training times there is one more than asked, as in the reference.
    DDPM: "leading", multiples of the stride down to 0."""
    n = diffusion.num_train_timesteps
    stride = n // steps
    if diffusion.scheduler == "ddim":
        return [t - 1 for t in range(n, 0, -stride)]
    return [i * stride for i in reversed(range(steps))]


def estimate(
    diffusion: Diffusion, output: torch.Tensor, noisy: torch.Tensor, t: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Model output at time ``t`` -> (image, noise) it stands for; the image is not clamped."""
    level = signal_levels(diffusion)[t].to(noisy.device)
    signal, noise = level.sqrt(), (1 - level).sqrt()
    if diffusion.prediction_type == "sample":
        return output, (noisy - signal * output) / noise
    if diffusion.prediction_type == "epsilon":
        return (noisy - noise * output) / signal, output
    return signal * noisy - noise * output, signal * output + noise * noisy


def ddim_step(
    diffusion: Diffusion, output: torch.Tensor, noisy: torch.Tensor, t: int, stride: int
) -> torch.Tensor:
    """The less noisy image at ``t - stride``, without fresh noise (eta 0). The noise estimate is
    the one that belongs to the unclamped image."""
    image, noise = estimate(diffusion, output, noisy, t)
    if diffusion.clamps:
        image = image.clamp(-1, 1)
    level = _level_at(diffusion, t - stride).to(noisy.device)
    return level.sqrt() * image + (1 - level).sqrt() * noise


def ddpm_step(
    diffusion: Diffusion,
    output: torch.Tensor,
    noisy: torch.Tensor,
    t: int,
    stride: int,
    fresh: torch.Tensor,
) -> torch.Tensor:
    """A draw from the posterior at ``t - stride`` with its smaller variance ("fixed_small");
    ``fresh`` is standard normal noise, not used at t = 0."""
    image, _ = estimate(diffusion, output, noisy, t)
    if diffusion.clamps:
        image = image.clamp(-1, 1)
    level, previous = _level_at(diffusion, t), _level_at(diffusion, t - stride)
    alpha = level / previous
    weight_image = previous.sqrt() * (1 - alpha) / (1 - level)
    weight_noisy = alpha.sqrt() * (1 - previous) / (1 - level)
    mean = weight_image.to(noisy.device) * image + weight_noisy.to(noisy.device) * noisy
    if t == 0:
        return mean
    variance = ((1 - previous) / (1 - level) * (1 - alpha)).clamp(min=1e-20)
    return mean + variance.sqrt().to(noisy.device) * fresh


def denoise(
    diffusion: Diffusion,
    predict: Callable[[torch.Tensor, int], torch.Tensor],
    start: torch.Tensor,
    steps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Run all steps from the noise ``start`` [B, C, H, W]; ``predict(noisy, t)`` is the model.

    Noise that DDPM adds on the way is drawn once per step for all pictures of the batch, so that a
    picture does not depend on its neighbours. ValueError for an impossible number of steps.
    """
    if not 1 <= steps <= diffusion.num_train_timesteps:
        raise ValueError(f"steps must lie in 1..{diffusion.num_train_timesteps}, not {steps}")
    stride = diffusion.num_train_timesteps // steps
    noisy = start
    for t in timesteps(diffusion, steps):
        output = predict(noisy, t)
        if diffusion.scheduler == "ddim":
            noisy = ddim_step(diffusion, output, noisy, t, stride)
        else:
            fresh = torch.randn(start.shape[1:], generator=generator).to(start.device)
            noisy = ddpm_step(diffusion, output, noisy, t, stride, fresh)
    return noisy


def _level_at(diffusion: Diffusion, t: int) -> torch.Tensor:
    """Signal level at ``t``; before time 0 there is no noise."""
    return signal_levels(diffusion)[t] if t >= 0 else torch.tensor(1.0)
