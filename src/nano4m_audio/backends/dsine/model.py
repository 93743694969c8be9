"""The whole network: a first guess from a convolutional net, refined by rotating neighbours'
normals (Bae and Davison 2024, section 3; baegwangbin/DSINE models/dsine/v02.py)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from nano4m_audio.backends.batching import fill
from nano4m_audio.backends.checkpoints import read_torch
from nano4m_audio.backends.dsine import geometry
from nano4m_audio.backends.dsine.layers import ConvGru, Decoder, Encoder, head
from nano4m_audio.backends.images import IMAGENET_MEAN, IMAGENET_STD, normalise
from nano4m_audio.errors import UserError

CHECKPOINT = "dsine.pt"
WINDOW, ITERATIONS, STRIDE = 5, 5, 8


class Dsine(nn.Module):
    """Pixels uint8 [B, 3, H, W] and cameras [B, 4] -> six maps of unit normals [B, 3, H, W]: the
    first guess and five refinements, of which the last is the result.

    x right, y down, z forward, and every normal points *into* its surface: (0, 0, 1) for a wall
    that faces the camera. ``cameras`` are fx, fy, cx, cy of each picture before padding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.gru = ConvGru(64, 64 + 2)
        near = WINDOW**2
        self.prob_head = head(64 + 2, 64, near)
        self.xy_head = head(64 + 2, 64, 2 * near)
        self.angle_head = head(64 + 2, 64, near)
        self.up_prob_head = head(64 + 2, 64, 9 * STRIDE**2)

    def forward(self, pixels: torch.Tensor, cameras: torch.Tensor) -> list[torch.Tensor]:
        height, width = pixels.shape[-2:]
        left, right, top, bottom = geometry.padding(height, width)
        pixels = F.pad(pixels, (left, right, top, bottom))
        cameras = geometry.shifted(cameras, left, top)
        uv = tuple(uv_at(pixels, cameras, stride) for stride in (8, 16, 32))
        maps = self.encoder(normalise(pixels, IMAGENET_MEAN, IMAGENET_STD))
        raw, features, hidden = self.decoder(maps, uv)
        ray = geometry.rays(uv[0])
        normals = geometry.ray_relu(F.normalize(raw, dim=1), ray)
        predictions = [self._upsampled(normals, hidden, uv[0])]
        features = torch.cat([features, uv[0]], 1)
        for _ in range(ITERATIONS):
            hidden = self.gru(hidden, features)
            normals = self._refined(normals, hidden, uv[0], cameras)
            predictions.append(self._upsampled(normals, hidden, uv[0]))
        return [p[:, :, top : top + height, left : left + width] for p in predictions]

    def _refined(
        self, normals: torch.Tensor, hidden: torch.Tensor, uv: torch.Tensor, cameras: torch.Tensor
    ) -> torch.Tensor:
        """Normals [B, 3, h, w] as a weighted sum of rotated neighbours."""
        batch, _, height, width = normals.shape
        state = torch.cat([hidden, uv], 1)
        weight = self.prob_head(state).sigmoid().unsqueeze(1)
        step = F.normalize(self.xy_head(state).view(batch, 2, -1, height, width), dim=1)
        angle = math.pi * self.angle_head(state).sigmoid().unsqueeze(1)
        near = geometry.neighbours(normals, WINDOW)
        centres = geometry.pixel_centres(height, width, normals.device)
        points = geometry.neighbours(centres, WINDOW)
        small = geometry.at_stride(cameras, STRIDE)
        axis = geometry.tangent(near, points, step, small)
        rotated = F.normalize(geometry.rotate(near, axis, angle), dim=1)
        rotated = geometry.ray_relu(rotated, geometry.rays(uv).unsqueeze(2))
        return F.normalize((weight * rotated).sum(2), dim=1)

    def _upsampled(
        self, normals: torch.Tensor, hidden: torch.Tensor, uv: torch.Tensor
    ) -> torch.Tensor:
        """[B, 3, h, w] -> [B, 3, 8 h, 8 w]: each pixel is its own mixture of nine neighbours."""
        batch, _, height, width = normals.shape
        logits = self.up_prob_head(torch.cat([hidden, uv], 1))
        mixture = logits.view(batch, 9, STRIDE, STRIDE, height, width).softmax(1)
        near = geometry.neighbours(normals, 3)
        fine = torch.einsum("bkijhw,bckhw->bchiwj", mixture, near)
        return F.normalize(fine.reshape(batch, 3, STRIDE * height, STRIDE * width), dim=1)


def uv_at(pixels: torch.Tensor, cameras: torch.Tensor, stride: int) -> torch.Tensor:
    """x / z and y / z of the pixels of a map ``stride`` times smaller: [B, 2, H / s, W / s]."""
    height, width = (n // stride for n in pixels.shape[-2:])
    points = geometry.pixel_centres(height, width, pixels.device)
    return geometry.directions(points, geometry.at_stride(cameras, stride))


def load_dsine(path: Path) -> Dsine:
    """Build the network and fill it, on the CPU, from a published checkpoint: {"model": state dict}
    whose keys may begin with "module.". UserError when the file is missing, damaged, or of another
    model."""
    content = read_torch(path)
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(
            f"{path} must hold {{'model': state dict}}: it is the file of another model"
        )
    with torch.device("meta"):
        net = Dsine()
    return fill(net, {key.removeprefix("module."): value for key, value in state.items()}, path)
