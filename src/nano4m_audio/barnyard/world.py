"""The plan of a world: which clips there are, of whom, and which of them are defective and how."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace

import numpy as np

from nano4m_audio.barnyard.hard import IMPOSTORS, TROUBLES
from nano4m_audio.barnyard.streams import CLASSES, stream

DUPLICATES = (
    "exact_duplicate",
    "near_duplicate_bitrate",
    "near_duplicate_mirror",
    "near_duplicate_resize",
    "near_duplicate_shift",
)
BROKEN = ("text_file", "zero_bytes", "truncated", "no_audio", "no_video", "too_short")
DEFECTS = ("speech", "wrong_sound", "no_animal", "silent", *DUPLICATES, *BROKEN)
_ID_CHARACTERS = string.ascii_letters + string.digits + "-_"


@dataclass(frozen=True)
class ClipPlan:
    """One clip: whose, where it is written, what is wrong with it, and its random streams.

    ``scene_id`` and ``scene_start_s`` name the footage; for a copy they are those of the original.
    ``duplicate_of`` is the original's file, or an empty string. ``trouble`` makes a clip hard to
    judge, from 0 to 1 (``hard``); a copy shares that of its original.
    """

    purpose: str
    seed: int
    clip_s: float
    video_id: str
    start_s: int
    class_name: str
    source: str
    kind: str
    scene_id: str
    scene_start_s: int
    duplicate_of: str = ""
    trouble: str = ""
    hard: float = 0.0

    @property
    def file(self) -> str:
        """Path of the film inside the world's folder."""
        return f"media/{self.video_id}_{self.start_s:06d}.mp4"

    @property
    def expected(self) -> str:
        """What a perfect pipeline does with it: keep or reject."""
        return "keep" if self.kind == "good" else "reject"

    @property
    def known_as(self) -> str:
        """What the truth calls it: its defect or trouble, or good."""
        return self.trouble if self.kind == "good" and self.trouble else self.kind

    def rng(self, what: str) -> np.random.Generator:
        """The random stream of one aspect: "look" is shared by the clips of a video."""
        path = [self.scene_id] if what == "look" else [self.scene_id, self.scene_start_s]
        return stream(self.purpose, self.seed, what, *path)


def plan_world(
    purpose: str,
    seed: int,
    clips: int,
    clip_s: float,
    defect_fraction: float,
    hard_fraction: float = 0.0,
) -> list[ClipPlan]:
    """Plan ``clips`` clips; pure and deterministic.

    A ``defect_fraction`` of them is defective. Of another ``hard_fraction`` two in three are good
    clips in trouble, and one in three is an impostor.
    """
    rng = stream(purpose, seed, "plan")
    n_defects = round(clips * defect_fraction)
    n_hard = min(round(clips * hard_fraction), clips - n_defects)
    n_impostors = n_hard // 3
    good = _good_clips(rng, purpose, seed, clips - n_defects - n_impostors, clip_s)
    grades = stream(purpose, seed, "hard")
    good = _in_trouble(grades, good, n_hard - n_impostors)
    taken = {plan.video_id for plan in good}
    defects = []
    for i in range(n_defects):
        kind = DEFECTS[i % len(DEFECTS)]
        original = good[int(rng.integers(len(good)))]
        plan = _another(rng, original, taken, kind)
        if kind in DUPLICATES:
            defects.append(replace(plan, duplicate_of=original.file))
        else:
            defects.append(_of_its_own(plan, CLASSES[i % len(CLASSES)]))
    impostors = []
    for i, hard in enumerate(_graded(grades, n_impostors)):
        kind = IMPOSTORS[i % len(IMPOSTORS)]
        plan = _of_its_own(_another(rng, good[0], taken, kind), CLASSES[i % len(CLASSES)])
        impostors.append(replace(plan, trouble=kind, hard=hard))
    return sorted([*good, *defects, *impostors], key=lambda plan: plan.file)


def _another(rng: np.random.Generator, original: ClipPlan, taken: set[str], kind: str) -> ClipPlan:
    """The original under a new name."""
    video_id = _new_id(rng, taken)
    start_s = _start(rng)
    source = _source(video_id)
    return replace(original, video_id=video_id, start_s=start_s, source=source, kind=kind)


def _of_its_own(plan: ClipPlan, class_name: str) -> ClipPlan:
    """The plan with footage of its own, without trouble."""
    return replace(plan, class_name=class_name, scene_id=plan.video_id,
                   scene_start_s=plan.start_s, trouble="", hard=0.0)  # fmt: skip


def _in_trouble(rng: np.random.Generator, good: list[ClipPlan], count: int) -> list[ClipPlan]:
    """The clips, ``count`` of them in trouble, each kind of trouble from easy to hard."""
    plans, chosen = list(good), rng.permutation(len(good))[:count]
    for i, (place, hard) in enumerate(zip(chosen, _graded(rng, count), strict=True)):
        plans[place] = replace(good[place], trouble=TROUBLES[i % len(TROUBLES)], hard=hard)
    return plans


def _graded(rng: np.random.Generator, count: int) -> list[float]:
    """Numbers between 0 and 1, evenly spread, in random order."""
    return [round((i + 0.5) / count, 3) for i in rng.permutation(count).tolist()]


def _good_clips(
    rng: np.random.Generator, purpose: str, seed: int, count: int, clip_s: float
) -> list[ClipPlan]:
    """Good clips, classes in turn; a third of the videos have two clips."""
    plans: list[ClipPlan] = []
    taken: set[str] = set()
    video = 0
    while len(plans) < count:
        name = CLASSES[video % len(CLASSES)]
        video += 1
        video_id = _new_id(rng, taken)
        starts = [_start(rng)]
        if rng.random() < 1 / 3 and len(plans) + 1 < count:
            starts.append(starts[0] + 10 * int(rng.integers(1, 6)))
        source = _source(video_id)
        plans += [
            ClipPlan(purpose, seed, clip_s, video_id, s, name, source, "good", video_id, s)
            for s in starts
        ]
    return plans


def _new_id(rng: np.random.Generator, taken: set[str]) -> str:
    while True:
        video_id = "".join(_ID_CHARACTERS[i] for i in rng.integers(len(_ID_CHARACTERS), size=11))
        if video_id not in taken:
            taken.add(video_id)
            return video_id


def _start(rng: np.random.Generator) -> int:
    return 10 * int(rng.integers(0, 30))


def _source(video_id: str) -> str:
    """An invented source, a function of the id: audioset, vggsound or both."""
    return ("audioset", "vggsound", "both")[sum(video_id.encode()) % 3]
