"""DSINE behind the NormalEstimator Protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nano4m_audio.backends.batching import per_device, place, run_batched
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.dsine.geometry import intrinsics_from_fov
from nano4m_audio.backends.dsine.model import CHECKPOINT, Dsine, load_dsine
from nano4m_audio.backends.images import as_pixels
from nano4m_audio.errors import UserError


class DsineNormals:
    """NormalEstimator. Pictures of unknown cameras are taken to span 60 degrees, as the authors do.
    Always float32: tokens are made from these maps (benchmarks/image_backends.py)."""

    def __init__(self, net: Dsine, compute: Compute) -> None:
        self.compute = replace(compute, dtype="float32")
        self.net = place(net, self.compute)

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> DsineNormals:
        """Load ``dsine.pt``. UserError when it is missing, damaged or of another model."""
        return cls(load_dsine(folder / CHECKPOINT), compute)

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] -> float32 [B, H, W, 3], unit length, pointing out of the surface (the
        network's point into it)."""
        if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3:
            raise UserError(
                f"dsine needs uint8 pictures [B, H, W, 3], not {rgb.dtype} {list(rgb.shape)}"
            )
        return run_batched(self.normals, rgb, per_device(self.compute, 8, 32), self.compute)

    def normals(self, batch: torch.Tensor) -> torch.Tensor:
        """One batch, uint8 [B, H, W, 3] -> float32 [B, H, W, 3]."""
        cameras = intrinsics_from_fov(*batch.shape[:3]).to(batch.device)
        return -self.net(as_pixels(batch), cameras)[-1].permute(0, 2, 3, 1)
