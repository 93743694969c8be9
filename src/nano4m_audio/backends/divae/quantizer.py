"""The codebook: each latent becomes the code that points in its direction (ml-4m
fourm/vq/quantizers/quantize_lucid.py with ``norm_codes``)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Codebook(nn.Module):
    """``embed`` float32 [K, d]. The other two are the state of the training's moving averages."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("initted", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed", torch.zeros(size, dim))


class Quantizer(nn.Module):
    """Latents [B, d, h, w] <-> token ids [B, h, w]."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self._codebook = Codebook(size, dim)

    @property
    def embed(self) -> torch.Tensor:
        """The codes as they are stored, float32 [K, d]; their norms differ."""
        return self._codebook.get_buffer("embed")

    def cosines(self, latents: torch.Tensor) -> torch.Tensor:
        """Cosine of every latent with every code, float32 [B, h, w, K]."""
        directions = F.normalize(latents.float().permute(0, 2, 3, 1), dim=-1)
        return directions @ F.normalize(self.embed, dim=-1).T

    def tokens(self, latents: torch.Tensor) -> torch.Tensor:
        """int64 [B, h, w]: the code with the largest cosine."""
        return self.cosines(latents).argmax(-1)

    def vectors(self, tokens: torch.Tensor) -> torch.Tensor:
        """The raw codes of token ids, float32 [B, d, h, w]."""
        return self.embed[tokens].permute(0, 3, 1, 2)
