"""Accepted clips as the model meets them (keyframe, maps, sound and what their tokens decode to),
and rejected clips with the reason. The only part of the report that loads models."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.files import write_json
from nano4m_audio.filters import FILTERS
from nano4m_audio.generation.shown import over_classes
from nano4m_audio.label.maps import visible
from nano4m_audio.media.crop import square_crop
from nano4m_audio.media.playable import spectrogram
from nano4m_audio.media.stored import read_frame
from nano4m_audio.modalities import IMAGES, MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.reasons import Reason
from nano4m_audio.report import media
from nano4m_audio.report.inputs import Clip, ReportInputs
from nano4m_audio.seals import kept
from nano4m_audio.store import opened
from nano4m_audio.tables import content_key
from nano4m_audio.tokenize.keyframes import Pick, label_keys, read_images
from nano4m_audio.tokenize.names import backend_name
from nano4m_audio.tokenize.originals import decode, read_sounds
from nano4m_audio.versions import stage_version

#: All pictures and sounds of the page together, what the model makes among them; the page stays
#: below 15 MB.
BUDGET_BYTES = 9_000_000
REJECTED_PER_REASON = 3
_Pairs = list[tuple[str, str, str]]


@dataclass(frozen=True)
class Example:
    """One accepted clip. ``pictures`` are (title, original, from tokens) as data URIs, as are the
    sounds and their spectrograms."""

    clip: Clip
    caption: str
    keyframe_s: float
    pictures: _Pairs
    sound: tuple[str, str]
    spectrogram: tuple[str, str]

    @property
    def size_bytes(self) -> int:
        uris = [uri for _, a, b in self.pictures for uri in (a, b)]
        return sum(map(len, [*uris, *self.sound, *self.spectrogram]))


@dataclass(frozen=True)
class Rejected:
    """One clip that was not used, with its picture."""

    clip: Clip
    picture: str


@dataclass(frozen=True)
class Examples:
    """What the section shows; ``left_out`` accepted clips did not fit into the page."""

    accepted: list[Example] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    left_out: int = 0


def pick(clips: Sequence[Clip], count: int) -> list[Clip]:
    """``count`` complete clips spread over classes: the first of each class by id, then the second
    ...; test clips come first in their class, as the model has not seen them."""
    ranked = sorted(clips, key=lambda c: (c.split.get("split") != "test", c.clip_id))
    complete = [clip for clip in ranked if clip.complete]
    return [complete[i] for i in over_classes([clip.class_name for clip in complete], count)]


def pick_rejected(clips: Sequence[Clip]) -> list[Clip]:
    """Up to three decoded clips per first reason, of different classes where possible."""
    out = []
    for stop in (*(row.reason for row in FILTERS), Reason.DUPLICATE):
        seen: dict[str, int] = defaultdict(int)
        ranked = []
        for clip in sorted((c for c in clips if c.stop == stop), key=lambda c: c.clip_id):
            ranked.append((seen[clip.class_name], clip.clip_id, clip))
            seen[clip.class_name] += 1
        out += [clip for _, _, clip in sorted(ranked, key=lambda r: r[:2])[:REJECTED_PER_REASON]]
    return out


def make_examples(inputs: ReportInputs) -> Examples:
    """Read the pictures and sounds of some clips from the store and decode their tokens."""
    chosen = pick(inputs.clips, int(inputs.config["report"]["examples"]))
    rejected = [_rejected(inputs, clip) for clip in pick_rejected(inputs.clips)]
    used = sum(len(r.picture) for r in rejected)
    used += inputs.generated.size_bytes if inputs.generated else 0
    accepted: list[Example] = []
    load = _loader(inputs.config, inputs.results, inputs.threads)
    for clip in chosen:
        example = _example(inputs, clip, load)
        if used + example.size_bytes > BUDGET_BYTES:
            break
        used += example.size_bytes
        accepted.append(example)
    return Examples(accepted, rejected, len(chosen) - len(accepted))


def _loader(config: Mapping[str, Any], results: Path, threads: int) -> Callable[[str], Any]:
    """A function from modality to its tokenizer; each is loaded once."""
    loaded: dict[str, Any] = {}
    where = config["compute"]
    compute = Compute(where["device"], where["dtype"]["tokenize"], threads)

    def load(modality: str) -> Any:
        if modality not in loaded:
            name = backend_name(config["tokenize"][modality], Results(results))
            loaded[modality] = registry.load(MODALITIES[modality].tokenizer, name, compute)
        return loaded[modality]

    return load


def _rejected(inputs: ReportInputs, clip: Clip) -> Rejected:
    frames = _stored(inputs, "clips", clip, clip.verdict["clip_key"], ["frames"])["frames"]
    picture = square_crop(read_frame(frames[clip.verdict["best_frame"] or 0]))
    return Rejected(clip, media.jpeg_uri(picture, 78, 160))


def _example(inputs: ReportInputs, clip: Clip, load: Callable[[str], Any]) -> Example:
    """What is shown of a clip is kept by the keys of its tokens, so that it is decoded once."""
    k = _best_keyframe(clip)
    stored = inputs.store / "examples" / f"{example_key(clip)}.json"
    kept([stored], lambda: write_json(stored, _shown(inputs, clip, k, load)))
    shown = json.loads(stored.read_text("utf-8"))
    return Example(
        clip=clip,
        caption=shown["caption"],
        keyframe_s=float(clip.verdict["keyframe_times_s"][k]),
        pictures=[(title, original, decoded) for title, original, decoded in shown["pictures"]],
        sound=(shown["sound"][0], shown["sound"][1]),
        spectrogram=(shown["spectrogram"][0], shown["spectrogram"][1]),
    )


def _best_keyframe(clip: Clip) -> int:
    """The keyframe that is closest to the frame that scores best."""
    keyframes, best = clip.verdict["keyframes"], clip.verdict["best_frame"]
    return min(range(len(keyframes)), key=lambda i: (abs(keyframes[i] - best), i))


def example_key(clip: Clip) -> str:
    """The key under which the store keeps what is shown of a complete clip."""
    verdict = clip.verdict
    parts = dict(clip.token_keys), verdict["window_start_s"], verdict["keyframes"]
    return content_key("example", stage_version("examples"), *parts, _best_keyframe(clip))


def _shown(inputs: ReportInputs, clip: Clip, k: int, load: Callable[[str], Any]) -> dict[str, Any]:
    """Caption, pictures of keyframe ``k`` and sounds of a clip, and what its tokens decode to."""
    verdict = clip.verdict
    tokens = {
        m: _stored(inputs, f"tokens/{m}", clip, key)["tokens"] for m, key in clip.token_keys.items()
    }
    codec = load("audio")
    rate_hz = codec.sample_rate_hz
    pick = Pick(clip.clip_id, clip.shard, verdict["clip_key"], (k,), verdict)
    decoded = decode("audio", codec, np.reshape(tokens["audio"], (1, -1)))
    sounds = [read_sounds(inputs.store, [pick], rate_hz)[0], decoded[0]]
    return {
        "caption": load("caption").decode([int(i) for i in tokens["caption"]]),
        "pictures": [_pair(inputs, clip, name, k, tokens[name], load(name)) for name in IMAGES],
        "sound": [media.mp3_uri(sound, rate_hz) for sound in sounds],
        "spectrogram": [media.jpeg_uri(spectrogram(sound, rate_hz), 75) for sound in sounds],
    }


def _pair(
    inputs: ReportInputs, clip: Clip, modality: str, k: int, tokens: Any, tokenizer: Any
) -> tuple[str, str, str]:
    """Title, keyframe ``k`` of an image modality, and what its tokens decode to."""
    row, key = MODALITIES[modality], clip.verdict["clip_key"]
    if row.estimator:
        key, _ = label_keys(Results(inputs.results), clip.shard, modality)[clip.clip_id]
    pick = Pick(clip.clip_id, clip.shard, key, (k,), clip.verdict)
    original = read_images(inputs.store, modality, [pick])[0][0]
    decoded = decode(modality, tokenizer, np.array([tokens[k]]))[0]
    uris = [media.jpeg_uri(visible(modality, image)) for image in (original, decoded)]
    return row.title, uris[0], uris[1]


def _stored(
    inputs: ReportInputs, name: str, clip: Clip, key: str, columns: Sequence[str] | None = None
) -> dict[str, Any]:
    return opened(inputs.store, name, clip.shard).read([key], columns).to_pylist()[0]
