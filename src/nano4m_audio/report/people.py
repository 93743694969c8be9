"""How well the filters agree with people: the tags of VGGSounder, which say of the test clips of
VGGSound what is heard and seen in them. Nothing is shown without its package, or such a clip.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nano4m_audio.config.curate import Verdict
from nano4m_audio.curate.verdict import limits_of
from nano4m_audio.errors import UserError
from nano4m_audio.filters import FILTERS
from nano4m_audio.report.funnel import own_thresholds
from nano4m_audio.report.inputs import Clip, ReportInputs
from nano4m_audio.report.truth import Share, share_of

PACKAGE = "vggsounder"
#: All its clips: those with music in the background have a file of their own beside this one.
_DATA = "data/vggsounder+background-music.csv"
_COLUMNS = ("video_id", "label", "modality", "background_music", "static_image", "voice_over")
#: A clip: its video, and the second at which it begins.
Key = tuple[str, int]


@dataclass
class Tags:
    """What people tagged in a clip. ``labels``: VGGSound label -> A (heard), V (seen) or AV."""

    labels: dict[str, str] = field(default_factory=dict)
    music: bool = False
    static: bool = False
    voice_over: bool = False


@dataclass(frozen=True)
class Seen:
    """The tags of a clip as they concern its class. ``tagged`` and ``heard``: by a label that means
    it; ``unheard`` and ``seen``: by these, and by those that may mean something else, too."""

    tags: Tags
    tagged: bool
    heard: bool
    unheard: bool
    seen: bool


@dataclass(frozen=True)
class Rule:
    """What a filter should do (``keep`` or reject) with the clips that are tagged so."""

    words: str
    applies: Callable[[Seen], bool]
    reason: str
    keep: bool = False


RULES = (
    Rule("class heard and seen", lambda s: s.heard and s.seen, "audio_low", keep=True),
    Rule("class heard and seen", lambda s: s.heard and s.seen, "visual_low", keep=True),
    Rule("class seen, not heard", lambda s: s.tagged and s.unheard, "audio_low"),
    Rule("class heard, not seen", lambda s: s.tagged and not s.seen, "visual_low"),
    Rule("voice-over", lambda s: s.tags.voice_over, "speech"),
    Rule("voice-over", lambda s: s.tags.voice_over, "voice_over"),
    Rule("static image", lambda s: s.tags.static, "static"),
    Rule("background music", lambda s: s.tags.music, "music"),
)


@dataclass(frozen=True)
class Agreement:
    """A rule, the filter that it is about, and the share of its clips that were decided so."""

    rule: Rule
    title: str
    right: Share
    off: bool


@dataclass(frozen=True)
class People:
    """Everything the section shows: ``clips`` are tagged and decoded, ``others`` tagged and not,
    ``untagged`` have no label of their class."""

    version: str
    clips: int
    others: int
    untagged: int
    precision: Share
    recall: Share
    rows: list[Agreement]
    own: list[str]


def find_tags() -> Path | None:
    """The file of tags, where the package is installed; nothing of it is imported."""
    spec = find_spec(PACKAGE)
    return Path(spec.origin).parent / _DATA if spec and spec.origin else None


def read_tags(path: Path, wanted: Collection[Key] | None = None) -> dict[Key, Tags]:
    """The tags of the clips of VGGSounder, or only of those ``wanted``.

    Raises UserError for a file that is not as that of version 1.0 is.
    """
    found: dict[Key, Tags] = {}
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            if missing := set(_COLUMNS) - set(reader.fieldnames or ()):
                raise ValueError(f"without the columns {', '.join(sorted(missing))}")
            for row in reader:
                video_id, _, start = row["video_id"].rpartition("_")
                key = video_id, int(start)
                if wanted is None or key in wanted:
                    _add(found.setdefault(key, Tags()), row)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({error}): install {PACKAGE} 1.0, or remove the package"
        ) from None
    return found


def _add(tags: Tags, row: Mapping[str, str]) -> None:
    """Put one row of the file, a label of a clip, to what is known of the clip."""
    if row["modality"] not in ("A", "V", "AV"):
        raise ValueError(f"modality {row['modality']!r}")
    music, static, voice_over = (_flag(row[name]) for name in _COLUMNS[3:])
    tags.labels[row["label"]] = row["modality"]
    tags.music |= music
    tags.static |= static
    tags.voice_over |= voice_over


def _flag(text: str | None) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"{text!r} is not True or False")
    return text == "True"


def of_class(tags: Tags, details: Mapping[str, Any]) -> Seen:
    """What the tags say of a class, by the VGGSound labels of its ``details``.

    A label that may mean something else, too, shows at most that the class is seen: a dog that
    barks unseen and is seen to growl is seen.
    """
    own = _ways(tags, details.get("vggsound", ()))
    every = own | _ways(tags, details.get("vggsound_ambiguous", ()))
    return Seen(tags, bool(own), "A" in own, "A" not in every, "V" in every)


def _ways(tags: Tags, labels: Collection[str]) -> set[str]:
    """Whether any of the labels is heard (A) or seen (V) in a clip."""
    return {way for label in labels for way in tags.labels.get(label, "")}


def collect(inputs: ReportInputs) -> People | None:
    """The decisions of the filters against the tags; None without the package or such clips."""
    path = find_tags()
    if path is None:
        return None
    tags = read_tags(path, {key_of(clip) for clip in inputs.clips})
    try:
        name = version(PACKAGE)
    except PackageNotFoundError:
        name = ""
    return compare(inputs.clips, tags, inputs.config, name)


def key_of(clip: Clip) -> Key:
    """Starts of VGGSound are whole seconds."""
    return clip.video_id, round(clip.start_s)


def compare(
    clips: Sequence[Clip], tags: Mapping[Key, Tags], config: Mapping[str, Any], name: str = ""
) -> People | None:
    """Every rule put to the clips that are tagged so and whose filter is on; ``name``: the version.

    Precision and recall are of the clips that all filters that are on keep or reject: to be
    rejected if any rule says so, else to be kept if their class is heard and seen.
    """
    tagged = [clip for clip in clips if key_of(clip) in tags]
    if not tagged:
        return None
    decoded = [clip for clip in tagged if clip.verdict["clip_key"]]
    settings = Verdict.model_validate(config["verdict"])
    seen = {
        c.clip_id: of_class(tags[key_of(c)], config["classes"].get(c.class_name, {}))
        for c in decoded
    }
    limits = {c.clip_id: limits_of(c.verdict, c.class_name, settings) for c in decoded}
    rows, wanted = [], dict[str, bool]()
    for rule in RULES:
        row = next(row for row in FILTERS if row.reason == rule.reason)
        mine = [
            clip
            for clip in decoded
            if limits[clip.clip_id][row.key] is not None and rule.applies(seen[clip.clip_id])
        ]
        for clip in mine:
            wanted[clip.clip_id] = rule.keep and wanted.get(clip.clip_id, True)
        right = [(rule.reason not in clip.verdict["reasons"]) == rule.keep for clip in mine]
        off = not any(limit[row.key] is not None for limit in limits.values())
        rows.append(Agreement(rule, row.title, share_of(mine, right), off))
    known = [clip for clip in decoded if clip.clip_id in wanted]
    kept = [clip for clip in known if clip.accepted]
    good = [clip for clip in known if wanted[clip.clip_id]]
    return People(
        version=name,
        clips=len(decoded),
        others=len(tagged) - len(decoded),
        untagged=sum(not found.tagged for found in seen.values()),
        precision=share_of(kept, [wanted[clip.clip_id] for clip in kept]),
        recall=share_of(good, [clip.accepted for clip in good]),
        rows=rows,
        own=own_thresholds(config["verdict"]["per_class"]),
    )
