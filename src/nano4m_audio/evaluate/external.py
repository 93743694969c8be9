"""What judges that know nothing of the run say of the sounds and pictures that it makes.

From the caption or another modality of every evaluated clip the model makes a sound and a picture.
A tagger, a classifier and a scorer name them, distances of embeddings compare the sounds with real
ones, and levels say whether loudness varies as in real clips. Every figure stands beside the same
for the clips' own tokens, decoded (more no model of tokens can reach), and beside what is said of
clips of other classes, of real sounds, or of noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nano4m_audio.evaluate import distances, judges, loudness
from nano4m_audio.evaluate.common import BATCH_SIZE, ProbeInputs
from nano4m_audio.evaluate.judges import REAL
from nano4m_audio.media.colours import image_of
from nano4m_audio.modalities import route
from nano4m_audio.nano4m.data import TokenData, whole
from nano4m_audio.nano4m.generate import generate_chain
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.tokenize.interleave import decode_ids

#: What sounds and pictures are made from.
SOURCES = {"audio": ("caption", "rgb"), "rgb": ("caption", "audio")}
_EMBEDDER = "evaluate.audio_embedder"


@dataclass(frozen=True)
class Found:
    """What the probe gathers: ``left_out`` says of a config key what is not known without it."""

    metrics: list[dict[str, Any]]
    per_class: list[dict[str, Any]]
    details: dict[str, Any]
    left_out: dict[str, str]


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<source>_to_<target>_<judge>_top<k>``, ``kad_...``, ``fad_...`` and ``level_...``,
    and details per class. What needs a backend that the config does not name is left out."""
    names = sorted({*inputs.train.classes, *inputs.chosen.classes})
    clips = inputs.decoded_clips(len(inputs.chosen))
    if not len(clips):
        return {"metrics": [], "per_class": [], "clips_asked": 0}
    cast = judges.Cast(
        inputs,
        clips,
        {name: judges.Words.of(inputs.classes.get(name, {})) for name in names},
        np.array([names.index(inputs.chosen.classes[i]) for i in clips], np.int64),
    )
    per_class = [{"class": n, "n": int((cast.true == c).sum())} for c, n in enumerate(names)]
    found = Found([], per_class, {}, {})
    for target, part in (("audio", _sounds), ("rgb", _pictures)):
        if target not in inputs.names:
            continue
        if f"tokenize.{target}" in inputs.models:
            part(cast, found)
        else:
            found.left_out[f"tokenize.{target}"] = f"tokens of {target} cannot be decoded"
    return {
        "metrics": found.metrics,
        "per_class": per_class,
        **found.details,
        "left_out": found.left_out,
        "clips_asked": len(clips),
        "sampling": sampling(inputs).model_dump(),
    }


def sampling(inputs: ProbeInputs) -> Sampling:
    """How everything is made: with the defaults of generation."""
    return Sampling(seed=inputs.seed)


def sources(inputs: ProbeInputs, target: str) -> list[str]:
    """What ``target`` is made from: those of SOURCES that the run has."""
    return [name for name in SOURCES[target] if name in inputs.names]


def _sounds(cast: judges.Cast, found: Found) -> None:
    """Add what is found of sounds; those of one source are in memory at a time."""
    inputs, codec = cast.inputs, cast.inputs.models.load("tokenize.audio")
    judge, hears = judges.tagger(cast, codec.sample_rate_hz), _EMBEDDER in inputs.models
    ids = {source: made_tokens(cast, source, "audio") for source in sources(inputs, "audio")}
    found.details["other_codebook"] = {s: misplaced(codec, each) for s, each in ids.items()}
    ids[REAL] = own_tokens(inputs, inputs.data, "audio", cast.clips)
    named: dict[str, judges.Hits] = {}
    levels: dict[str, np.ndarray] = {}
    sets: dict[str, np.ndarray] = {}
    for source, each in ids.items():
        sounds = waveforms(codec, each)
        levels[source] = loudness.levels_of(sounds)
        if judge:
            named[source] = judge.name_things(sounds)
        if hears:
            sets[source] = distances.embed(inputs, sounds, codec.sample_rate_hz)
    _add_names(cast, judge, "audio", named, found, "score.audio")
    if hears:
        noise = distances.noise_like(sounds, inputs.seed)  # as loud as the last ones, the real
        sets[distances.NOISE] = distances.embed(inputs, noise, codec.sample_rate_hz)
        drawn = distances.reference_clips(len(cast.clips), len(inputs.train), inputs.seed)
        sounds = waveforms(codec, own_tokens(inputs, inputs.train.data, "audio", drawn))
        reference = distances.embed(inputs, sounds, codec.sample_rate_hz)
        rows, facts = distances.compare(inputs, sets, reference, cast.clips, drawn)
        found.metrics.extend(rows)
        found.details["distances"] = facts
    else:
        found.left_out[_EMBEDDER] = "no embedder: sounds are not compared as a whole"
    found.metrics.extend(loudness.spreads(cast, levels["caption"], levels[REAL]))
    loudness.count_by_class(cast, levels["caption"], levels[REAL], found.per_class)


def _pictures(cast: judges.Cast, found: Found) -> None:
    """Add what is found of pictures."""
    makers = {"evaluate.image_classifier": judges.classifier, "score.visual": judges.scorer}
    known = {key: make(cast) for key, make in makers.items()}
    named: dict[str, dict[str, judges.Hits]] = {key: {} for key in known}
    if any(known.values()):
        codec = cast.inputs.models.load("tokenize.rgb")
        ids = {source: made_tokens(cast, source, "rgb") for source in sources(cast.inputs, "rgb")}
        ids[REAL] = own_tokens(cast.inputs, cast.inputs.data, "rgb", cast.clips)
        for source, each in ids.items():
            rgb = pictures(codec, each)
            for key, judge in known.items():
                if judge:
                    named[key][source] = judge.name_things(rgb)
    for key, judge in known.items():
        _add_names(cast, judge, "rgb", named[key], found, key)


def _add_names(
    cast: judges.Cast,
    judge: judges.Judge | None,
    target: str,
    named: Mapping[str, judges.Hits],
    found: Found,
    key: str,
) -> None:
    """Add what a judge says of things by their source, or that there is none."""
    if judge is None:
        found.left_out[key] = f"nothing names {target}, or it knows none of the classes"
        return
    how = f"{sampling(cast.inputs).steps} steps, decoded"
    found.metrics.extend(judges.agreement(cast, judge, target, named, how))
    judges.count_by_class(cast, judge, target, named, found.per_class)


def made_tokens(cast: judges.Cast, source: str, target: str) -> np.ndarray:
    """Tokens of ``target`` made from all of ``source`` of each clip: int64 [n, tokens]."""
    inputs, clips = cast.inputs, cast.clips
    given, wanted = inputs.modality(source), inputs.modality(target)
    steps = [inputs.modality(name) for name in route(target, inputs.names, source)]
    rows = own_tokens(inputs, inputs.data, source, clips)
    lengths = inputs.data.lengths[clips, given]
    out = []
    for start in range(0, len(clips), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        seen = whole(given, rows[part], lengths[part])
        made = generate_chain(inputs.model, seen, steps, sampling(inputs), clips[part])
        out.append(made[wanted])
    return np.concatenate(out)


def own_tokens(
    inputs: ProbeInputs, data: TokenData, modality: str, clips: np.ndarray
) -> np.ndarray:
    """The clips' own tokens, of pictures at their middle keyframe: int64 [n, tokens]."""
    array, frames = data.arrays[inputs.modality(modality)], inputs.keyframe_numbers()
    frame = int(frames[len(frames) // 2]) if array.shape[1] > 1 else 0
    return array[clips, frame].astype(np.int64)


def waveforms(codec: Any, ids: np.ndarray) -> np.ndarray:
    """What audio ids [n, tokens] sound like: float32 [n, samples].

    An id of another codebook than its position's, which a model can make, is read as the same
    number in the right one.
    """
    size, books = codec.codebook_size, codec.n_codebooks
    placed = ids % size + np.arange(ids.shape[1]) % books * size
    return decode_ids(codec, placed)


def pictures(codec: Any, ids: np.ndarray) -> np.ndarray:
    """What image ids [n, tokens] look like: uint8 [n, H, W, 3]."""
    parts = [ids[i : i + BATCH_SIZE] for i in range(0, len(ids), BATCH_SIZE)]
    return np.stack([image_of(image) for part in parts for image in codec.decode(part)])


def misplaced(codec: Any, ids: np.ndarray) -> float:
    """The share of ids that belong to another codebook than their position's."""
    books = np.arange(ids.shape[1]) % codec.n_codebooks
    return float((ids // codec.codebook_size != books).mean())
