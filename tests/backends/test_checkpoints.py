"""Weight files that do not fit are one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nano4m_audio.backends.batching import fill, place
from nano4m_audio.backends.checkpoints import read_safetensors
from nano4m_audio.backends.compute import Compute
from nano4m_audio.errors import UserError


def _net() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def _state() -> dict[str, torch.Tensor]:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()


@pytest.fixture
def refused(tmp_path: Path):
    """Saves a changed state dict, loads it and gives the one line that refuses it."""

    def load(state: dict[str, torch.Tensor]) -> str:
        path = tmp_path / "model.safetensors"
        save_file(state, path)
        with pytest.raises(UserError) as caught:
            fill(_net(), read_safetensors(path), path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    return load


def test_the_right_tensors_are_taken_over_and_frozen(tmp_path: Path):
    state = {
        key: value.double() if value.is_floating_point() else value
        for key, value in _state().items()
    }
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    net: Any = place(fill(_net(), read_safetensors(path), path), Compute())
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert net[0].weight.dtype == torch.float32
    assert torch.equal(net[0].weight, state["0.weight"].float())
    assert net(torch.ones(4, 2)).shape == (4, 3)


def test_a_missing_key(refused):
    state = _state()
    del state["1.running_mean"]
    assert 'Missing key(s) in state_dict: "1.running_mean"' in refused(state)


def test_an_unknown_key(refused):
    assert 'Unexpected key(s) in state_dict: "2.weight"' in refused(
        {**_state(), "2.weight": torch.ones(1)}
    )


def test_many_unknown_keys_stay_short(refused):
    assert len(refused({**_state(), **{f"layer.{i}": torch.ones(1) for i in range(99)}})) < 500


def test_another_shape(refused):
    assert "size mismatch for 0.bias" in refused({**_state(), "0.bias": torch.ones(4)})
