"""The ViT that turns a picture into a grid of features (4M, Mizrahi et al. 2023, appendix; ml-4m
fourm/vq/models/vit_models.py)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from nano4m_audio.backends.divae.settings import VitShape


class Attention(nn.Module):
    """Multi-head self-attention over [B, T, D]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, dim))


class Mlp(nn.Module):
    """Two linear layers around ``act``."""

    def __init__(self, dim: int, hidden: int, act: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = act
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.dim, eps=1e-6)
        self.attn = Attention(shape.dim, shape.heads)
        self.norm2 = nn.LayerNorm(shape.dim, eps=1e-6)
        self.mlp = Mlp(shape.dim, shape.hidden, nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Images [B, C, H, W] -> features float32 [B, D, H / 16, W / 16].

    ``pos_emb`` is a fixed table stored in the checkpoint at the training resolution; it is resized
    to the grid of the input (28 x 28 to 14 x 14 at 224 pixels).
    """

    def __init__(self, channels: int, shape: VitShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, shape.dim, shape.patch_px, shape.patch_px)
        self.register_buffer("pos_emb", torch.zeros(1, shape.dim, *shape.table))
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.depth)))
        self.norm_mlp = nn.LayerNorm(shape.dim, eps=1e-6)
        self.post_mlp = Mlp(shape.dim, shape.hidden, nn.Tanh())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grid = self.proj(images)
        size = grid.shape[-2:]
        table = F.interpolate(self.get_buffer("pos_emb"), size, mode="bicubic")
        x = self.blocks((grid + table).flatten(2).transpose(1, 2))
        with torch.autocast(x.device.type, enabled=False):  # codes are chosen in float32
            x = x.float()
            x = x + self.post_mlp(self.norm_mlp(x))
        return x.transpose(1, 2).unflatten(2, size)
