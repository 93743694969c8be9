"""Cameras, rays and rotations: recorded intrinsics and invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.backends.dsine import geometry

ANGLE = st.floats(-math.pi, math.pi)
COORDINATE = st.floats(0.5, 27.5)


def _unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor([values], dtype=torch.float64), dim=1)


def test_intrinsics_and_padding_are_the_recorded_ones(golden):
    _, io = golden("dsine")
    for name, (height, width) in {"intrinsics": (224, 224), "crop_intrinsics": (200, 150)}.items():
        fx, fy, cx, cy = geometry.intrinsics_from_fov(1, height, width)[0]
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        assert np.allclose(matrix, io[name], atol=1e-3)
    assert geometry.padding(200, 150) == tuple(io["crop_padding_lrtb"])


@given(height=st.integers(1, 500), width=st.integers(1, 500))
def test_padding_is_the_least_that_gives_multiples(height, width):
    left, right, top, bottom = geometry.padding(height, width)
    assert (left + width + right) % 32 == (top + height + bottom) % 32 == 0
    assert left + right < 32 and top + bottom < 32
    assert 0 <= right - left <= 1 and 0 <= bottom - top <= 1


def test_the_angle_between_the_outer_rays_is_the_field_of_view():
    cameras = geometry.at_stride(geometry.intrinsics_from_fov(1, 224, 224, 60.0), 1)
    edges = torch.tensor([[[0.0, 224.0], [112.0, 112.0]]])
    left, right = geometry.rays(geometry.directions(edges, cameras))[0].T
    assert math.degrees(math.acos(float(left @ right))) == pytest.approx(60, abs=1e-3)
    assert left[0] < 0 < right[0]


def test_every_picture_of_a_batch_has_its_own_camera():
    cameras = torch.tensor([[100.0, 100, 50, 50], [200.0, 50, 10, 20]])
    points = geometry.pixel_centres(4, 6, torch.device("cpu"))
    both = geometry.directions(points, cameras)
    for i in range(2):
        assert torch.equal(both[i : i + 1], geometry.directions(points, cameras[i : i + 1]))


@given(a=st.tuples(ANGLE, ANGLE), b=st.tuples(ANGLE, ANGLE))
def test_ray_relu_lets_no_surface_be_seen_from_behind(a, b):
    normal = _unit(math.cos(a[0]), math.sin(a[0]) * math.cos(a[1]), math.sin(a[0]) * math.sin(a[1]))
    ray = _unit(math.cos(b[0]) / 2, math.sin(b[1]) / 2, 1)
    out = geometry.ray_relu(normal, ray)
    if (out * ray).sum() == 0:  # the normal was exactly against the ray
        return
    assert (out * ray).sum() > 0.009
    if (normal * ray).sum() > geometry.MIN_COSINE:
        assert torch.allclose(out, normal)


@given(ANGLE, ANGLE, ANGLE)
def test_rotation_is_that_of_the_right_hand(angle, first, second):
    axis = _unit(math.cos(first), math.sin(first), math.sin(second))
    turn = torch.tensor([[angle]], dtype=torch.float64)
    vector = _unit(0.3, -0.5, 0.8)
    out = geometry.rotate(vector, axis, turn)
    assert torch.allclose(out.norm(dim=1), torch.ones(1, dtype=torch.float64))
    assert torch.allclose((out * axis).sum(), (vector * axis).sum())
    assert torch.allclose(geometry.rotate(out, axis, -turn), vector)
    x, z = _unit(1, 0, 0), _unit(0, 0, 1)
    expected = torch.tensor([[math.cos(angle), math.sin(angle), 0]], dtype=torch.float64)
    assert torch.allclose(geometry.rotate(x, z, turn), expected)


def test_without_an_axis_nothing_is_rotated():
    vector = _unit(0.3, -0.5, 0.8)
    assert torch.equal(geometry.rotate(vector, torch.zeros_like(vector), vector[:, :1]), vector)


@given(x=COORDINATE, y=COORDINATE, direction=ANGLE, tilt=st.floats(-1, 1), turn=ANGLE)
def test_a_tangent_lies_in_the_plane_and_moves_the_image_as_asked(x, y, direction, tilt, turn):
    cameras = torch.tensor([[24.0, 24, 14, 14]], dtype=torch.float64)
    points = torch.tensor([[x, y]], dtype=torch.float64)
    step = torch.tensor([[math.cos(direction), math.sin(direction)]], dtype=torch.float64)
    normal = _unit(tilt * math.cos(turn), tilt * math.sin(turn), 1)
    axis = geometry.tangent(normal, points, step, cameras)
    assert abs(float((axis * normal).sum())) < 1e-9
    start = torch.cat([geometry.directions(points, cameras), torch.ones(1, 1)], 1)
    moved = start + 1e-6 * axis
    shift = (moved[:, :2] / moved[:, 2:]) * 24 + 14 - points
    along = (torch.nn.functional.normalize(shift, dim=1) * step).sum()
    assert abs(float(along)) > 1 - 1e-6


def test_neighbours_repeat_the_border():
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    around = geometry.neighbours(maps, 3)
    assert around.shape == (1, 1, 9, 2, 3)
    assert around[0, 0, :, 0, 0].tolist() == [0, 0, 1, 0, 0, 1, 3, 3, 4]
    assert torch.equal(around[:, :, 4], maps)
