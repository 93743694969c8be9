"""The pictures of the barnyard: deterministic, disjoint by purpose, exact depth and normals."""

from __future__ import annotations

import numpy as np
import pytest

from nano4m_audio.barnyard.render import FOCAL_PX, SIZE_PX, render
from nano4m_audio.barnyard.scene import Bodies, animal_at, camera_at, euler, make_scene
from nano4m_audio.barnyard.streams import CLASSES, stream
from nano4m_audio.barnyard.views import sample_views


def scene_of(name, seed=0):
    return make_scene(name, stream("test", seed, "look"), stream("test", seed, "pose"), 6.0)


def test_views_are_deterministic_and_purposes_are_disjoint():
    first, again = sample_views("test", 1, 3), sample_views("test", 1, 3)
    assert (first.rgb == again.rgb).all()
    assert (first.normals == again.normals).all()
    for purpose, seed in (("mini", 1), ("demo", 1), ("test", 2)):
        other = sample_views(purpose, seed, 3)
        assert all((a != b).mean() > 0.2 for a, b in zip(first.rgb, other.rgb, strict=True))
    with pytest.raises(ValueError, match="unknown purpose"):
        sample_views("train", 1, 1)


def test_classes_come_in_turn_and_empty_places_have_no_label():
    views = sample_views("test", 3, 22)
    assert views.label.tolist() == list(range(11)) * 2
    assert set(sample_views("test", 3, 4, empty_fraction=1.0).label) == {-1}


def rays():
    at = (np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2) / FOCAL_PX
    return np.stack([*np.meshgrid(at, at), np.ones((SIZE_PX, SIZE_PX))], -1)


@pytest.mark.parametrize("name", CLASSES)
def test_every_depth_lies_on_a_surface_with_its_normal(name):
    """Each pixel's point satisfies the equation of the ground or of an ellipsoid, and the stored
    normal is the gradient of that equation."""
    scene = scene_of(name)
    frame = render(scene, 1.0, 0.5)
    position, rotation = camera_at(scene, 1.0)
    solid = np.isfinite(frame.depth)
    points = (rays()[solid] * frame.depth[solid][:, None]) @ rotation + position
    normals = frame.normals[solid] @ rotation
    error = np.abs(points[:, 1])
    best = np.where(error < 1e-3, 0.0, np.inf)
    wanted = np.tile([0.0, 1.0, 0.0], (len(points), 1))
    parts = [scene.place, animal_at(scene, 1.0, 0.5)]
    for bodies in parts:
        for i in range(len(bodies.centre)):
            inside = (points - bodies.centre[i]) @ bodies.rotation[i] / bodies.radii[i]
            off = np.abs((inside**2).sum(1) - 1)
            nearer = off < np.minimum(best, 0.02)
            gradient = (inside / bodies.radii[i]) @ bodies.rotation[i].T
            wanted[nearer] = gradient[nearer] / np.linalg.norm(gradient[nearer], axis=1)[:, None]
            best = np.where(nearer, off, best)
    assert (best < 0.02).all()
    cosine = (wanted * normals).sum(1)
    assert (cosine > 0.999).mean() > 0.99
    assert np.allclose(np.linalg.norm(frame.normals, axis=-1), 1, atol=1e-4)


def test_normals_agree_with_differences_of_depth():
    frame = render(scene_of("horse"), 0.0)
    points = rays() * frame.depth[..., None]
    with np.errstate(invalid="ignore"):
        across = points[1:-1, 2:] - points[1:-1, :-2]
        down = points[2:, 1:-1] - points[:-2, 1:-1]
        normal = np.cross(down, across)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    cosine = (normal * frame.normals[1:-1, 1:-1]).sum(-1)
    flat = np.isfinite(cosine)
    assert (np.abs(cosine[flat]) > 0.98).mean() > 0.85
    assert (cosine[flat] > 0).mean() > 0.95


def test_sky_is_far_and_faces_the_camera():
    frame = render(scene_of(None), 0.0)
    sky = ~np.isfinite(frame.depth)
    assert sky.any()
    assert (frame.normals[sky] == [0, 0, -1]).all()
    assert (frame.depth[~sky] > 0).all()


@pytest.mark.parametrize("name", CLASSES)
def test_an_animal_fills_a_fair_part_of_the_picture_and_moves(name):
    scene = scene_of(name, 4)
    with_animal, later = render(scene, 0.5), render(scene, 2.0)
    empty = render(make_scene(None, stream("test", 4, "look"), stream("test", 4, "pose"), 6.0), 0.5)
    assert with_animal.rgb.shape == empty.rgb.shape
    assert (with_animal.rgb != later.rgb).any(-1).mean() > 0.02


def test_an_animal_stands_on_the_ground():
    for name in CLASSES:
        bodies: Bodies = animal_at(scene_of(name), 0.0, 0.0)
        lowest = bodies.centre[:, 1] - np.sqrt(((bodies.rotation[:, 1] * bodies.radii) ** 2).sum(1))
        assert -0.12 < lowest.min() < 0.1, name


def test_rotations_are_rotations():
    turn = euler(20, -35, 50)
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    assert np.allclose(euler(90, 0, 0) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
