"""The three birds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nano4m_audio.barnyard.rigs import BLACK, WHITE, Joint, Part, Rig, Vec, eyes, offset


def _bird(
    leg: float,
    body: Vec,
    tilt: float,
    neck: tuple[float, float, float],
    head: Vec,
    colours: Mapping[str, Vec],
    beak: Vec,
    extras: list[Part],
    tail: list[Part],
) -> Rig:
    """Build the rig of a bird: a tilted body, a neck, a head with a beak, wings, two thin legs."""
    centre = (0.0, leg + 0.9 * body[1], 0.0)
    base = offset(centre, tilt, 0.72 * body[0], 0.25 * body[1])
    length, pitch, thick = neck
    at = offset(base, pitch, length)
    tip = offset(at, 0, head[0] + 0.6 * beak[0], -0.1 * head[1])
    parts = [
        Part(centre, body, colours["body"], tilt),
        Part(
            offset(centre, tilt, 0.45 * body[0]),
            (0.55 * body[0], 0.95 * body[1], 0.95 * body[2]),
            colours["chest"],
            tilt,
        ),
        Part(
            offset(base, pitch, length / 2),
            (length / 2 + thick, thick, thick),
            colours["neck"],
            pitch,
            joint="head",
        ),
        Part(at, head, colours["head"], joint="head"),
        Part(tip, beak, colours["beak"], joint="head"),
        *eyes(at, head, 0.0, colours.get("eye", BLACK)),
    ]
    for s in (-1, 1):
        wing = offset(centre, tilt, -0.15 * body[0], 0.1 * body[1], s * 0.82 * body[2])
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
        replace(p, centre=offset(at, 0, *p.centre)) if p.joint == "head" else p for p in extras
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


BIRDS = {"chicken": _chicken, "duck": _duck, "pigeon": _pigeon}
