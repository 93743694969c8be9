"""Rendering by exact ray casting: each pixel's depth and normal are those of the surface it shows.

Camera coordinates: x right, y down, z forward. Depth is the distance along z [m], +inf for sky.
Normals are unit vectors in camera coordinates (a surface that faces the camera has negative z);
sky is (0, 0, -1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nano4m_audio.barnyard.scene import Bodies, Scene, animal_at, camera_at, cross, joined

SIZE_PX = 224
FOCAL_PX = 112 / np.tan(np.radians(25))
_PIXELS = ((np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2) / FOCAL_PX).astype(np.float32)
#: The same of all pixels, by their flat index.
_COLUMN, _ROW = np.tile(_PIXELS, SIZE_PX), np.repeat(_PIXELS, SIZE_PX)
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


@dataclass(frozen=True)
class _Shot:
    """What the camera sees: 1 / depth [1/m] and ids, [224, 224] each; the flat indices of the
    pixels of ground and of bodies, and the normals of the latter [3, n] in camera coordinates.

    Values of pixels are laid out by channel from here on: NumPy is slow with rows of three.
    """

    world: Bodies
    position: np.ndarray
    rotation: np.ndarray
    nearness: np.ndarray
    what: np.ndarray
    ground: np.ndarray
    body: np.ndarray
    normals: np.ndarray


def render(scene: Scene, t: float, calling: float = 0.0) -> Frame:
    """Render the scene at time ``t`` [s]; ``calling`` (0..1) raises the head."""
    shot = _shoot(scene, t, calling)
    with np.errstate(divide="ignore"):
        depth = 1 / shot.nearness
    normals = np.empty((3, SIZE_PX * SIZE_PX), np.float32)
    normals[:, shot.what.ravel() == _SKY] = np.array([[0], [0], [-1]])
    normals[:, shot.ground] = shot.rotation[:, 1:2]
    normals[:, shot.body] = shot.normals
    return Frame(_shade(scene, shot), depth, _as_image(normals))


def render_rgb(scene: Scene, t: float, calling: float = 0.0) -> np.ndarray:
    """The picture alone of ``render``: uint8 [224, 224, 3]."""
    return _shade(scene, _shoot(scene, t, calling))


def _shoot(scene: Scene, t: float, calling: float) -> _Shot:
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
    ground, body = np.flatnonzero(what == _GROUND), np.flatnonzero(what >= 0)
    normals = _normals(what.ravel()[body], body, quadrics)
    return _Shot(world, position, rotation, nearness, what, ground, body, normals)


def _as_image(channels: np.ndarray) -> np.ndarray:
    """[3, 224 * 224] -> [224, 224, 3], laid out like that."""
    return np.ascontiguousarray(channels.T).reshape(SIZE_PX, SIZE_PX, 3)


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
    across = -cross(scaled, centre[:, None, :])
    form = (_gram(sphere) - _gram(across)) / rest[:, None, None] ** 2
    sigma = _gram((axes * radii[:, None, :]).transpose(0, 2, 1))
    boxes = _boxes(sigma, centre, outside)
    edges = np.array([[c.start + c.stop, r.start + r.stop] for r, c in boxes])
    # In float32, so that the difference of a pixel of the box and its middle is exact.
    middle = ((edges / 2 - SIZE_PX / 2) / FOCAL_PX).astype(np.float32)
    ray = np.concatenate([middle, np.ones((len(middle), 1))], 1)
    slope = np.einsum("nij,nj->ni", form, ray)
    pull = np.einsum("nij,ni->nj", sphere, w) / rest[:, None]
    level, power = np.einsum("ni,ni->n", pull, ray), np.einsum("ni,ni->n", slope, ray)
    return _Quadrics(boxes, middle, pull, level, form, slope, power)


def _gram(rows: np.ndarray) -> np.ndarray:
    return rows.transpose(0, 2, 1) @ rows


def _cast_bodies(nearness: np.ndarray, what: np.ndarray, quadrics: _Quadrics) -> None:
    """Meet every ellipsoid with the rays of its own bounding box; the nearest point wins."""
    q = quadrics
    columns_of = (q.middle, q.pull, q.level, q.form, q.slope, q.power)
    middle, pull, level, form, slope, power = (column.tolist() for column in columns_of)
    with np.errstate(invalid="ignore"):  # the root of a ray that misses is NaN, and never nearer
        for i, (rows, columns) in enumerate(quadrics.boxes):
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            x = _PIXELS[None, columns] - middle[i][0]
            y = _PIXELS[rows, None] - middle[i][1]
            ((xx, xy, _), (_, yy, _), _), (sx, sy, _) = form[i], slope[i]
            near = ((xx * x + 2 * sx) * x) + ((yy * y + 2 * sy) * y + power[i])
            near += (2 * xy * x) * y
            np.sqrt(near, out=near)
            near += pull[i][0] * x + (pull[i][1] * y + level[i])
            old = nearness[rows, columns]
            hit = near > old
            np.fmax(old, near, out=old)
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


def _normals(ids: np.ndarray, where: np.ndarray, quadrics: _Quadrics) -> np.ndarray:
    """Unit normals of the pixels ``where``, which show the bodies ``ids``: float32 [3, n].

    1 / depth is homogeneous in the ray, and is 1 at the points of the surface: the normal is its
    gradient, pull + form.d / root, here times the root, which is 0 on the outline.
    """
    q = quadrics
    table = np.concatenate(
        [q.middle, q.power[:, None], q.slope, q.form[:, :, 0], q.form[:, :, 1], q.pull], 1
    )
    picked = np.ascontiguousarray(table.T, np.float32).take(ids, 1)
    x, y = _COLUMN[where] - picked[0], _ROW[where] - picked[1]
    slope = picked[6:9]
    slope *= x
    slope += picked[3:6]
    slope += picked[9:12] * y
    root = picked[2] + (picked[3] + slope[0]) * x + (picked[4] + slope[1]) * y
    out = picked[12:15]
    out *= np.sqrt(np.maximum(root, 0))
    out += slope
    out /= -np.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2])
    return out


def _shade(scene: Scene, shot: _Shot) -> np.ndarray:
    """Sun, sky light, contact shadow and haze over the surface colours: uint8 [224, 224, 3]."""
    look = scene.look
    rows = np.arange(SIZE_PX, dtype=np.float32) / SIZE_PX
    sky = look.sky_top + (look.sky_low - look.sky_top) * np.minimum(1, rows * 1.9)[:, None]
    colour = np.repeat(sky.T.astype(np.float32), SIZE_PX, 1)  # [3, 224 * 224]
    haze_colour = look.sky_low.astype(np.float32)[:, None]
    for where, lit in ((shot.ground, _lit_ground), (shot.body, _lit_bodies)):
        depth = 1 / shot.nearness.ravel()[where]
        shown = lit(scene, shot, _places(shot, where, depth))
        haze = 0.85 * (1 - np.exp(depth * np.float32(-1 / 45)))
        shown += (haze_colour - shown) * haze
        for channel, values in zip(colour, shown, strict=True):
            channel[where] = values
    _smooth_edges(colour, shot.what)
    np.clip(colour, 0, 1, out=colour)
    np.sqrt(colour, out=colour)
    colour *= 255
    colour += np.float32(0.5)
    return _as_image(colour.astype(np.uint8))


def _places(shot: _Shot, where: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """World coordinates [3, n] of the pixels with flat indices ``where`` at ``depth``."""
    to_world, origin = shot.rotation.T.astype(np.float32), shot.position.astype(np.float32)
    rays = np.stack([_COLUMN[where], _ROW[where], np.ones(len(where), np.float32)])
    rays *= depth
    return to_world @ rays + origin[:, None]


def _lit_ground(scene: Scene, shot: _Shot, points: np.ndarray) -> np.ndarray:
    """Colour of ground pixels in sun and shadow, float32 [3, n]."""
    light = 0.56 + np.float32(0.62 * scene.look.sun[1]) * _shadow(scene, points)
    colour = _ground_colour(scene, points)
    colour *= scene.look.warmth.astype(np.float32)[:, None]
    colour *= light
    return colour


def _lit_bodies(scene: Scene, shot: _Shot, points: np.ndarray) -> np.ndarray:
    """Colour of ellipsoid pixels: Lambert's law, sky light from above, darker near the ground."""
    upward, sunward = (
        np.stack([shot.rotation[:, 1], shot.rotation @ scene.look.sun]).astype(np.float32)
        @ shot.normals
    )
    ambient = (0.40 + 0.16 * upward) * np.minimum(1, 0.72 + points[1] * 0.9)
    colour = _body_colour(scene, shot.world, shot.what.ravel()[shot.body], points)
    colour *= scene.look.warmth.astype(np.float32)[:, None]
    colour *= ambient + 0.62 * np.maximum(sunward, 0)
    return colour


def _ground_colour(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Two colours mixed by a few slow waves, which fade with distance so that they never alias."""
    look, (a, b, c) = scene.look, scene.look.ground_phase.astype(np.float32)
    x, _, z = points
    waves = np.sin(1.7 * x + 0.9 * z + a) + np.sin(2.9 * z - 1.3 * x + b)
    waves += 0.6 * np.sin(5.1 * x + 4.3 * z + c)
    near = np.exp((scene.camera.position[2] - z) * np.float32(1 / 6))
    mix = (0.5 + 0.22 * waves * near).clip(0, 1)
    first, second = (c.astype(np.float32)[:, None] for c in (look.ground, look.ground_second))
    return first + (second - first) * mix


def _shadow(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Share of sunlight on the ground: a soft blob under the animal, away from the sun."""
    if scene.rig is None:
        return np.ones(points.shape[1], np.float32)
    sun, length, height = scene.look.sun, scene.rig.length, scene.rig.height
    away = -sun[[0, 2]] / max(sun[1], 0.3) * height * 0.45
    centre = scene.stand[[0, 2]] + 0.5 * away
    spread = np.array([0.38 * length + abs(away[0]) * 0.5, 0.20 * length + abs(away[1]) * 0.5])
    x, z = (
        (points[k] - np.float32(centre[i])) / np.float32(spread[i]) for i, k in enumerate((0, 2))
    )
    return 1 - 0.75 * np.exp(-(x * x + z * z))


def _body_colour(scene: Scene, world: Bodies, ids: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Surface colour of ellipsoid pixels, float32 [3, n]; patterns are waves in the animal's own
    coordinates."""
    first, second = (np.ascontiguousarray(c.T, np.float32) for c in (world.colour, world.second))
    colour, pattern = first.take(ids, 1), world.pattern[ids]
    for kind in np.unique(world.pattern[world.pattern > 0]):
        where = np.flatnonzero(pattern == kind)
        yaw = scene.yaw - np.pi / 2
        x, y, z = points[:, where] - scene.stand.astype(np.float32)[:, None]
        cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
        mix = _pattern(int(kind), x * cos + z * sin, y, z * cos - x * sin, scene.pattern_seed)
        own = ids[where]
        colour[:, where] += (second - first).take(own, 1) * mix
    return colour


def _pattern(kind: int, x: np.ndarray, y: np.ndarray, z: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Share of the second colour, 0..1: cow patches, cat stripes, soft wool."""
    s = s.astype(np.float32)
    if kind == 1:
        waves = np.sin(4.3 * x + s[0]) + np.sin(5.1 * y + 2.2 * x + s[1]) + np.sin(4.7 * z + s[2])
        return ((waves - 0.35) * 5).clip(0, 1)
    if kind == 2:
        waves = np.sin(48 * x + 2.5 * np.sin(14 * y + s[3]))
        return ((waves - 0.35) * 2).clip(0, 0.8)
    waves = np.sin(26 * x + s[4]) * np.sin(27 * y + s[5]) * np.sin(25 * z + s[6])
    return (0.5 + waves).clip(0, 1)


def _smooth_edges(colour: np.ndarray, what: np.ndarray) -> None:
    """Average each pixel on an outline with its neighbours, in place of costly supersampling;
    ``colour`` [3, 224 * 224] is changed."""
    edge = np.zeros(what.shape, bool)
    across, down = what[:, 1:] != what[:, :-1], what[1:] != what[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    where = np.flatnonzero(edge)
    rows, columns = np.divmod(where, SIZE_PX)
    up, low = where - SIZE_PX * (rows > 0), where + SIZE_PX * (rows < SIZE_PX - 1)
    left, right = where - (columns > 0), where + (columns < SIZE_PX - 1)
    for channel in colour:
        around = channel[up] + channel[low] + channel[left] + channel[right]
        channel[where] = 0.4 * channel[where] + 0.15 * around
