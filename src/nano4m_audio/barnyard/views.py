"""Single frames with exact depth and normals, for training and testing small nets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nano4m_audio.barnyard.render import SIZE_PX, render
from nano4m_audio.barnyard.scene import make_scene
from nano4m_audio.barnyard.streams import CLASSES, stream

_CLIP_S = 6.0


@dataclass(frozen=True)
class Views:
    """rgb uint8 [N, 224, 224, 3]; depth float32 [N, 224, 224] [m], +inf for sky; normals float32
    [N, 224, 224, 3]; label int64 [N], an index of CLASSES or -1 for a place without an animal."""

    rgb: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    label: np.ndarray


def sample_views(purpose: str, seed: int, n: int, *, empty_fraction: float = 0.0) -> Views:
    """Render ``n`` frames of ``n`` different scenes, classes in turn."""
    views = Views(
        rgb=np.empty((n, SIZE_PX, SIZE_PX, 3), np.uint8),
        depth=np.empty((n, SIZE_PX, SIZE_PX), np.float32),
        normals=np.empty((n, SIZE_PX, SIZE_PX, 3), np.float32),
        label=np.empty(n, np.int64),
    )
    for i in range(n):
        pick = stream(purpose, seed, "view", i)
        label = -1 if pick.random() < empty_fraction else i % len(CLASSES)
        look, pose = (stream(purpose, seed, "view", kind, i) for kind in ("look", "pose"))
        scene = make_scene(CLASSES[label] if label >= 0 else None, look, pose, _CLIP_S)
        calling = max(0.0, pick.uniform(-1, 1))
        frame = render(scene, pick.uniform(0, _CLIP_S), calling)
        views.rgb[i], views.depth[i], views.normals[i] = frame.rgb, frame.depth, frame.normals
        views.label[i] = label
    return views
