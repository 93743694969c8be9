"""Birds, built from their proportions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.barnyard.rigs import BLACK, Anchor, Joint, Part, Rig, Vec, attached, eyes, offset


@dataclass(frozen=True)
class Bird:
    """Proportions [m] and colours of a bird, the ``tilt`` of its body [degrees], and more parts."""

    leg: float
    body: Vec  # half length, half height, half width
    tilt: float
    neck: tuple[float, float, float]  # length, pitch [degrees], thickness
    head: Vec
    beak: Vec
    colours: Mapping[str, Vec]
    extras: Sequence[Mapping[str, Any]]


def bird(shape: Bird) -> Rig:
    """Build the rig of a bird: a tilted body, a neck, a head with a beak, wings, two thin legs."""
    leg, body, tilt, head, colours = shape.leg, shape.body, shape.tilt, shape.head, shape.colours
    centre = (0.0, leg + 0.9 * body[1], 0.0)
    base = offset(centre, tilt, 0.72 * body[0], 0.25 * body[1])
    length, pitch, thick = shape.neck
    at = offset(base, pitch, length)
    tip = offset(at, 0, head[0] + 0.6 * shape.beak[0], -0.1 * head[1])
    chest, neck = offset(centre, tilt, 0.45 * body[0]), offset(base, pitch, length / 2)
    chest_radii = 0.55 * body[0], 0.95 * body[1], 0.95 * body[2]
    neck_radii = length / 2 + thick, thick, thick
    parts = [
        Part(centre, body, colours["body"], tilt),
        Part(chest, chest_radii, colours["chest"], tilt),
        Part(neck, neck_radii, colours["neck"], pitch, joint="head"),
        Part(at, head, colours["head"], joint="head"),
        Part(tip, shape.beak, colours["beak"], joint="head"),
        *eyes(at, head, 0.0, colours.get("eye", BLACK)),
    ]
    wing_radii = 0.72 * body[0], 0.6 * body[1], 0.25 * body[2]
    for s in (-1, 1):
        wing = offset(centre, tilt, -0.15 * body[0], 0.1 * body[1], s * 0.82 * body[2])
        parts.append(Part(wing, wing_radii, colours["wing"], tilt - 6))
        hip, joint, colour = 0.45 * s * body[2], f"leg{(s + 1) // 2}", colours["legs"]
        shank = 0.018, leg / 2 + 0.03, 0.018
        parts.append(Part((0.0, leg / 2, hip), shank, colour, joint=joint))
        parts.append(Part((0.035, 0.012, hip), (0.06, 0.014, 0.045), colour, joint=joint))
    anchors = {
        "head": Anchor(at, joint="head"),
        "body": Anchor((0, 0, 0)),
        "tail": Anchor((0, 0, 0), joint="tail"),
    }
    joints = {
        "head": Joint(base, walk=7, call=12, wag=8),
        "tail": Joint((-body[0], centre[1], 0), walk=3, wag=4),
        "leg0": Joint((0, leg, 0), walk=24),
        "leg1": Joint((0, leg, 0), walk=24, phase=0.5),
    }
    every = (*parts, *attached(shape.extras, anchors))
    return Rig(every, joints, at[1] + head[1] + 0.03, 2 * body[0] + 2 * head[0] + 0.1)
