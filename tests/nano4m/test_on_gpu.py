"""The engine on a GPU computes what it computes on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nano4m_audio.nano4m.settings import Hardware
from tests.nano4m.test_train import run


def losses(folder: Path, device: str, compiled: bool) -> list[float]:
    """The losses of a short training."""
    hardware = Hardware.model_validate({"device": device, "compile": compiled})
    return [row[3] for row in run(folder, hardware=hardware).metrics]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_training_has_the_losses_of_the_cpu(gpu: str, tmp_path: Path, compiled: bool) -> None:
    """Also where its blocks are compiled and its passes replayed."""
    found = [losses(tmp_path / device, device, compiled) for device in ("cpu", gpu)]
    assert len(found[0]) > 20
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2)
