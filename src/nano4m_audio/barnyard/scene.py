"""One clip's scene: an animal that varies, a place, a light, a camera that moves slowly.

World coordinates [m]: x right, y up, z forward from the first camera position; the ground is y = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from nano4m_audio.barnyard.animals import make_rig
from nano4m_audio.barnyard.rigs import Rig, Vec

PATTERNS = ("", "patches", "stripes", "wool")


@dataclass(frozen=True)
class Bodies:
    """Ellipsoids as arrays: centres [N, 3], radii [N, 3] and rotations [N, 3, 3] in one frame;
    colours [N, 3], second colours [N, 3] and pattern ids [N] (indices of PATTERNS)."""

    centre: np.ndarray
    radii: np.ndarray
    rotation: np.ndarray
    colour: np.ndarray
    second: np.ndarray
    pattern: np.ndarray


@dataclass(frozen=True)
class Camera:
    """Position and aim of the camera, and how they drift over a clip [m, m per clip]."""

    position: np.ndarray
    target: np.ndarray
    drift: np.ndarray
    zoom: float
    duration_s: float


@dataclass(frozen=True)
class Look:
    """Light and colours of a place (linear RGB)."""

    sun: np.ndarray
    sky_top: np.ndarray
    sky_low: np.ndarray
    ground: np.ndarray
    ground_second: np.ndarray
    ground_phase: np.ndarray
    warmth: np.ndarray


@dataclass(frozen=True)
class Scene:
    """Everything that render() needs; ``rig`` is None in a place without an animal."""

    rig: Rig | None
    animal: Bodies | None
    joints: tuple[str, ...]
    stand: np.ndarray
    yaw: float
    turn: float
    gait_hz: float
    stride: float
    pattern_seed: np.ndarray
    place: Bodies
    look: Look
    camera: Camera


def make_scene(
    class_name: str | None,
    look_rng: np.random.Generator,
    pose_rng: np.random.Generator,
    seconds: float,
) -> Scene:
    """Draw a scene. ``look_rng`` decides the individual and the place (two clips of one video share
    it), ``pose_rng`` where it stands, how it moves and what the camera does in this clip."""
    look = _draw_look(look_rng)
    place = _draw_place(look_rng, look)
    rig = make_rig(class_name) if class_name else None
    animal = _individual(rig, look_rng) if rig else None
    height, length = (rig.height, rig.length) if rig else (0.8, 1.2)
    side = look_rng.choice([-1, 1])
    yaw = side * np.radians(pose_rng.uniform(52, 125))
    stand = np.array([pose_rng.uniform(-0.08, 0.08) * length, 0.0, 0.0])
    extent = max(height * 1.05, 0.72 * length)
    distance = extent * pose_rng.uniform(1.45, 1.95) + 0.25
    eye = height * pose_rng.uniform(0.55, 1.25) + 0.05
    camera = Camera(
        position=np.array([0.0, eye, -distance]),
        target=np.array([0.0, height * pose_rng.uniform(0.42, 0.58), 0.0]),
        drift=np.array(
            [pose_rng.uniform(-0.16, 0.16) * distance, pose_rng.uniform(-0.04, 0.06) * height, 0.0]
        ),
        zoom=pose_rng.uniform(-0.10, 0.12),
        duration_s=seconds,
    )
    return Scene(
        rig=rig,
        animal=animal,
        joints=tuple(p.joint for p in rig.parts) if rig else (),
        stand=stand,
        yaw=yaw,
        turn=np.radians(pose_rng.uniform(-22, 22)),
        gait_hz=pose_rng.uniform(0.7, 1.3),
        stride=pose_rng.uniform(0.35, 1.0),
        pattern_seed=look_rng.uniform(0, 2 * np.pi, 9),
        place=place,
        look=look,
        camera=camera,
    )


def _individual(rig: Rig, rng: np.random.Generator) -> Bodies:
    """The rig's ellipsoids in body coordinates, with this individual's size and colours."""
    stretch = rng.uniform(0.93, 1.07, 3)
    tint = rng.normal(0, 0.035, 3) + rng.normal(0, 0.03)
    parts = rig.parts
    colours = np.array([p.colour for p in parts])
    second = np.array([p.second or p.colour for p in parts])
    bright = colours.max(1, keepdims=True)
    return Bodies(
        centre=np.array([p.centre for p in parts]) * stretch,
        radii=np.array([p.radii for p in parts]) * stretch.mean(),
        rotation=np.stack([euler(p.pitch, p.yaw, p.roll) for p in parts]),
        colour=(colours * (1 + tint * np.minimum(1, 2 * bright))).clip(0.02, 0.98),
        second=second,
        pattern=np.array([PATTERNS.index(p.pattern) for p in parts]),
    )


def joined(parts: Sequence[Bodies]) -> Bodies:
    """All bodies of several, which are in one frame."""
    return Bodies(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Bodies)))


def euler(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Rotation from part to body, in degrees: pitch lifts x to y, yaw turns x to z, roll z to y."""
    (cp, sp), (cy, sy), (cr, sr) = ((np.cos(a), np.sin(a)) for a in np.radians([pitch, yaw, roll]))
    about_z = np.array([[cp, -sp, 0], [sp, cp, 0], [0, 0, 1]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cr, sr], [0, -sr, cr]])
    return about_y @ about_z @ about_x


def _draw_look(rng: np.random.Generator) -> Look:
    azimuth, elevation = rng.uniform(-1.1, 1.1), rng.uniform(0.5, 1.1)
    flat = np.cos(elevation)
    sun = np.array([np.sin(azimuth) * flat, np.sin(elevation), -np.cos(azimuth) * flat])
    skies = [
        ((0.22, 0.45, 0.82), (0.70, 0.82, 0.93)),
        ((0.45, 0.58, 0.74), (0.82, 0.85, 0.86)),
        ((0.33, 0.42, 0.68), (0.95, 0.76, 0.58)),
        ((0.55, 0.60, 0.65), (0.76, 0.78, 0.79)),
    ]
    grounds = [
        ((0.20, 0.42, 0.12), (0.28, 0.48, 0.16)),
        ((0.36, 0.42, 0.16), (0.46, 0.47, 0.22)),
        ((0.45, 0.34, 0.20), (0.38, 0.28, 0.16)),
        ((0.62, 0.53, 0.36), (0.56, 0.46, 0.30)),
        ((0.78, 0.80, 0.83), (0.70, 0.73, 0.78)),
    ]
    top, low = skies[rng.choice(4, p=[0.45, 0.25, 0.15, 0.15])]
    first, second = grounds[rng.choice(5, p=[0.42, 0.2, 0.15, 0.15, 0.08])]
    jitter = rng.normal(0, 0.02, (4, 3))
    return Look(
        sun=sun,
        sky_top=np.clip(np.array(top) + jitter[0], 0.03, 1),
        sky_low=np.clip(np.array(low) + jitter[1], 0.03, 1),
        ground=np.clip(np.array(first) + jitter[2], 0.03, 1),
        ground_second=np.clip(np.array(second) + jitter[3], 0.03, 1),
        ground_phase=rng.uniform(0, 2 * np.pi, 3),
        warmth=1 + rng.normal(0, 0.04) * np.array([1, 0, -1]),
    )


def _draw_place(rng: np.random.Generator, look: Look) -> Bodies:
    """Hills on the horizon, and some of: trees, bushes, rocks, a fence."""
    rows: list[tuple[Vec, Vec, Vec | np.ndarray]] = []  # centre, radii, colour
    green = look.ground * rng.uniform(0.65, 0.95)
    for _ in range(rng.integers(2, 5)):
        wide = rng.uniform(14, 30)
        haze = 0.55 * green + 0.45 * look.sky_low
        centre = [rng.uniform(-34, 34), -1.0, rng.uniform(38, 55)]
        rows.append((centre, [wide, rng.uniform(3, 8), 8.0], haze))
    leaf = np.array([0.14, 0.32, 0.10]) * rng.uniform(0.8, 1.3)
    for _ in range(rng.integers(0, 4)):
        x, z, size = rng.uniform(-11, 11), rng.uniform(9, 22), rng.uniform(1.2, 2.2)
        rows.append(([x, size * 0.8, z], [0.22, size, 0.22], [0.27, 0.18, 0.11]))
        for _ in range(3):
            dx, dy = rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.6)
            shade = leaf * rng.uniform(0.85, 1.15)
            centre = [x + dx * size, size * 2 + dy * size, z]
            rows.append((centre, [size, 0.8 * size, size], shade))
    for _ in range(rng.integers(0, 4)):
        x, z = rng.uniform(-5, 5), rng.uniform(3.5, 10)
        if rng.random() < 0.5:
            radii = [rng.uniform(0.4, 0.9), 0.4, 0.5]
            rows.append(([x, 0.2, z], radii, leaf * rng.uniform(0.8, 1.2)))
        else:
            rows.append(([x, 0.05, z], [rng.uniform(0.2, 0.5), 0.22, 0.3], [0.42, 0.41, 0.4]))
    if rng.random() < 0.45:
        z = rng.uniform(4, 8)
        wood = [0.40, 0.29, 0.19] if rng.random() < 0.6 else [0.8, 0.8, 0.78]
        rows += [([x, 0.45, z], [0.07, 0.55, 0.07], wood) for x in np.arange(-9, 9.1, 1.8)]
        rows += [([0.0, y, z], [12.0, 0.05, 0.05], wood) for y in (0.45, 0.8)]
    centres, radii_of, colours = (np.array(column, float) for column in zip(*rows, strict=True))
    upright, plain = np.tile(np.eye(3), (len(rows), 1, 1)), np.zeros(len(rows), int)
    return Bodies(centres, radii_of, upright, colours.clip(0.02, 0.98), colours, plain)


def animal_at(scene: Scene, t: float, calling: float) -> Bodies:
    """The animal's ellipsoids in world coordinates at time ``t`` [s]; ``calling`` is 0..1."""
    assert scene.rig is not None and scene.animal is not None
    centre, rotation = scene.animal.centre.copy(), scene.animal.rotation.copy()
    for name, joint in scene.rig.joints.items():
        members = [i for i, n in enumerate(scene.joints) if n == name]
        cycle = 2 * np.pi * (scene.gait_hz * t + joint.phase)
        pitch = scene.stride * joint.walk * np.sin(cycle) + joint.call * calling
        yaw = joint.wag * np.sin(2 * np.pi * 0.37 * t + len(name))
        swing = euler(pitch, yaw, 0.0)
        pivot = np.array(joint.pivot)
        centre[members] = (centre[members] - pivot) @ swing.T + pivot
        rotation[members] = swing @ rotation[members]
    progress = t / scene.camera.duration_s - 0.5
    heading = euler(0.0, np.degrees(scene.yaw + scene.turn * progress) - 90.0, 0.0)
    bob = np.array([0.0, 0.008 * scene.stride * np.sin(4 * np.pi * scene.gait_hz * t), 0.0])
    centre = centre @ heading.T + scene.stand + bob
    return replace(scene.animal, centre=centre, rotation=heading @ rotation)


def camera_at(scene: Scene, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Position [3] and rotation [3, 3] (rows: right, down, forward) of the camera at ``t`` [s]."""
    progress = t / scene.camera.duration_s - 0.5
    camera = scene.camera
    nearer = np.array([1, 1, 1 - camera.zoom * progress])
    position = camera.position * nearer + camera.drift * progress
    forward = camera.target - position
    forward = forward / np.linalg.norm(forward)
    right = cross(np.array([0.0, 1.0, 0.0]), forward)
    right = right / np.linalg.norm(right)
    return position, np.stack([right, cross(right, forward), forward])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product along the last axis; np.cross takes ten times as long for few."""
    after, before = [1, 2, 0], [2, 0, 1]
    return a[..., after] * b[..., before] - a[..., before] * b[..., after]
