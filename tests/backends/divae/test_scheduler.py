"""Diffusion arithmetic against numbers recorded from the reference code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.divae.scheduler import (
    Diffusion,
    ddim_step,
    ddpm_step,
    denoise,
    signal_levels,
    timesteps,
)

NAME = "fourm_diffusion_scheduler"
SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2", "shifted_cosine:0.5"]


@pytest.mark.parametrize("zero_terminal_snr", [True, False])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_signal_levels_are_the_recorded_ones(golden, schedule, zero_terminal_snr):
    _, io = golden(NAME)
    diffusion = Diffusion(beta_schedule=schedule, zero_terminal_snr=zero_terminal_snr)
    variant = "zero_terminal_snr" if zero_terminal_snr else "plain"
    recorded = io[f"alphas_cumprod|{schedule}|{variant}"]
    assert np.allclose(signal_levels(diffusion), recorded, atol=1e-6)
    assert zero_terminal_snr <= (recorded[-1] == 0)


def test_timesteps_are_the_recorded_ones(golden):
    meta, _ = golden(NAME)
    for name, recorded in meta["timesteps"].items():
        scheduler, mode, steps = name.split("|")
        if (scheduler, mode) not in [("ddim", "trailing"), ("ddpm", "leading")]:
            continue
        times = timesteps(Diffusion(scheduler=scheduler), int(steps))
        assert ([len(times), times[0], times[-1]] if steps == "1000" else times) == recorded, name


def test_every_recorded_step_is_reproduced(golden):
    meta, io = golden(NAME)
    x, output, noise = (torch.from_numpy(io[k]) for k in ("x", "model_output", "noise"))
    assert len(meta["cases"]) == 117
    for case in meta["cases"]:
        names = ("scheduler", "prediction_type", "zero_terminal_snr", "thresholding", "clip_sample")
        diffusion = Diffusion(beta_schedule="linear", **{name: case[name] for name in names})
        t, stride = case["timestep"], case["timestep"] - case["previous_timestep"]
        assert stride == 1000 // case["num_inference_steps"] or case["previous_timestep"] == -1
        if case["scheduler"] == "ddim":
            step = ddim_step(diffusion, output, x, t, stride)
        else:
            step = ddpm_step(diffusion, output, x, t, stride, noise)
        assert np.allclose(step, io[case["output"]], atol=2e-6, rtol=1e-4), case


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_a_perfect_model_gives_its_picture_whatever_the_noise(scheduler):
    diffusion = Diffusion(scheduler=scheduler, beta_schedule="linear", prediction_type="sample")
    image = torch.linspace(-1, 1, 48).view(1, 3, 4, 4)
    start = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    out = denoise(diffusion, lambda noisy, t: image, start, 10, torch.Generator().manual_seed(2))
    assert torch.allclose(out, image, atol=2e-2 if scheduler == "ddpm" else 1e-5)


@pytest.mark.parametrize("steps", [0, 1001])
def test_an_impossible_number_of_steps_is_refused(steps):
    start = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"1\.\.1000"):
        denoise(Diffusion(), lambda noisy, t: noisy, start, steps, torch.Generator())
