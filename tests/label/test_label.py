"""The stored form of depth and normals, and its error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nano4m_audio.barnyard.render import FOCAL_PX, SIZE_PX, render
from nano4m_audio.barnyard.scene import Bodies, camera_at, make_scene
from nano4m_audio.label import maps

DEPTHS = npst.arrays(np.float32, (2, 6, 5), elements=st.floats(-1000, 1000, width=32))


@given(DEPTHS)
def test_depth_comes_back_within_the_stated_error(depth):
    back = maps.decode_depth(maps.encode_depth(depth))
    span = depth.max((1, 2)) - depth.min((1, 2))
    allowed = span / 131_070 + 1e-4 * np.abs(depth).max() * 1e-2 + 1e-6
    assert (np.abs(back - depth).max((1, 2)) <= allowed).all()


@given(npst.arrays(np.float32, (1, 4, 4, 3), elements=st.floats(-1, 1, width=32)))
def test_normals_come_back_within_half_a_degree(vectors):
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors = np.where(length > 1e-3, vectors, np.array([0, 0, 1], np.float32))
    normals = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    back = maps.decode_normals(maps.encode_normals(normals))
    angle = np.degrees(np.arccos(np.clip((back * normals).sum(-1), -1, 1)))
    assert angle.max() < 0.5


def test_the_tokenizer_sees_depth_between_minus_one_and_one():
    depth = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    image = maps.depth_image(depth)
    assert image.shape == (3, 1, 8, 8)
    assert image.min((1, 2, 3)).tolist() == [-1, -1, -1]
    assert image.max((1, 2, 3)).tolist() == [1, 1, 1]


def test_a_flat_map_is_not_a_division_by_zero():
    depth = np.full((1, 4, 4), 7.0, np.float32)
    assert (maps.decode_depth(maps.encode_depth(depth)) == 7).all()
    assert np.isfinite(maps.depth_image(depth)).all()


def _wall(turn_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Normals and mask of a flat wall in front of a camera, turned to its own left (positive) or
    right about the vertical axis."""
    scene = make_scene(None, np.random.default_rng(0), np.random.default_rng(1), seconds=1.0)
    position, rotation = camera_at(scene, 0.0)
    turn = np.radians(turn_deg)
    axes = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    grey = np.full((1, 3), 0.5)
    wall = Bodies(
        centre=(position + rotation.T @ [0, 0, 4.0])[None],
        radii=np.array([[50.0, 50.0, 1e-3]]),
        rotation=(rotation.T @ axes)[None],
        colour=grey,
        second=grey,
        pattern=np.zeros(1, int),
    )
    frame = render(replace(scene, place=wall), 0.0)
    return frame.normals, abs(frame.normals @ axes[:, 2]) > 0.99


@pytest.mark.parametrize(
    ("turn_deg", "normal", "colour"),
    [
        (0, (0, 0, -1), (128, 128, 255)),
        (45, (-0.707, 0, -0.707), (218, 128, 218)),
        (-45, (0.707, 0, -0.707), (37, 128, 218)),
    ],
)
def test_frame_and_colours_of_flat_left_and_right_facing_walls(turn_deg, normal, colour):
    normals, wall = _wall(turn_deg)
    assert wall.mean() > 0.3
    assert np.allclose(normals[wall], normal, atol=0.01)
    colours = maps.normal_colours(normals)
    assert np.abs(colours[wall].astype(int) - colour).max() <= 2
    assert np.abs(maps.decode_normals(maps.encode_normals(normals[None]))[0] - normals).max() < 0.01


def test_the_ground_is_green_and_every_surface_faces_its_ray():
    """DSINE keeps normal . ray > 0; its vectors are ours with all signs turned."""
    scene = make_scene("cow", np.random.default_rng(0), np.random.default_rng(1), seconds=1.0)
    frame = render(scene, 0.0)
    offsets = (np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2) / FOCAL_PX
    x, y = np.meshgrid(offsets, offsets)
    rays = np.stack([x, y, np.ones_like(x)], -1)
    assert ((frame.normals * rays).sum(-1) < 1e-3).all()
    assert frame.normals[-1, :, 1].max() < -0.8
    assert maps.normal_colours(frame.normals)[-1, :, 1].min() > 228


def test_the_tokenizer_sees_unit_normals_in_the_frame_of_the_estimator():
    normals, _ = _wall(30)
    row = maps.encode_normals(np.stack([normals, normals]))
    image = maps.decode_normals(row).transpose(0, 3, 1, 2)
    assert image.shape == (2, 3, 224, 224) and image.dtype == np.float32
    assert np.allclose(np.linalg.norm(image, axis=1), 1, atol=1e-6)
    assert np.abs(image[0] - normals.transpose(2, 0, 1)).max() < 0.01
