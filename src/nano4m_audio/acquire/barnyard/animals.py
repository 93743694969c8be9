"""Eleven animals as rigs of shaded ellipsoids.

Body coordinates [m]: x forward (towards the nose), y up, z to the animal's right; the feet stand on
y = 0 and the belly is above the origin. A rig is a flat list of parts; moving parts name a joint,
about which they swing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

Vec = tuple[float, float, float]
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


def _offset(origin: Vec, pitch: float, forward: float, up: float = 0.0, side: float = 0.0) -> Vec:
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
    neck = _offset(shoulder, pitch, length / 2)
    head = _offset(shoulder, pitch, length + 0.4 * shape.head[0])
    nose = _offset(
        head, shape.head_pitch, 0.75 * shape.head[0] + 0.5 * shape.muzzle[0], -0.25 * shape.head[1]
    )
    rump = (-0.92 * half, centre[1] + 0.45 * tall, 0.0)
    anchors = Anchors(centre, shoulder, neck, head, nose, rump, shape)
    look = {"second": shape.second, "pattern": shape.pattern}
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
        *_eyes(head, shape.head, shape.head_pitch),
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


def _eyes(head: Vec, radii: Vec, pitch: float, colour: Vec = BLACK) -> list[Part]:
    size = 0.14 * min(radii)
    spots = [
        _offset(head, pitch, 0.5 * radii[0], 0.38 * radii[1], s * 0.78 * radii[2]) for s in (-1, 1)
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
        at = _offset(head, shape.head_pitch, forward * rx, up * ry, sign * side * rz)
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


def _pig_extras(a: Anchors) -> list[Part]:
    tip = _offset(a.nose, a.shape.head_pitch, 0.085)
    holes = [_offset(tip, 0, 0.018, 0.01, s * 0.03) for s in (-1, 1)]
    return [
        Part(tip, (0.025, 0.08, 0.085), (0.80, 0.42, 0.44), a.shape.head_pitch, joint="head"),
        *(Part(h, (0.012, 0.022, 0.014), (0.35, 0.13, 0.15), joint="head") for h in holes),
    ]


def _sheep_extras(a: Anchors) -> list[Part]:
    half, tall, wide = a.shape.body
    wool, tufts = a.shape.coat, []
    for x in (-0.75, -0.3, 0.15, 0.6):
        for angle in (-75, -25, 25, 75):
            y = a.centre[1] + 0.68 * tall * np.cos(np.radians(angle))
            z = 0.85 * wide * np.sin(np.radians(angle))
            tufts.append(
                Part(
                    (x * half, y, z),
                    (0.2, 0.17, 0.16),
                    wool,
                    second=(0.8, 0.78, 0.72),
                    pattern="wool",
                )
            )
    cap = _offset(a.head, a.shape.head_pitch, -0.35 * a.shape.head[0], 0.75 * a.shape.head[1])
    return [*tufts, Part(cap, (0.13, 0.09, 0.12), wool, joint="head")]


def _dog_extras(a: Anchors) -> list[Part]:
    nose = _offset(a.nose, a.shape.head_pitch, 0.12, 0.02)
    chest = (0.82 * a.shape.body[0], a.centre[1] - 0.03, 0.0)
    tongue = _offset(a.nose, a.shape.head_pitch, 0.06, -0.07)
    return [
        Part(nose, (0.03, 0.028, 0.03), BLACK, joint="head"),
        Part(chest, (0.13, 0.16, 0.13), WHITE),
        Part(tongue, (0.05, 0.012, 0.03), (0.85, 0.3, 0.35), -30, joint="head"),
    ]


def _cat_extras(a: Anchors) -> list[Part]:
    nose = _offset(a.nose, a.shape.head_pitch, 0.035, 0.015)
    return [
        Part(nose, (0.012, 0.01, 0.012), PINK, joint="head"),
        Part((0.25, a.centre[1] - 0.05, 0), (0.06, 0.08, 0.07), WHITE),
    ]


def _horse_extras(a: Anchors) -> list[Part]:
    mane, pitch = (0.06, 0.04, 0.03), a.shape.neck[1]
    up = a.shape.neck[2]
    strip = [
        Part(_offset(a.neck, pitch, d, up), (0.13, 0.09, 0.05), mane, pitch, joint="head")
        for d in (-0.22, -0.05, 0.12, 0.27)
    ]
    forelock = _offset(a.head, a.shape.head_pitch, -0.1, 0.14)
    blaze = _offset(a.head, a.shape.head_pitch, 0.12, 0.1)
    return [
        *strip,
        Part(forelock, (0.1, 0.05, 0.05), mane, -20, joint="head"),
        Part(blaze, (0.16, 0.035, 0.04), WHITE, a.shape.head_pitch, joint="head"),
    ]


def _cow_extras(a: Anchors) -> list[Part]:
    horns = []
    for s in (-1, 1):
        base = _offset(a.head, a.shape.head_pitch, -0.14, 0.17, s * 0.13)
        tip = _offset(base, 0, 0.02, 0.12, s * 0.05)
        horns.append(Part(base, (0.04, 0.06, 0.1), (0.85, 0.8, 0.65), roll=-s * 20, joint="head"))
        horns.append(Part(tip, (0.03, 0.1, 0.03), (0.85, 0.8, 0.65), roll=-s * 12, joint="head"))
    udder = (-0.35, a.shape.leg - 0.02, 0.0)
    return [*horns, Part(udder, (0.2, 0.15, 0.17), PINK)]


def _coyote_extras(a: Anchors) -> list[Part]:
    nose = _offset(a.nose, a.shape.head_pitch, 0.15, 0.01)
    belly = (0.1, a.centre[1] - 0.75 * a.shape.body[1], 0.0)
    return [
        Part(nose, (0.025, 0.022, 0.025), BLACK, joint="head"),
        Part(belly, (0.3, 0.06, 0.09), (0.85, 0.78, 0.66)),
        Part((-0.05, a.centre[1] + 0.11, 0), (0.34, 0.07, 0.09), (0.33, 0.28, 0.24)),
    ]


def _lion_extras(a: Anchors) -> list[Part]:
    dark, mid = (0.26, 0.13, 0.05), (0.42, 0.22, 0.07)
    ring = []
    for i, angle in enumerate(np.arange(0, 360, 45)):
        up, side = 0.23 * np.cos(np.radians(angle)), 0.22 * np.sin(np.radians(angle))
        at = _offset(a.head, a.shape.head_pitch, -0.13, up, side)
        ring.append(Part(at, (0.14, 0.15, 0.15), dark if i % 2 else mid, joint="head"))
    ruff = _offset(a.neck, a.shape.neck[1], -0.02, -0.12)
    nose = _offset(a.nose, a.shape.head_pitch, 0.09, 0.03)
    return [
        *ring,
        Part(a.neck, (0.25, 0.3, 0.26), dark, joint="head"),
        Part(ruff, (0.22, 0.26, 0.2), mid, joint="head"),
        Part(nose, (0.03, 0.03, 0.04), (0.25, 0.1, 0.08), joint="head"),
    ]


def _bird(
    leg: float,
    body: Vec,
    tilt: float,
    neck: tuple[float, float, float],
    head: Vec,
    colours: dict[str, Vec],
    beak: Vec,
    extras: list[Part],
    tail: list[Part],
) -> Rig:
    """Build the rig of a bird: a tilted body, a neck, a head with a beak, wings, two thin legs."""
    centre = (0.0, leg + 0.9 * body[1], 0.0)
    base = _offset(centre, tilt, 0.72 * body[0], 0.25 * body[1])
    length, pitch, thick = neck
    at = _offset(base, pitch, length)
    tip = _offset(at, 0, head[0] + 0.6 * beak[0], -0.1 * head[1])
    parts = [
        Part(centre, body, colours["body"], tilt),
        Part(
            _offset(centre, tilt, 0.45 * body[0]),
            (0.55 * body[0], 0.95 * body[1], 0.95 * body[2]),
            colours["chest"],
            tilt,
        ),
        Part(
            _offset(base, pitch, length / 2),
            (length / 2 + thick, thick, thick),
            colours["neck"],
            pitch,
            joint="head",
        ),
        Part(at, head, colours["head"], joint="head"),
        Part(tip, beak, colours["beak"], joint="head"),
        *_eyes(at, head, 0.0, colours.get("eye", BLACK)),
    ]
    for s in (-1, 1):
        wing = _offset(centre, tilt, -0.15 * body[0], 0.1 * body[1], s * 0.82 * body[2])
        parts.append(
            Part(wing, (0.72 * body[0], 0.6 * body[1], 0.25 * body[2]), colours["wing"], tilt - 6)
        )
        hip = 0.45 * s * body[2]
        joint = f"leg{(s + 1) // 2}"
        parts.append(
            Part((0.0, leg / 2, hip), (0.018, leg / 2 + 0.03, 0.018), colours["legs"], joint=joint)
        )
        parts.append(Part((0.035, 0.012, hip), (0.06, 0.014, 0.045), colours["legs"], joint=joint))
    joints = {
        "head": Joint(base, walk=7, call=12, wag=8),
        "tail": Joint((-body[0], centre[1], 0), walk=3, wag=4),
        "leg0": Joint((0, leg, 0), walk=24),
        "leg1": Joint((0, leg, 0), walk=24, phase=0.5),
    }
    moved = [
        replace(p, centre=_offset(at, 0, *p.centre)) if p.joint == "head" else p for p in extras
    ]
    every = tuple([*parts, *moved, *tail])
    return Rig(every, joints, at[1] + head[1] + 0.03, 2 * body[0] + 2 * head[0] + 0.1)


def _chicken() -> Rig:
    rust, red, dark = (0.66, 0.30, 0.10), (0.80, 0.06, 0.06), (0.10, 0.12, 0.09)
    colours = {
        "body": rust,
        "chest": (0.74, 0.38, 0.13),
        "neck": (0.82, 0.52, 0.18),
        "head": (0.80, 0.46, 0.16),
        "beak": (0.90, 0.65, 0.15),
        "wing": (0.50, 0.20, 0.07),
        "legs": (0.90, 0.68, 0.12),
    }
    comb = [
        Part((x, y, 0), (0.032, 0.045, 0.016), red, joint="head")
        for x, y in ((0.035, 0.07), (0.0, 0.085), (-0.035, 0.07))
    ]
    wattle = [Part((0.06, -0.07, 0), (0.02, 0.04, 0.02), red, joint="head")]
    plumes = [
        Part(
            (-0.2 - 0.03 * i, 0.36 + 0.05 * i, z),
            (0.05, 0.15, 0.03),
            dark,
            30 - 14 * i,
            joint="tail",
        )
        for i, z in ((0, 0.0), (1, 0.025), (2, -0.025))
    ]
    return _bird(
        0.16,
        (0.20, 0.16, 0.145),
        14,
        (0.15, 68, 0.06),
        (0.062, 0.06, 0.052),
        colours,
        (0.04, 0.018, 0.02),
        comb + wattle,
        plumes,
    )


def _duck() -> Rig:
    green, grey = (0.03, 0.30, 0.14), (0.62, 0.60, 0.56)
    colours = {
        "body": grey,
        "chest": (0.36, 0.18, 0.10),
        "neck": green,
        "head": green,
        "beak": (0.95, 0.78, 0.10),
        "wing": (0.50, 0.46, 0.42),
        "legs": (0.95, 0.45, 0.08),
    }
    collar = [Part((-0.03, -0.11, 0), (0.062, 0.018, 0.062), WHITE, 20, joint="head")]
    tail = [
        Part((-0.3, 0.25, 0), (0.09, 0.035, 0.06), WHITE, -18, joint="tail"),
        Part((-0.31, 0.28, 0), (0.05, 0.03, 0.03), BLACK, -40, joint="tail"),
        *(Part((-0.08, 0.19, 0.122 * s), (0.07, 0.022, 0.03), (0.10, 0.2, 0.62)) for s in (-1, 1)),
    ]
    return _bird(
        0.08,
        (0.27, 0.13, 0.13),
        4,
        (0.13, 76, 0.05),
        (0.075, 0.066, 0.06),
        colours,
        (0.075, 0.018, 0.042),
        collar,
        tail,
    )


def _pigeon() -> Rig:
    slate, bar = (0.42, 0.46, 0.56), (0.10, 0.10, 0.13)
    colours = {
        "body": slate,
        "chest": (0.40, 0.34, 0.48),
        "neck": (0.10, 0.38, 0.30),
        "head": (0.34, 0.38, 0.47),
        "beak": (0.18, 0.16, 0.16),
        "wing": (0.58, 0.62, 0.70),
        "legs": (0.82, 0.25, 0.25),
        "eye": (0.95, 0.40, 0.05),
    }
    throat = [Part((-0.02, -0.085, 0), (0.05, 0.03, 0.052), (0.40, 0.12, 0.42), joint="head")]
    wings = [
        Part((-0.06 - 0.06 * i, 0.155 - 0.012 * i, 0.092 * s), (0.016, 0.055, 0.02), bar, 30)
        for s in (-1, 1)
        for i in (0, 1)
    ]
    tail = [
        Part((-0.23, 0.085, 0), (0.13, 0.025, 0.05), (0.35, 0.39, 0.48), 24, joint="tail"),
        Part((-0.32, 0.045, 0), (0.05, 0.024, 0.052), bar, 24, joint="tail"),
    ]
    return _bird(
        0.075,
        (0.18, 0.105, 0.10),
        24,
        (0.075, 66, 0.05),
        (0.05, 0.048, 0.044),
        colours,
        (0.03, 0.011, 0.012),
        throat,
        [*wings, *tail],
    )


_SHAPES: dict[str, Quadruped] = {
    "pig": Quadruped(
        leg=0.26,
        body=(0.56, 0.31, 0.28),
        neck=(0.16, 8, 0.22),
        head=(0.2, 0.19, 0.17),
        head_pitch=-12,
        muzzle=(0.13, 0.09, 0.09),
        leg_radius=0.06,
        coat=(0.92, 0.58, 0.56),
        legs=(0.88, 0.53, 0.52),
        face=(0.93, 0.60, 0.58),
        snout=(0.86, 0.48, 0.48),
        ear=("flap", 0.14),
        ear_colour=(0.84, 0.46, 0.46),
        tail="curl",
        tail_colour=(0.86, 0.5, 0.5),
        extras=_pig_extras,
    ),
    "sheep": Quadruped(
        leg=0.32,
        body=(0.5, 0.32, 0.29),
        neck=(0.2, 35, 0.16),
        head=(0.17, 0.12, 0.11),
        head_pitch=-28,
        muzzle=(0.09, 0.07, 0.07),
        leg_radius=0.042,
        coat=(0.92, 0.90, 0.84),
        legs=(0.10, 0.09, 0.09),
        face=(0.11, 0.10, 0.10),
        snout=(0.15, 0.13, 0.13),
        ear=("side", 0.12),
        ear_colour=(0.12, 0.1, 0.1),
        tail="stub",
        tail_colour=(0.88, 0.86, 0.8),
        second=(0.82, 0.8, 0.74),
        pattern="wool",
        extras=_sheep_extras,
    ),
    "dog": Quadruped(
        leg=0.34,
        body=(0.36, 0.17, 0.15),
        neck=(0.2, 52, 0.1),
        head=(0.14, 0.13, 0.12),
        head_pitch=-8,
        muzzle=(0.12, 0.068, 0.07),
        leg_radius=0.036,
        coat=(0.50, 0.27, 0.10),
        legs=(0.55, 0.32, 0.14),
        face=(0.52, 0.28, 0.11),
        snout=(0.88, 0.82, 0.72),
        ear=("floppy", 0.13),
        ear_colour=(0.20, 0.10, 0.05),
        tail="up",
        tail_colour=(0.50, 0.27, 0.10),
        call_pitch=20,
        extras=_dog_extras,
    ),
    "cat": Quadruped(
        leg=0.17,
        body=(0.25, 0.115, 0.105),
        neck=(0.08, 42, 0.075),
        head=(0.105, 0.1, 0.11),
        head_pitch=-5,
        muzzle=(0.045, 0.036, 0.05),
        leg_radius=0.026,
        coat=(0.92, 0.50, 0.13),
        legs=(0.92, 0.56, 0.22),
        face=(0.92, 0.50, 0.13),
        snout=(0.95, 0.90, 0.82),
        ear=("pointed", 0.075),
        ear_colour=(0.86, 0.42, 0.1),
        tail="long_up",
        tail_colour=(0.88, 0.46, 0.12),
        second=(0.55, 0.24, 0.04),
        pattern="stripes",
        extras=_cat_extras,
    ),
    "horse": Quadruped(
        leg=0.8,
        body=(0.72, 0.32, 0.26),
        neck=(0.62, 52, 0.16),
        head=(0.3, 0.13, 0.11),
        head_pitch=-42,
        muzzle=(0.13, 0.09, 0.085),
        leg_radius=0.06,
        coat=(0.40, 0.18, 0.07),
        legs=(0.30, 0.13, 0.05),
        face=(0.40, 0.18, 0.07),
        snout=(0.22, 0.12, 0.08),
        ear=("pointed", 0.1),
        ear_colour=(0.34, 0.15, 0.06),
        tail="horse",
        tail_colour=(0.06, 0.04, 0.03),
        call_pitch=24,
        extras=_horse_extras,
    ),
    "cow": Quadruped(
        leg=0.52,
        body=(0.78, 0.42, 0.34),
        neck=(0.28, 16, 0.24),
        head=(0.26, 0.18, 0.16),
        head_pitch=-22,
        muzzle=(0.13, 0.12, 0.13),
        leg_radius=0.07,
        coat=(0.94, 0.93, 0.90),
        legs=(0.92, 0.91, 0.88),
        face=(0.10, 0.09, 0.09),
        snout=(0.86, 0.60, 0.58),
        ear=("side", 0.15),
        ear_colour=(0.1, 0.09, 0.09),
        tail="tuft",
        tail_colour=(0.85, 0.84, 0.8),
        second=(0.07, 0.06, 0.06),
        pattern="patches",
        extras=_cow_extras,
    ),
    "coyote": Quadruped(
        leg=0.46,
        body=(0.38, 0.15, 0.12),
        neck=(0.2, 46, 0.09),
        head=(0.13, 0.1, 0.1),
        head_pitch=12,
        muzzle=(0.15, 0.045, 0.045),
        leg_radius=0.028,
        coat=(0.52, 0.43, 0.33),
        legs=(0.62, 0.45, 0.28),
        face=(0.54, 0.42, 0.30),
        snout=(0.70, 0.58, 0.44),
        ear=("pointed", 0.13),
        ear_colour=(0.45, 0.30, 0.18),
        tail="bushy",
        tail_colour=(0.47, 0.40, 0.32),
        call_pitch=42,
        extras=_coyote_extras,
    ),
    "lion": Quadruped(
        leg=0.46,
        body=(0.62, 0.25, 0.21),
        neck=(0.22, 40, 0.18),
        head=(0.19, 0.18, 0.17),
        head_pitch=-8,
        muzzle=(0.12, 0.09, 0.1),
        leg_radius=0.06,
        coat=(0.80, 0.56, 0.24),
        legs=(0.80, 0.58, 0.28),
        face=(0.82, 0.60, 0.28),
        snout=(0.92, 0.82, 0.62),
        ear=("round", 0.08),
        ear_colour=(0.65, 0.42, 0.16),
        tail="lion",
        tail_colour=(0.78, 0.54, 0.22),
        call_pitch=18,
        extras=_lion_extras,
    ),
}


def make_rig(class_name: str) -> Rig:
    """The rig of one of the eleven classes."""
    birds = {"chicken": _chicken, "duck": _duck, "pigeon": _pigeon}
    return birds[class_name]() if class_name in birds else quadruped(_SHAPES[class_name])
