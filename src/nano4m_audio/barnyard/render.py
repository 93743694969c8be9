"""Rendering by exact ray casting: each pixel's depth and normal are those of the surface it shows.

Camera coordinates: x right, y down, z forward. Depth is the distance along z [m], +inf for sky.
Normals are unit vectors in camera coordinates (a surface that faces the camera has negative z);
sky is (0, 0, -1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nano4m_audio.barnyard.scene import Bodies, Scene, animal_at, camera_at, joined

SIZE_PX = 224
FOCAL_PX = 112 / np.tan(np.radians(25))
_PIXELS = ((np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2) / FOCAL_PX).astype(np.float32)
_SKY, _GROUND = -2, -1


@dataclass(frozen=True)
class Frame:
    """rgb uint8 [224, 224, 3], depth float32 [224, 224] [m], normals float32 [224, 224, 3]."""

    rgb: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class _Quadrics:
    """Ellipsoids [N] as rays see them, in camera coordinates, float64.

    The ray d = (x, y, 1) enters an ellipsoid at 1 / depth = pull.d + sqrt(d.form.d), and misses it
    where the root has no value. Both are evaluated around ``middle``, the (x, y) in the middle of
    the ellipsoid's ``boxes`` of pixels: no two large terms cancel there, so float32 does for small
    and for flat bodies. There ``level`` is pull.d, ``slope`` form.d and ``power`` d.form.d.
    """

    boxes: list[tuple[slice, slice]]
    middle: np.ndarray
    pull: np.ndarray
    level: np.ndarray
    form: np.ndarray
    slope: np.ndarray
    power: np.ndarray


def render(scene: Scene, t: float, calling: float = 0.0) -> Frame:
    """Render the scene at time ``t`` [s]; ``calling`` (0..1) raises the head."""
    position, rotation = camera_at(scene, t)
    bodies = [scene.place]
    if scene.animal is not None:
        bodies.append(animal_at(scene, t, calling))
    world = joined(bodies)
    quadrics = _quadrics(
        (world.centre - position) @ rotation.T, rotation @ world.rotation, world.radii
    )
    nearness, what = _cast_ground(float(position[1]), rotation)
    _cast_bodies(nearness, what, quadrics)
    with np.errstate(divide="ignore"):
        depth = 1 / nearness
    normals = _normals(what, quadrics, rotation)
    rgb = _shade(scene, depth, what, normals, world, position, rotation)
    return Frame(rgb, depth, normals)


def _cast_ground(height: float, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 / depth [1/m] and ids of the plane y = 0 from ``height`` above it, [224, 224] each; rays
    that never meet it are sky, at 0."""
    down = rotation[:, 1].astype(np.float32)  # world up in camera coordinates
    slope = -(down[0] * _PIXELS[None, :] + down[1] * _PIXELS[:, None] + down[2])
    nearness = np.where(slope > 1e-4, slope / np.float32(height), np.float32(0))
    return nearness, np.where(slope > 1e-4, _GROUND, _SKY).astype(np.int16)


def _quadrics(centre: np.ndarray, axes: np.ndarray, radii: np.ndarray) -> _Quadrics:
    """Ellipsoids with centres c [N, 3], axes R [N, 3, 3] and radii r [N, 3].

    With A = diag(1/r) R^T, u = A d and w = A c, the ray is inside where |z u - w| < 1. So it enters
    where 1/z = (u.w + sqrt(u.u - |u x w|^2)) / (w.w - 1). The term under the root is that of the
    textbook, (u.w)^2 - u.u (w.w - 1), without what cancels there: for a wall a millimetre thick at
    4 m that is 10^7 times what is left. u x w is det(A) diag(r) R^T (d x c).
    """
    sphere = axes.transpose(0, 2, 1) / radii[:, :, None]
    w = np.einsum("nij,nj->ni", sphere, centre)
    rest = np.einsum("ni,ni->n", w, w) - 1
    outside = rest > 0  # a camera in a body does not see it
    rest = np.where(outside, rest, 1)
    scaled = (axes * (radii / radii.prod(1, keepdims=True))[:, None, :]).transpose(0, 2, 1)
    across = -np.cross(scaled, centre[:, None, :])
    form = (_gram(sphere) - _gram(across)) / rest[:, None, None] ** 2
    sigma = _gram((axes * radii[:, None, :]).transpose(0, 2, 1))
    boxes = _boxes(sigma, centre, outside)
    middle = np.array([[_middle(columns), _middle(rows)] for rows, columns in boxes])
    ray = np.concatenate([middle, np.ones((len(middle), 1))], 1)
    slope = np.einsum("nij,nj->ni", form, ray)
    pull = np.einsum("nij,ni->nj", sphere, w) / rest[:, None]
    level, power = np.einsum("ni,ni->n", pull, ray), np.einsum("ni,ni->n", slope, ray)
    return _Quadrics(boxes, middle, pull, level, form, slope, power)


def _gram(rows: np.ndarray) -> np.ndarray:
    return rows.transpose(0, 2, 1) @ rows


def _middle(pixels: slice) -> np.float32:
    """In float32, so that the difference of a pixel of the box and its middle is exact."""
    return np.float32(((pixels.start + pixels.stop) / 2 - SIZE_PX / 2) / FOCAL_PX)


def _cast_bodies(nearness: np.ndarray, what: np.ndarray, quadrics: _Quadrics) -> None:
    """Meet every ellipsoid with the rays of its own bounding box; the nearest point wins."""
    q = quadrics
    columns_of = (q.middle, q.pull, q.level, q.form, q.slope, q.power)
    middle, pull, level, form, slope, power = (column.tolist() for column in columns_of)
    for i, (rows, columns) in enumerate(quadrics.boxes):
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        x = _PIXELS[None, columns] - middle[i][0]
        y = _PIXELS[rows, None] - middle[i][1]
        ((xx, xy, _), (_, yy, _), _), (sx, sy, _) = form[i], slope[i]
        root = ((xx * x + 2 * sx) * x) + ((yy * y + 2 * sy) * y + power[i]) + (2 * xy * x) * y
        near = np.sqrt(np.maximum(root, 0))
        near += pull[i][0] * x + (pull[i][1] * y + level[i])
        old = nearness[rows, columns]
        hit = (root > 0) & (near > old)
        np.copyto(old, near, where=hit)
        np.copyto(what[rows, columns], np.int16(i), where=hit)


def _boxes(sigma: np.ndarray, centre: np.ndarray, outside: np.ndarray) -> list[tuple[slice, slice]]:
    """Exact bounding boxes in pixels, from the dual conic sigma - c c^T of each outline; empty for
    a body behind the camera or around it."""
    dual = sigma - centre[:, :, None] * centre[:, None, :]
    spans = []
    for k in (1, 0):
        with np.errstate(invalid="ignore", divide="ignore"):
            half = np.sqrt(dual[:, k, 2] ** 2 - dual[:, k, k] * dual[:, 2, 2])
            edges = (dual[:, k, 2, None] + half[:, None] * np.array([-1, 1])) / dual[:, 2, 2, None]
        edges = np.sort(edges, 1) * FOCAL_PX + SIZE_PX / 2 - 0.5
        inside = np.isfinite(edges).all(1) & (centre[:, 2] > np.sqrt(sigma[:, 2, 2]))
        behind = (centre[:, 2] < -np.sqrt(sigma[:, 2, 2])) | ~outside
        edges = np.where(inside[:, None], edges, [0, SIZE_PX])
        edges = np.where(behind[:, None], 0, edges.clip(-1, SIZE_PX + 1))
        low = np.floor(edges[:, 0]).astype(int).clip(0, SIZE_PX)
        high = (np.ceil(edges[:, 1]).astype(int) + 1).clip(0, SIZE_PX)
        spans.append(
            [slice(int(a), int(b)) for a, b in zip(low, np.where(behind, low, high), strict=True)]
        )
    return list(zip(*spans, strict=True))


def _points(depth: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Camera coordinates [n, 3] of the pixels with flat indices ``where``."""
    rows, columns = np.divmod(where, SIZE_PX)
    z = depth.ravel()[where]
    return np.stack([_PIXELS[columns] * z, _PIXELS[rows] * z, z], 1)


def _normals(what: np.ndarray, quadrics: _Quadrics, rotation: np.ndarray) -> np.ndarray:
    """Unit normals of every pixel, camera coordinates, float32 [224, 224, 3].

    1 / depth is homogeneous in the ray, and is 1 at the points of the surface: the normal is its
    gradient, pull + form.d / root, here times the root, which is 0 on the outline.
    """
    what = what.ravel()
    normals = np.empty((SIZE_PX * SIZE_PX, 3), np.float32)
    normals[what == _SKY] = (0, 0, -1)
    normals[what == _GROUND] = rotation[:, 1]
    where = np.flatnonzero(what >= 0)
    rows, columns = np.divmod(where, SIZE_PX)
    q = quadrics
    table = np.concatenate(
        [q.middle, q.power[:, None], q.slope, q.form[:, :, 0], q.form[:, :, 1], q.pull], 1
    )
    picked = table.T.astype(np.float32)[:, what[where]]
    x, y = _PIXELS[columns] - picked[0], _PIXELS[rows] - picked[1]
    slope = picked[3:6] + picked[6:9] * x + picked[9:12] * y
    root = picked[2] + (picked[3] + slope[0]) * x + (picked[4] + slope[1]) * y
    out = slope + picked[12:15] * np.sqrt(np.maximum(root, 0))
    normals[where] = (out / -np.sqrt((out * out).sum(0))).T
    return normals.reshape(SIZE_PX, SIZE_PX, 3)


def _shade(
    scene: Scene,
    depth: np.ndarray,
    what: np.ndarray,
    normals: np.ndarray,
    world: Bodies,
    position: np.ndarray,
    rotation: np.ndarray,
) -> np.ndarray:
    """Sun, sky light, contact shadow and haze over the surface colours: uint8 [224, 224, 3]."""
    look = scene.look
    ids = what.ravel()
    rows = (np.arange(SIZE_PX, dtype=np.float32) / SIZE_PX)[:, None]
    sky = look.sky_top + (look.sky_low - look.sky_top) * np.minimum(1, rows * 1.9)
    colour = np.repeat(sky.astype(np.float32), SIZE_PX, 0)
    to_world, origin = rotation.astype(np.float32), position.astype(np.float32)
    haze_colour = look.sky_low.astype(np.float32)
    for ground in (True, False):
        where = np.flatnonzero(ids == _GROUND if ground else ids >= 0)
        points = _points(depth, where) @ to_world + origin
        if ground:
            shown = _lit_ground(scene, points)
        else:
            normal = normals.reshape(-1, 3)[where] @ to_world
            shown = _lit_bodies(scene, world, ids[where], points, normal)
        haze = 0.85 * (1 - np.exp(depth.ravel()[where] * np.float32(-1 / 45)))
        colour[where] = shown + (haze_colour - shown) * haze[:, None]
    image = _smooth_edges(colour.reshape(SIZE_PX, SIZE_PX, 3), what)
    return (np.sqrt(image.clip(0, 1)) * 255 + 0.5).astype(np.uint8)


def _lit_ground(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Colour of ground pixels in sun and shadow, float32 [n, 3]."""
    light = 0.56 + np.float32(0.62 * scene.look.sun[1]) * _shadow(scene, points)
    return _ground_colour(scene, points) * (light[:, None] * scene.look.warmth.astype(np.float32))


def _lit_bodies(
    scene: Scene, world: Bodies, ids: np.ndarray, points: np.ndarray, normal: np.ndarray
) -> np.ndarray:
    """Colour of ellipsoid pixels: Lambert's law, sky light from above, darker near the ground."""
    sun = np.maximum(normal @ scene.look.sun.astype(np.float32), 0)
    ambient = (0.40 + 0.16 * normal[:, 1]) * np.minimum(1, 0.72 + points[:, 1] * 0.9)
    light = (ambient + 0.62 * sun)[:, None] * scene.look.warmth.astype(np.float32)
    return _body_colour(scene, world, ids, points) * light


def _ground_colour(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Two colours mixed by a few slow waves, which fade with distance so that they never alias."""
    look, (a, b, c) = scene.look, scene.look.ground_phase.astype(np.float32)
    x, z = points[:, 0], points[:, 2]
    waves = np.sin(1.7 * x + 0.9 * z + a) + np.sin(2.9 * z - 1.3 * x + b)
    waves += 0.6 * np.sin(5.1 * x + 4.3 * z + c)
    near = np.exp((scene.camera.position[2] - z) * np.float32(1 / 6))
    mix = (0.5 + 0.22 * waves * near).clip(0, 1)[:, None]
    first, second = look.ground.astype(np.float32), look.ground_second.astype(np.float32)
    return first + (second - first) * mix


def _shadow(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Share of sunlight on the ground: a soft blob under the animal, away from the sun."""
    if scene.rig is None:
        return np.ones(len(points), np.float32)
    sun, length, height = scene.look.sun, scene.rig.length, scene.rig.height
    away = -sun[[0, 2]] / max(sun[1], 0.3) * height * 0.45
    centre = scene.stand[[0, 2]] + 0.5 * away
    spread = np.array([0.38 * length + abs(away[0]) * 0.5, 0.20 * length + abs(away[1]) * 0.5])
    offset = (points[:, ::2] - centre.astype(np.float32)) / spread.astype(np.float32)
    return 1 - 0.75 * np.exp(-np.einsum("ni,ni->n", offset, offset))


def _body_colour(scene: Scene, world: Bodies, ids: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Surface colour of ellipsoid pixels; patterns are waves in the animal's own coordinates."""
    colour = world.colour[ids].astype(np.float32)
    pattern = world.pattern[ids]
    for kind in np.unique(pattern[pattern > 0]):
        where = np.flatnonzero(pattern == kind)
        yaw = scene.yaw - np.pi / 2
        x, y, z = (points[where] - scene.stand).T
        along, across = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
        mix = _pattern(int(kind), along, y, across, scene.pattern_seed)[:, None]
        colour[where] += (world.second[ids[where]] - colour[where]) * mix
    return colour


def _pattern(kind: int, x: np.ndarray, y: np.ndarray, z: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Share of the second colour, 0..1: cow patches, cat stripes, soft wool."""
    if kind == 1:
        waves = np.sin(4.3 * x + s[0]) + np.sin(5.1 * y + 2.2 * x + s[1]) + np.sin(4.7 * z + s[2])
        return ((waves - 0.35) * 5).clip(0, 1).astype(np.float32)
    if kind == 2:
        waves = np.sin(48 * x + 2.5 * np.sin(14 * y + s[3]))
        return ((waves - 0.35) * 2).clip(0, 0.8).astype(np.float32)
    waves = np.sin(26 * x + s[4]) * np.sin(27 * y + s[5]) * np.sin(25 * z + s[6])
    return (0.5 + waves).clip(0, 1).astype(np.float32)


def _smooth_edges(colour: np.ndarray, what: np.ndarray) -> np.ndarray:
    """Average each pixel on an outline with its neighbours, in place of costly supersampling."""
    edge = np.zeros(what.shape, bool)
    edge[:, 1:] |= what[:, 1:] != what[:, :-1]
    edge[:, :-1] |= what[:, 1:] != what[:, :-1]
    edge[1:] |= what[1:] != what[:-1]
    edge[:-1] |= what[1:] != what[:-1]
    rows, columns = np.nonzero(edge)
    up, down = np.maximum(rows - 1, 0), np.minimum(rows + 1, SIZE_PX - 1)
    left, right = np.maximum(columns - 1, 0), np.minimum(columns + 1, SIZE_PX - 1)
    around = colour[up, columns] + colour[down, columns] + colour[rows, left] + colour[rows, right]
    out = colour.copy()
    out[rows, columns] = 0.4 * colour[rows, columns] + 0.15 * around
    return out
