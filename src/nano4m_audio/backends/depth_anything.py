"""Depth-Anything-V2-Small (Yang et al. 2024, arXiv 2406.09414) behind the DepthEstimator Protocol.

The network is that of transformers; sizes, normalisation and resizing are those of the published
depth-anything/Depth-Anything-V2-Small-hf and of the depth-estimation pipeline.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate

from nano4m_audio.backends.batching import per_device, place, run_batched, torch_dtype
from nano4m_audio.backends.checkpoints import read_safetensors
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.hugging_face import from_tensors
from nano4m_audio.backends.images import IMAGENET_MEAN, IMAGENET_STD, as_pixels, normalise

if TYPE_CHECKING:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

CHECKPOINT = "model.safetensors"
#: 37 patches of 14 pixels: a square of 224 becomes one of 518, which is a multiple of 14.
_SIDE_PX = 518


def architecture() -> DepthAnythingConfig:
    """ViT-S/14 with the outputs of layers 3, 6, 9 and 12. (Version 1 used the last four.)"""
    from transformers import DepthAnythingConfig

    backbone = {
        "model_type": "dinov2",
        "image_size": _SIDE_PX,
        "patch_size": 14,
        "hidden_size": 384,
        "num_attention_heads": 6,
        "out_indices": [3, 6, 9, 12],
        "reshape_hidden_states": False,
    }
    return DepthAnythingConfig(backbone_config=backbone)


class DepthAnythingV2Small:
    """DepthEstimator of relative inverse depth, larger is nearer.

    In bfloat16 a map stays within 5 % of its range of the float32 map.
    """

    def __init__(self, net: DepthAnythingForDepthEstimation, compute: Compute) -> None:
        self._net, self._compute = net, compute

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> DepthAnythingV2Small:
        """Read the weights in ``folder``. Raises UserError if they are of another network."""
        from transformers import DepthAnythingForDepthEstimation

        path = folder / CHECKPOINT
        tensors = read_safetensors(path)
        net = from_tensors(DepthAnythingForDepthEstimation, architecture(), tensors, path)
        # Faster convolutions in the head, above all in bfloat16.
        return cls(place(net, compute).to(memory_format=torch.channels_last), compute)

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, 224, 224]."""
        from torchvision.transforms.v2.functional import InterpolationMode, resize

        dtype, bicubic = torch_dtype(self._compute), InterpolationMode.BICUBIC

        def depth(batch: torch.Tensor) -> torch.Tensor:
            enlarged = resize(as_pixels(batch), [_SIDE_PX, _SIDE_PX], bicubic, antialias=True)
            pixels = normalise(enlarged, IMAGENET_MEAN, IMAGENET_STD).to(dtype)
            maps = self._net(pixels).predicted_depth.float().unsqueeze(1)
            return interpolate(maps, size=batch.shape[1:3], mode="bicubic").squeeze(1)

        batch_size = per_device(self._compute, cpu=1, accelerator=20)
        return run_batched(depth, rgb, batch_size, self._compute)
