"""Pinhole cameras, rays and rotations. x right, y down, z forward; image positions in pixels.

Intrinsics are tensors [B, 4] of fx, fy, cx, cy, one row per picture: the published predictor keeps
one camera for a whole batch, which is why it must not be given several pictures.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

#: Least cosine of a normal with its ray, so that no surface is seen from behind.
MIN_COSINE = 0.01


def intrinsics_from_fov(n: int, height: int, width: int, fov_deg: float = 60.0) -> torch.Tensor:
    """float32 [n, 4] for pictures whose longer side spans ``fov_deg``; pixel centres from 0."""
    focal = max(height, width) / 2 / math.tan(math.radians(fov_deg / 2))
    return torch.tensor([[focal, focal, width / 2 - 0.5, height / 2 - 0.5]]).repeat(n, 1)


def padding(height: int, width: int, multiple: int = 32) -> tuple[int, int, int, int]:
    """Pixels to add left, right, top, bottom so that both sides are multiples."""
    extra_x, extra_y = -width % multiple, -height % multiple
    return extra_x // 2, extra_x - extra_x // 2, extra_y // 2, extra_y - extra_y // 2


def shifted(intrinsics: torch.Tensor, left: int, top: int) -> torch.Tensor:
    """The same cameras after padding."""
    return intrinsics + intrinsics.new_tensor([0, 0, left, top])


def at_stride(intrinsics: torch.Tensor, stride: int) -> torch.Tensor:
    """The same cameras for maps ``stride`` times smaller, now with the corner of the first pixel at
    0, so that pixel centres lie at x + 0.5."""
    return (intrinsics + intrinsics.new_tensor([0, 0, 0.5, 0.5])) / stride


def pixel_centres(height: int, width: int, device: torch.device) -> torch.Tensor:
    """float32 [1, 2, H, W]: x and y of every pixel's centre."""
    x = torch.arange(width, dtype=torch.float32, device=device) + 0.5
    y = torch.arange(height, dtype=torch.float32, device=device) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]


def directions(points: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
    """Image positions [B, 2, ...] -> x / z and y / z of their rays, [B, 2, ...]."""
    extra = (1,) * (points.ndim - 2)
    focal, centre = (part.view(-1, 2, *extra) for part in cameras.split(2, dim=1))
    return (points - centre) / focal


def rays(uv: torch.Tensor) -> torch.Tensor:
    """[B, 2, ...] of x / z and y / z -> unit vectors [B, 3, ...]."""
    return F.normalize(torch.cat([uv, torch.ones_like(uv[:, :1])], 1), dim=1)


def ray_relu(normals: torch.Tensor, ray: torch.Tensor) -> torch.Tensor:
    """Turn normals [B, 3, ...] so that each points away from the camera along its ray."""
    cosine = F.cosine_similarity(normals, ray, dim=1).unsqueeze(1)
    lifted = (cosine - MIN_COSINE).relu() + MIN_COSINE
    return F.normalize(normals + ray * (lifted - cosine), dim=1)


def tangent(
    normals: torch.Tensor, points: torch.Tensor, step: torch.Tensor, cameras: torch.Tensor
) -> torch.Tensor:
    """The 3-D direction in which a point of a surface moves when its image moves by ``step``.

    normals [B, 3, ...] and image positions [B, 2, ...] of the points, steps [B, 2, ...] in pixels
    -> unit vectors [B, 3, ...] in the tangent planes; 0 where there is no such direction.
    """
    uv = directions(points + step, cameras)
    moved = uv - directions(points, cameras)
    facing = (uv * normals[:, :2]).sum(1, keepdim=True) + normals[:, 2:]
    facing = torch.copysign(facing.abs().clamp(min=1e-8), facing)  # 0 seen exactly from the side
    deeper = -(moved * normals[:, :2]).sum(1, keepdim=True) / facing
    axis = F.normalize(torch.cat([moved + deeper * uv, deeper], 1), dim=1)
    return torch.where(axis.isfinite(), axis, 0)


def rotate(vectors: torch.Tensor, axis: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate [B, 3, ...] about unit axes (0: not at all) by [B, 1, ...] radians (Rodrigues)."""
    along = (axis * vectors).sum(1, keepdim=True)
    turned = vectors * angle.cos() + torch.linalg.cross(axis, vectors, dim=1) * angle.sin()
    turned = turned + axis * along * (1 - angle.cos())
    return torch.where((axis == 0).all(1, keepdim=True), vectors, turned)


def neighbours(maps: torch.Tensor, size: int) -> torch.Tensor:
    """[B, C, H, W] -> [B, C, size * size, H, W]: the window round every pixel, row by row; outside
    the map its border is repeated."""
    batch, channels, height, width = maps.shape
    reach = size // 2
    padded = F.pad(maps, (reach, reach, reach, reach), mode="replicate")
    return F.unfold(padded, size).view(batch, channels, size * size, height, width)
