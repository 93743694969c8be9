"""The engine on a GPU computes what it computes on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nano4m_audio.nano4m.settings import Hardware
from tests.nano4m.test_train import run


def losses(folder: Path, device: str) -> list[float]:
    """The losses of a short training in float32."""
    return [
        row[3] for row in run(folder, hardware=Hardware.model_validate({"device": device})).metrics
    ]


def test_a_training_has_the_losses_of_the_cpu(gpu: str, tmp_path: Path) -> None:
    found = [losses(tmp_path / device, device) for device in ("cpu", gpu)]
    assert len(found[0]) > 20
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2)
