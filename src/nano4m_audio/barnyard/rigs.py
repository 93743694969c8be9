"""Rigs: animals made of shaded ellipsoids, and the builder of four-legged ones.

Body coordinates [m]: x forward (towards the nose), y up, z to the animal's right; the feet stand on
y = 0 and the belly is above the origin. A rig is a flat list of parts; moving parts name a joint,
about which they swing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Vec = tuple[float, ...]
BLACK, WHITE, PINK = (0.08, 0.07, 0.07), (0.93, 0.92, 0.88), (0.90, 0.58, 0.58)


@dataclass(frozen=True)
class Part:
    """One ellipsoid: centre and radii [m], pitch (nose up), yaw and roll [degrees], colour (linear
    RGB 0..1), an optional second colour with a pattern, and the joint it hangs on."""

    centre: Vec
    radii: Vec
    colour: Vec
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    joint: str = ""
    second: Vec | None = None
    pattern: str = ""


@dataclass(frozen=True)
class Joint:
    """Parts of this joint turn about ``pivot``: a walking swing, a nod while calling, a wag."""

    pivot: Vec
    walk: float = 0.0  # amplitude of the pitch in step with the walk [degrees]
    phase: float = 0.0  # of the walk cycle, 0..1
    call: float = 0.0  # pitch at full call [degrees]
    wag: float = 0.0  # amplitude of the yaw, slow [degrees]


@dataclass(frozen=True)
class Rig:
    """An animal: its parts, its joints, and its height and length [m] for framing."""

    parts: tuple[Part, ...]
    joints: dict[str, Joint]
    height: float
    length: float


@dataclass(frozen=True)
class Quadruped:
    """Proportions [m] and colours of a four-legged animal."""

    leg: float
    body: Vec  # half length, half height, half width
    neck: tuple[float, float, float]  # length, pitch [degrees], thickness
    head: Vec
    head_pitch: float
    muzzle: Vec
    leg_radius: float
    coat: Vec
    legs: Vec
    face: Vec
    snout: Vec
    ear: tuple[str, float]  # kind, size
    ear_colour: Vec
    tail: str
    tail_colour: Vec
    call_pitch: float = 14.0
    second: Vec | None = None
    pattern: str = ""
    extras: Callable[[Anchors], list[Part]] = field(default=lambda anchors: [])


@dataclass(frozen=True)
class Anchors:
    """Points of the body that parts are attached to."""

    centre: Vec
    shoulder: Vec
    neck: Vec  # middle of the neck
    head: Vec
    nose: Vec
    rump: Vec
    shape: Quadruped


def offset(origin: Vec, pitch: float, forward: float, up: float = 0.0, side: float = 0.0) -> Vec:
    """A point ``forward`` and ``up`` of ``origin`` in a frame pitched by ``pitch`` degrees."""
    c, s = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    x, y, z = origin
    return (x + forward * c - up * s, y + forward * s + up * c, z + side)


def quadruped(shape: Quadruped) -> Rig:
    """Build the rig of a four-legged animal."""
    half, tall, wide = shape.body
    centre = (0.0, shape.leg + 0.85 * tall, 0.0)
    shoulder = (0.78 * half, centre[1] + 0.35 * tall, 0.0)
    length, pitch, thick = shape.neck
    neck = offset(shoulder, pitch, length / 2)
    head = offset(shoulder, pitch, length + 0.4 * shape.head[0])
    nose = offset(
        head, shape.head_pitch, 0.75 * shape.head[0] + 0.5 * shape.muzzle[0], -0.25 * shape.head[1]
    )
    rump = (-0.92 * half, centre[1] + 0.45 * tall, 0.0)
    anchors = Anchors(centre, shoulder, neck, head, nose, rump, shape)
    look: dict[str, Any] = {"second": shape.second, "pattern": shape.pattern}
    parts = [
        Part(centre, shape.body, shape.coat, **look),
        Part(
            (0.55 * half, centre[1] + 0.04, 0), (0.5 * half, 1.05 * tall, wide), shape.coat, **look
        ),
        Part(
            (-0.6 * half, centre[1] + 0.03, 0), (0.45 * half, tall, 1.02 * wide), shape.coat, **look
        ),
        Part(
            neck, (length / 2 + thick, thick, 0.85 * thick), shape.coat, pitch, joint="head", **look
        ),
        Part(head, shape.head, shape.face, shape.head_pitch, joint="head"),
        Part(nose, shape.muzzle, shape.snout, shape.head_pitch, joint="head"),
        *eyes(head, shape.head, shape.head_pitch),
        *_ears(head, shape),
        *_tail(rump, shape),
        *_legs(shape),
        *shape.extras(anchors),
    ]
    joints = {
        "head": Joint(shoulder, walk=2.5, call=shape.call_pitch, wag=5),
        "tail": Joint(rump, walk=3, wag=16),
        **{
            f"leg{i}": Joint((x, shape.leg + 0.3 * tall, 0), walk=20, phase=phase)
            for i, (x, phase) in enumerate(
                zip(_leg_places(shape), (0.0, 0.5, 0.5, 0.0), strict=True)
            )
        },
    }
    top = max(p.centre[1] + max(p.radii[:2]) * 0.8 for p in parts)
    return Rig(tuple(parts), joints, top, 2 * half + length + 2 * shape.head[0])


def _leg_places(shape: Quadruped) -> tuple[float, ...]:
    return (0.68 * shape.body[0], 0.6 * shape.body[0], -0.62 * shape.body[0], -0.7 * shape.body[0])


def _legs(shape: Quadruped) -> list[Part]:
    parts = []
    radius = shape.leg_radius
    reach = shape.leg + 0.35 * shape.body[1]
    for i, x in enumerate(_leg_places(shape)):
        side = (1 if i % 2 else -1) * 0.6 * shape.body[2]
        upper = (x, 0.72 * reach, side)
        lower = (x, 0.28 * reach, side)
        parts += [
            Part(upper, (1.5 * radius, 0.36 * reach, 1.3 * radius), shape.legs, joint=f"leg{i}"),
            Part(lower, (radius, 0.34 * reach, radius), shape.legs, joint=f"leg{i}"),
            Part(
                (x + 0.6 * radius, 0.5 * radius, side),
                (1.5 * radius, 0.6 * radius, 1.1 * radius),
                tuple(0.45 * c for c in shape.legs),
                joint=f"leg{i}",
            ),
        ]
    return parts


def eyes(head: Vec, radii: Vec, pitch: float, colour: Vec = BLACK) -> list[Part]:
    size = 0.14 * min(radii)
    spots = [
        offset(head, pitch, 0.5 * radii[0], 0.38 * radii[1], s * 0.78 * radii[2]) for s in (-1, 1)
    ]
    return [Part(spot, (size, size, size), colour, joint="head") for spot in spots]


def _ears(head: Vec, shape: Quadruped) -> list[Part]:
    kind, size = shape.ear
    forms = {  # forward, up, side offsets in head radii; radii in sizes; pitch and roll [degrees]
        "pointed": ((-0.2, 0.95, 0.5), (0.35, 1.0, 0.28), 0.0, 12.0),
        "floppy": ((-0.15, 0.25, 1.0), (0.5, 1.0, 0.25), 12.0, 14.0),
        "side": ((-0.45, 0.5, 1.25), (0.35, 0.4, 1.0), 0.0, 18.0),
        "round": ((-0.25, 0.9, 0.75), (0.35, 0.7, 0.7), 0.0, 0.0),
        "flap": ((0.25, 0.8, 0.7), (0.9, 0.35, 0.6), -35.0, 10.0),
    }
    (forward, up, side), scale, pitch, roll = forms[kind]
    rx, ry, rz = shape.head
    parts = []
    for sign in (-1, 1):
        at = offset(head, shape.head_pitch, forward * rx, up * ry, sign * side * rz)
        radii = tuple(size * s for s in scale)
        parts.append(
            Part(
                at,
                radii,
                shape.ear_colour,
                shape.head_pitch + pitch,
                roll=-sign * roll,
                joint="head",
            )
        )
    return parts


def _tail(rump: Vec, shape: Quadruped) -> list[Part]:
    half, tall, _ = shape.body
    colour, thin = shape.tail_colour, 0.08 * tall
    x, y, z = rump
    tip = tuple(0.35 * c for c in colour)
    forms: dict[str, list[Part]] = {
        "curl": [
            Part((x - 0.10, y, z), (0.07, 0.025, 0.03), colour, 30, joint="tail"),
            Part((x - 0.14, y + 0.07, z + 0.02), (0.03, 0.06, 0.03), colour, joint="tail"),
        ],
        "stub": [Part((x - 0.08, y - 0.02, z), (0.10, 0.09, 0.09), colour, joint="tail")],
        "up": [
            Part(
                (x - 0.10 * half, y + 0.35 * tall, z),
                (thin * 1.5, 0.75 * tall, thin * 1.5),
                colour,
                -25,
                joint="tail",
            ),
            Part(
                (x - 0.05 * half, y + 1.3 * tall, z),
                (thin * 1.4, 0.8 * tall, thin * 1.4),
                colour,
                8,
                joint="tail",
            ),
        ],
        "long_up": [
            Part((x - 0.06, y + 0.06, z), (0.035, 0.13, 0.035), colour, 30, joint="tail"),
            Part((x - 0.11, y + 0.22, z), (0.032, 0.13, 0.032), colour, 5, joint="tail"),
            Part((x - 0.07, y + 0.37, z), (0.03, 0.09, 0.03), tip, -40, joint="tail"),
        ],
        "bushy": [
            Part((x - 0.12, y - 0.12, z), (0.16, 0.07, 0.07), colour, 50, joint="tail"),
            Part((x - 0.26, y - 0.32, z), (0.2, 0.09, 0.09), colour, 62, joint="tail"),
            Part((x - 0.34, y - 0.5, z), (0.08, 0.06, 0.06), tip, 62, joint="tail"),
        ],
        "tuft": [
            Part(
                (x - 0.05, y - 0.55 * tall, z), (0.03, 0.75 * tall, 0.03), colour, -6, joint="tail"
            ),
            Part((x - 0.11, y - 1.35 * tall, z), (0.06, 0.32 * tall, 0.06), tip, -6, joint="tail"),
        ],
        "horse": [
            Part((x - 0.10, y - 0.02, z), (0.14, 0.08, 0.08), colour, 20, joint="tail"),
            Part((x - 0.22, y - 0.45, z), (0.10, 0.48, 0.1), colour, -8, joint="tail"),
        ],
        "lion": [
            Part((x - 0.16, y - 0.02, z), (0.2, 0.035, 0.035), colour, 20, joint="tail"),
            Part((x - 0.38, y - 0.22, z), (0.035, 0.22, 0.035), colour, -18, joint="tail"),
            Part((x - 0.46, y - 0.42, z), (0.08, 0.12, 0.08), (0.2, 0.11, 0.05), joint="tail"),
        ],
    }
    return forms[shape.tail]
