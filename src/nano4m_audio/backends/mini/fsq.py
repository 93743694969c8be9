"""Finite scalar quantisation (Mentzer et al. 2023): the codebook is a grid, and is not learnt.

Each latent dimension is squashed to (0, 1) and falls into one of ``levels[i]`` equal bins; the bin
numbers are the digits of the token id. Training sees the identity gradient (straight-through).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

# sigmoid(1.702 x) approximates the normal distribution function: unit-variance latents fill the
# bins evenly.
_SLOPE = 1.702


@dataclass(frozen=True)
class Fsq:
    """Grid with ``levels[i]`` bins in dimension i; the first is the lowest digit of an id."""

    levels: tuple[int, ...]

    @property
    def vocab_size(self) -> int:
        return math.prod(self.levels)

    def bins(self, latents: torch.Tensor) -> torch.Tensor:
        """float [..., d] unbounded latents -> float [..., d] whole bin numbers in 0..levels-1."""
        levels = self._levels(latents)
        return torch.minimum((_squash(latents) * levels).floor(), levels - 1)

    def centres(self, bins: torch.Tensor) -> torch.Tensor:
        """Bin numbers [..., d] -> the bins' centres, float [..., d] in -1..1."""
        levels = self._levels(bins)
        return (2 * bins + 1) / levels - 1

    def quantise(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [..., d] -> bin centres [..., d], with the gradient of the squashing alone."""
        soft = 2 * _squash(latents) - 1
        return soft + (self.centres(self.bins(latents)) - soft).detach()

    def ids(self, bins: torch.Tensor) -> torch.Tensor:
        """Bin numbers [..., d] -> int64 token ids [...]."""
        return (bins.long() * self._places(bins.device)).sum(-1)

    def bins_of(self, ids: torch.Tensor) -> torch.Tensor:
        """Inverse of ``ids``: int [...] -> float [..., d]. ValueError for ids outside the grid."""
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.vocab_size):
            raise ValueError(f"token ids must lie in 0..{self.vocab_size - 1}")
        levels = torch.tensor(self.levels, device=ids.device)
        return (ids.long().unsqueeze(-1) // self._places(ids.device) % levels).float()

    def _levels(self, like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.levels, dtype=torch.float32, device=like.device)

    def _places(self, device: torch.device) -> torch.Tensor:
        strides = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        return torch.tensor(strides, device=device)


def _squash(latents: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(_SLOPE * latents.float())
