"""The eight four-legged animals: proportions, colours, and what makes each of them unmistakable."""

from __future__ import annotations

import numpy as np

from nano4m_audio.barnyard.rigs import BLACK, PINK, WHITE, Anchors, Part, Quadruped, offset


def _pig_extras(a: Anchors) -> list[Part]:
    tip = offset(a.nose, a.shape.head_pitch, 0.085)
    holes = [offset(tip, 0, 0.018, 0.01, s * 0.03) for s in (-1, 1)]
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
    cap = offset(a.head, a.shape.head_pitch, -0.35 * a.shape.head[0], 0.75 * a.shape.head[1])
    return [*tufts, Part(cap, (0.13, 0.09, 0.12), wool, joint="head")]


def _dog_extras(a: Anchors) -> list[Part]:
    nose = offset(a.nose, a.shape.head_pitch, 0.12, 0.02)
    chest = (0.82 * a.shape.body[0], a.centre[1] - 0.03, 0.0)
    tongue = offset(a.nose, a.shape.head_pitch, 0.06, -0.07)
    return [
        Part(nose, (0.03, 0.028, 0.03), BLACK, joint="head"),
        Part(chest, (0.13, 0.16, 0.13), WHITE),
        Part(tongue, (0.05, 0.012, 0.03), (0.85, 0.3, 0.35), -30, joint="head"),
    ]


def _cat_extras(a: Anchors) -> list[Part]:
    nose = offset(a.nose, a.shape.head_pitch, 0.035, 0.015)
    return [
        Part(nose, (0.012, 0.01, 0.012), PINK, joint="head"),
        Part((0.25, a.centre[1] - 0.05, 0), (0.06, 0.08, 0.07), WHITE),
    ]


def _horse_extras(a: Anchors) -> list[Part]:
    mane, pitch = (0.06, 0.04, 0.03), a.shape.neck[1]
    up = a.shape.neck[2]
    strip = [
        Part(offset(a.neck, pitch, d, up), (0.13, 0.09, 0.05), mane, pitch, joint="head")
        for d in (-0.22, -0.05, 0.12, 0.27)
    ]
    forelock = offset(a.head, a.shape.head_pitch, -0.1, 0.14)
    blaze = offset(a.head, a.shape.head_pitch, 0.12, 0.1)
    return [
        *strip,
        Part(forelock, (0.1, 0.05, 0.05), mane, -20, joint="head"),
        Part(blaze, (0.16, 0.035, 0.04), WHITE, a.shape.head_pitch, joint="head"),
    ]


def _cow_extras(a: Anchors) -> list[Part]:
    horns = []
    for s in (-1, 1):
        base = offset(a.head, a.shape.head_pitch, -0.14, 0.17, s * 0.13)
        tip = offset(base, 0, 0.02, 0.12, s * 0.05)
        horns.append(Part(base, (0.04, 0.06, 0.1), (0.85, 0.8, 0.65), roll=-s * 20, joint="head"))
        horns.append(Part(tip, (0.03, 0.1, 0.03), (0.85, 0.8, 0.65), roll=-s * 12, joint="head"))
    udder = (-0.35, a.shape.leg - 0.02, 0.0)
    return [*horns, Part(udder, (0.2, 0.15, 0.17), PINK)]


def _coyote_extras(a: Anchors) -> list[Part]:
    nose = offset(a.nose, a.shape.head_pitch, 0.15, 0.01)
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
        at = offset(a.head, a.shape.head_pitch, -0.13, up, side)
        ring.append(Part(at, (0.14, 0.15, 0.15), dark if i % 2 else mid, joint="head"))
    ruff = offset(a.neck, a.shape.neck[1], -0.02, -0.12)
    nose = offset(a.nose, a.shape.head_pitch, 0.09, 0.03)
    return [
        *ring,
        Part(a.neck, (0.25, 0.3, 0.26), dark, joint="head"),
        Part(ruff, (0.22, 0.26, 0.2), mid, joint="head"),
        Part(nose, (0.03, 0.03, 0.04), (0.25, 0.1, 0.08), joint="head"),
    ]


QUADRUPEDS: dict[str, Quadruped] = {
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
