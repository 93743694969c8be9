"""ResNet-50 (He et al. 2016, arXiv 1512.03385) behind the ImageClassifier Protocol.

torchvision's network and IMAGENET1K_V2 weights, with the transform that these weights come with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.batching import fill, per_device, place, run_batched
from nano4m_audio.backends.checkpoints import read_torch
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.images import IMAGENET_MEAN, IMAGENET_STD, as_pixels, normalise

CHECKPOINT = "resnet50-11ad3fa6.pth"
_RESIZE_PX, _CROP_PX = 232, 224


class ResNet50:
    """ImageClassifier of the 1,000 ImageNet classes; a class of ours names some of them.

    Always runs in float32, as a measuring instrument should.
    """

    n_classes = 1000

    def __init__(self, net: nn.Module, compute: Compute) -> None:
        self._net, self._compute = net, compute

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> ResNet50:
        """Read the published checkpoint in ``folder``. Raises UserError if it is another file."""
        from torchvision.models import resnet50

        path = folder / CHECKPOINT
        compute = replace(compute, dtype="float32")
        net = place(fill(resnet50(), read_torch(path), path), compute)
        # Pictures come with their channels last: kept so, convolutions need no reordering.
        return cls(net.to(memory_format=torch.channels_last), compute)  # type: ignore[call-overload]

    def classify(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, 1000] probabilities."""

        def probabilities(batch: torch.Tensor) -> torch.Tensor:
            return self._net(normalise(as_pixels(batch), IMAGENET_MEAN, IMAGENET_STD)).softmax(1)

        crops = np.stack([_resize_and_crop(picture) for picture in rgb])
        batch_size = per_device(self._compute, cpu=8, accelerator=128)
        return run_batched(probabilities, crops, batch_size, self._compute)


def _resize_and_crop(rgb: np.ndarray) -> np.ndarray:
    """Scale a square to 232 pixels and keep the middle 224, by Pillow as in the weights' own
    transform: rounding elsewhere differs in some pixels, and more on a GPU."""
    from PIL import Image

    margin = (_RESIZE_PX - _CROP_PX) // 2
    resized = Image.fromarray(rgb).resize((_RESIZE_PX, _RESIZE_PX), Image.Resampling.BILINEAR)
    return np.asarray(resized)[margin:-margin, margin:-margin]


def hits(probabilities: np.ndarray, wanted: Sequence[Sequence[int]], k: int = 5) -> np.ndarray:
    """Whether one of the ``k`` likeliest ImageNet classes is a wanted one: float64 [B], 1 or 0.

    ``wanted`` [B] are the ids of each picture's class. NaN where there is none (pigeon).
    """
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return np.array(
        [
            float(np.isin(top, ids).any()) if ids else np.nan
            for top, ids in zip(likeliest, wanted, strict=True)
        ]
    )
