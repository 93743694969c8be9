"""Four-legged animals, built from their proportions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.barnyard.rigs import Anchor, Joint, Part, Rig, Vec, attached, eyes, offset


@dataclass(frozen=True)
class Quadruped:
    """Proportions [m] and colours of a four-legged animal; ``tail`` and ``extras`` are parts."""

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
    ear: Mapping[str, Any]  # offset, radii, pitch and roll: see animals.yaml
    ear_size: float
    ear_colour: Vec
    tail: Sequence[Mapping[str, Any]]
    extras: Sequence[Mapping[str, Any]]
    call_pitch: float = 14.0
    second: Vec | None = None
    pattern: str = ""


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
    anchors = {
        "ground": Anchor((0, 0, 0)),
        "centre": Anchor(centre),
        "neck": Anchor(neck, pitch, "head"),
        "head": Anchor(head, shape.head_pitch, "head"),
        "nose": Anchor(nose, shape.head_pitch, "head"),
        "rump": Anchor(rump, joint="tail"),
    }
    look: dict[str, Any] = {"second": shape.second, "pattern": shape.pattern}
    chest, hind = (0.55 * half, centre[1] + 0.04, 0), (-0.6 * half, centre[1] + 0.03, 0)
    neck_radii = length / 2 + thick, thick, 0.85 * thick
    parts = [
        Part(centre, shape.body, shape.coat, **look),
        Part(chest, (0.5 * half, 1.05 * tall, wide), shape.coat, **look),
        Part(hind, (0.45 * half, tall, 1.02 * wide), shape.coat, **look),
        Part(neck, neck_radii, shape.coat, pitch, joint="head", **look),
        Part(head, shape.head, shape.face, shape.head_pitch, joint="head"),
        Part(nose, shape.muzzle, shape.snout, shape.head_pitch, joint="head"),
        *eyes(head, shape.head, shape.head_pitch),
        *_ears(head, shape),
        *attached(shape.tail, anchors),
        *_legs(shape),
        *attached(shape.extras, anchors),
    ]
    joints = {
        "head": Joint(shoulder, walk=2.5, call=shape.call_pitch, wag=5),
        "tail": Joint(rump, walk=3, wag=16),
    }
    for i, (x, phase) in enumerate(zip(_leg_places(shape), (0.0, 0.5, 0.5, 0.0), strict=True)):
        joints[f"leg{i}"] = Joint((x, shape.leg + 0.3 * tall, 0), walk=20, phase=phase)
    top = max(p.centre[1] + max(p.radii[:2]) * 0.8 for p in parts)
    return Rig(tuple(parts), joints, top, 2 * half + length + 2 * shape.head[0])


def _leg_places(shape: Quadruped) -> tuple[float, ...]:
    return (0.68 * shape.body[0], 0.6 * shape.body[0], -0.62 * shape.body[0], -0.7 * shape.body[0])


def _legs(shape: Quadruped) -> list[Part]:
    parts = []
    radius = shape.leg_radius
    reach = shape.leg + 0.35 * shape.body[1]
    hoof = tuple(0.45 * c for c in shape.legs)
    for i, x in enumerate(_leg_places(shape)):
        side = (1 if i % 2 else -1) * 0.6 * shape.body[2]
        for centre, radii, colour in (
            ((x, 0.72 * reach, side), (1.5 * radius, 0.36 * reach, 1.3 * radius), shape.legs),
            ((x, 0.28 * reach, side), (radius, 0.34 * reach, radius), shape.legs),
            (
                (x + 0.6 * radius, 0.5 * radius, side),
                (1.5 * radius, 0.6 * radius, 1.1 * radius),
                hoof,
            ),
        ):
            parts.append(Part(centre, radii, colour, joint=f"leg{i}"))
    return parts


def _ears(head: Vec, shape: Quadruped) -> list[Part]:
    (forward, up, side), (rx, ry, rz) = shape.ear["offset"], shape.head
    look: dict[str, Any] = {"pitch": shape.head_pitch + shape.ear["pitch"], "joint": "head"}
    radii = tuple(shape.ear_size * s for s in shape.ear["radii"])
    parts = []
    for sign in (-1, 1):
        at = offset(head, shape.head_pitch, forward * rx, up * ry, sign * side * rz)
        parts.append(Part(at, radii, shape.ear_colour, roll=-sign * shape.ear["roll"], **look))
    return parts
