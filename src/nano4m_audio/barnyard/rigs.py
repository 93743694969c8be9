"""Rigs: animals made of shaded ellipsoids.

Body coordinates [m]: x forward (towards the nose), y up, z to the animal's right; the feet stand on
y = 0 and the belly is above the origin. A rig is a flat list of parts, which swing about joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Vec = Sequence[float]
BLACK = (0.08, 0.07, 0.07)


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
class Anchor:
    """A point of the body for parts, how it is pitched [degrees], and the joint they hang on."""

    point: Vec
    pitch: float = 0.0
    joint: str = ""


def offset(origin: Vec, pitch: float, forward: float, up: float = 0.0, side: float = 0.0) -> Vec:
    """A point ``forward`` and ``up`` of ``origin`` in a frame pitched by ``pitch`` degrees."""
    c, s = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    x, y, z = origin
    return (x + forward * c - up * s, y + forward * s + up * c, z + side)


def attached(rows: Sequence[Mapping[str, Any]], anchors: Mapping[str, Anchor]) -> list[Part]:
    """The parts of ``rows`` of animals.yaml, which have the fields of Part but for its place.

    A part lies ``by`` (forward, up, side) of the anchor ``at``, in the frame of the anchor, and
    ``then`` so far again in that of the body. With ``ring`` there is a part at each of these angles
    [degrees] on the ellipse about the anchor with ``by`` as its radii up and sideways; ``colours``
    are taken in turn.
    """
    parts = []
    for row in rows:
        look = dict(row)
        anchor, then = anchors[look.pop("at")], look.pop("then", (0, 0, 0))
        forward, up, side = look.pop("by", (0, 0, 0))
        places = [(up, side)]
        if ring := look.pop("ring", None):
            places = [(up * np.cos(a), side * np.sin(a)) for a in np.radians(ring)]
        colours = look.pop("colours", None) or [look.pop("colour")]
        for i, place in enumerate(places):
            centre = offset(offset(anchor.point, anchor.pitch, forward, *place), 0, *then)
            colour = colours[i % len(colours)]
            parts.append(Part(centre, colour=colour, joint=anchor.joint, **look))
    return parts


def eyes(head: Vec, radii: Vec, pitch: float, colour: Vec = BLACK) -> list[Part]:
    """Two eyes on a head with these radii."""
    size = 0.14 * min(radii)
    spots = [
        offset(head, pitch, 0.5 * radii[0], 0.38 * radii[1], s * 0.78 * radii[2]) for s in (-1, 1)
    ]
    return [Part(spot, (size, size, size), colour, joint="head") for spot in spots]
