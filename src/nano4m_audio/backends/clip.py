"""CLIP ViT-B/32 (Radford et al. 2021, arXiv 2103.00020) behind the ImageTextScorer Protocol.

OpenAI's weights in the network of open_clip, whose tokenizer ships with the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nano4m_audio.backends.batching import fill, per_device, place, run_batched, torch_dtype
from nano4m_audio.backends.checkpoints import read_safetensors
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.images import as_pixels, normalise

CHECKPOINT = "open_clip_model.safetensors"
#: OpenAI's weights were trained with the quick approximation of GELU.
ARCHITECTURE = "ViT-B-32-quickgelu"
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_TEXTS = 16


class ClipVitB32:
    """ImageTextScorer: the product of an image row and a text row is their cosine.

    In bfloat16 cosines stay within 0.01 of float32.
    """

    classes = None

    def __init__(self, net: Any, tokenizer: Any, compute: Compute) -> None:
        self._net, self._tokenizer, self._compute = net, tokenizer, compute

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> ClipVitB32:
        """Read the weights in ``folder``. Raises UserError if they are of another network."""
        import open_clip

        path = folder / CHECKPOINT
        net = open_clip.create_model(ARCHITECTURE, load_weights=False)
        tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
        return cls(place(fill(net, read_safetensors(path), path), compute), tokenizer, compute)

    def embed_images(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, 512] unit rows."""
        dtype = torch_dtype(self._compute)

        def embed(batch: torch.Tensor) -> torch.Tensor:
            pixels = normalise(as_pixels(batch), _MEAN, _STD).to(dtype)
            return unit(self._net.encode_image(pixels))

        batch_size = per_device(self._compute, cpu=8, accelerator=80)
        return run_batched(embed, rgb, batch_size, self._compute)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """T texts -> float32 [T, 512] unit rows; a text is cut to 75 tokens."""
        ids = self._tokenizer(texts).numpy()
        return run_batched(
            lambda batch: unit(self._net.encode_text(batch)), ids, _TEXTS, self._compute
        )


def unit(rows: torch.Tensor) -> torch.Tensor:
    """float32 rows of length one."""
    return torch.nn.functional.normalize(rows.float(), dim=1)
