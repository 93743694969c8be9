"""The renderer's float32 against exact fractions: flat, thin, small and large ellipsoids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nano4m_audio.barnyard.render import FOCAL_PX, SIZE_PX, Frame, render
from nano4m_audio.barnyard.scene import Bodies, camera_at, euler, make_scene

EPS = float(np.finfo(np.float32).eps)
ROUNDINGS = 12  # from a coefficient to a value, each of EPS of the largest term
AT = ((np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2) / FOCAL_PX).astype(np.float32).astype(float)

exact = np.vectorize(Fraction, otypes=[object])
rounded = np.vectorize(float, otypes=[float])


def shot(centre, radii, axes) -> tuple[Frame, np.ndarray, np.ndarray]:
    """The frame of one ellipsoid over the ground, its centre and axes in camera coordinates; the
    ground's normal there and 1 / depth [224, 224]."""
    scene = make_scene(None, np.random.default_rng(0), np.random.default_rng(1), seconds=1.0)
    position, rotation = camera_at(scene, 0.0)
    grey = np.full((1, 3), 0.5)
    body = Bodies(
        centre=(position + rotation.T @ centre)[None],
        radii=np.array([radii], float),
        rotation=(rotation.T @ axes)[None],
        colour=grey,
        second=grey,
        pattern=np.zeros(1, int),
    )
    up = rotation[:, 1]
    ground = -(up[0] * AT[None] + up[1] * AT[:, None] + up[2]) / position[1]
    return render(replace(scene, place=body), 0.0), up, np.maximum(ground, 0)


@dataclass(frozen=True)
class Truth:
    """Of some pixels: 1 / depth of the ellipsoid, 0 where it is not, its normal [n, 3], what
    rounding to float32 may change of the two, and whether it may change what is seen."""

    near: np.ndarray
    normal: np.ndarray
    near_error: np.ndarray
    normal_error: np.ndarray
    fragile: np.ndarray


def truth(centre, radii, axes, rows, columns) -> Truth:
    """By the textbook: a z^2 - 2 b z + c = 0 with u = diag(1/r) R^T d and w for the centre."""
    whiten = exact(axes.T) / exact(np.array(radii, float))[:, None]
    ray = exact(np.stack([AT[columns], AT[rows], np.ones(len(rows))], 1))
    u, w = ray @ whiten.T, whiten @ exact(np.array(centre, float))
    a, b, c = (u * u).sum(1), u @ w, w @ w - 1
    root = rounded((b * b - a * c) / c**2)
    s = np.sqrt(np.maximum(root, 0))
    near = np.where((root > 0) & (c > 0), rounded(b / c) + s, 0)  # not seen from within
    pull = rounded(w @ whiten / c)
    slope = rounded((b[:, None] * w - c * u) @ whiten / c**2)
    z = exact(1 / np.where(near > 0, near, 1))
    normal = rounded((z[:, None] * u - w) @ whiten)
    unit = ROUNDINGS * EPS
    s_error = unit * np.minimum(np.abs(root).max() / np.maximum(2 * s, 1e-30), 1e30)
    size = np.abs(pull).sum()
    error = s_error * size + unit * (s * size + np.abs(slope).max())
    return Truth(
        near=np.maximum(near, 0),
        normal=normal / np.linalg.norm(normal, axis=1, keepdims=True),
        near_error=unit * size + s_error,
        normal_error=error / np.linalg.norm(s[:, None] * pull + slope, axis=1),
        fragile=np.abs(root) <= unit * np.abs(root).max(),
    )


def pixels_around(centre, radii, axes) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a grid over the box of the outline in the picture."""
    whiten = axes.T / np.array(radii, float)[:, None]
    x, y = np.meshgrid(AT, AT)
    u, w = np.stack([x, y, np.ones_like(x)], -1) @ whiten.T, whiten @ centre
    cross = np.cross(u, w)
    inside = (u * u).sum(-1) > (cross * cross).sum(-1)
    spans = []
    for axis in (1, 0):
        seen = np.flatnonzero(inside.any(axis))
        low, high = (seen[0], seen[-1]) if len(seen) else (0, SIZE_PX - 1)
        spans.append(np.unique(np.linspace(low, high, 13).round().astype(int)))
    rows, columns = np.meshgrid(*spans, indexing="ij")
    return rows.ravel(), columns.ravel()


def check(centre, radii, axes) -> tuple[float, float, int]:
    """Every pixel of the grid is what it must be; returns the largest relative error of depth,
    the largest error of a normal, and how many pixels of the body were looked at."""
    frame, up, ground = shot(centre, radii, axes)
    rows, columns = pixels_around(centre, radii, axes)
    true = truth(centre, radii, axes, rows, columns)
    floor = ground[rows, columns]
    unclear = true.fragile | (np.abs(true.near - floor) <= true.near_error + 1e-5)
    body = true.near > floor
    near, normal = 1 / frame.depth[rows, columns].astype(float), frame.normals[rows, columns]
    assert (np.abs(near - true.near) <= true.near_error)[body & ~unclear].all()
    off = np.abs(normal - true.normal).max(1)
    assert (off <= true.normal_error)[body & ~unclear].all()
    assert np.allclose(near[~body & ~unclear], floor[~body & ~unclear], atol=1e-4)
    assert np.allclose(np.linalg.norm(frame.normals, axis=-1), 1, atol=1e-5)
    sure = body & ~unclear
    relative = np.abs(near - true.near) / np.maximum(true.near, 1e-30)
    return max(relative[sure], default=0.0), max(off[sure], default=0.0), int(sure.sum())


@pytest.mark.parametrize("thickness", [0.1, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("turn_deg", [0, 45, -45, 20, 70])
def test_a_turned_wall_is_flat(turn_deg, thickness):
    depth, normal, n = check(np.array([0, 0, 4.0]), [50, 50, thickness], euler(0, turn_deg, 0))
    assert n > 50
    assert depth < 2e-6
    assert normal < 1e-4


@pytest.mark.parametrize("radius", [5.0, 0.5, 0.05])
@pytest.mark.parametrize("distance", [3.0, 20.0])
def test_a_ball_is_round(radius, distance):
    depth, normal, n = check(np.array([0.1, -0.6, distance]), [radius] * 3, euler(10, 20, 30))
    if n:
        assert depth < 2e-6 and normal < 5e-3


radius = st.floats(-5, 1.7).map(lambda power: 10**power)
angle = st.floats(-180, 180)
middle = st.floats(-0.4, 0.4)


@settings(max_examples=25)
@given(middle, middle, st.floats(0.1, 30), st.tuples(*[radius] * 3), st.tuples(*[angle] * 3))
def test_any_ellipsoid_is_drawn_within_rounding(x, y, z, radii, angles):
    centre, axes = z * np.array([x, y, 1]), euler(*angles)
    distance = np.linalg.norm(axes.T @ centre / radii)
    assume(abs(distance - 1) > 1e-3)  # the camera is not on the surface
    check(centre, list(radii), axes)
