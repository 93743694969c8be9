"""What the audio tokenizer keeps of the sounds of evaluated clips: waveform, spectrum and class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from nano4m_audio.curate.score import tagger_columns
from nano4m_audio.evaluate.beside import sound_keys
from nano4m_audio.evaluate.common import ACCURACY, Measured, ProbeInputs, metric
from nano4m_audio.media import windows
from nano4m_audio.media.stored import read_audio
from nano4m_audio.store import opened
from nano4m_audio.taxonomy import SoundClass
from nano4m_audio.tokenize.keyframes import Pick, by_shard, list_clips
from nano4m_audio.tokenizers.fidelity import mel_distance_db, si_sdr_db
from nano4m_audio.training.token_sets import SPLITS

#: So many clips are encoded and decoded at most, evenly spread.
MOST_CLIPS = 256
#: Metric -> its title in the report; baselines have none.
TITLES = MappingProxyType(
    {
        "si_sdr": "SI-SDR of the round trip",
        "mel_distance": "Log-mel distance of the round trip",
        "class_kept": "Class that the tagger names, kept",
        "class_named": "Class named right from the round trip",
        "class_named_original": "Class named right from the sound itself",
    }
)


@dataclass(frozen=True)
class RoundTrips:
    """Sounds of some evaluated clips (``clips`` int64 [n]) and what their codes decode to: float32
    [n, samples] at ``rate_hz``. ``tags`` and ``decoded_tags`` are what the tagger says of both:
    float32 [n, C] by the classes ``names``, which may be none."""

    clips: np.ndarray
    sounds: np.ndarray
    decoded: np.ndarray
    rate_hz: int
    names: tuple[str, ...]
    tags: np.ndarray
    decoded_tags: np.ndarray


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``si_sdr``, ``mel_distance``, and with a tagger ``class_kept``, ``class_named`` (of
    the round trips) and ``class_named_original``. None where no sound is stored."""
    trips = round_trips(inputs)
    if trips is None:
        return {"metrics": [], "clips_decoded": 0}
    return {"metrics": fidelity_metrics(inputs, trips), "clips_decoded": len(trips.clips)}


def fidelity_metrics(inputs: ProbeInputs, trips: RoundTrips) -> list[dict[str, Any]]:
    """What is kept, beside the round trips of other clips where there are other groups."""
    other = _others(inputs.groups[trips.clips])
    distance = mel_distance_db(trips.sounds, trips.decoded, trips.rate_hz)
    away = mel_distance_db(trips.sounds, trips.decoded[other], trips.rate_hz)
    away = np.where(other >= 0, away, np.nan)
    note = f"{len(trips.clips):,} sounds at {trips.rate_hz:,} Hz"
    ratio = _measured(
        "si_sdr",
        si_sdr_db(trips.sounds, trips.decoded),
        trips,
        inputs,
        f"{note}; scale-invariant signal to distortion, more is better; far below 0 where a codec "
        "keeps spectra and not phases",
    )
    mel = _measured(
        "mel_distance", distance, trips, inputs, f"{note}; log-mel, 64 bands, less is better"
    )
    far = _measured("mel_distance_other", away, trips, inputs, "the round trip of another clip")
    rows = [
        *([metric(ratio, inputs, unit="dB", chance=None)] if ratio.counts.any() else []),
        *_beside(mel, far, inputs, unit="dB", chance=None),
    ]
    rows += _class_rows(inputs, trips, other) if trips.names else []
    return [{"title": TITLES.get(row["name"], ""), **row} for row in rows]


def _class_rows(inputs: ProbeInputs, trips: RoundTrips, other: np.ndarray) -> list[dict[str, Any]]:
    """Whether the tagger names the same class before and after, and whether it is the clip's."""
    before, after = trips.tags.argmax(axis=1), trips.decoded_tags.argmax(axis=1)
    classes = [inputs.chosen.classes[i] for i in trips.clips]
    true = np.array([trips.names.index(c) if c in trips.names else -1 for c in classes])
    words = f"the tagger's first of {len(trips.names)} classes"
    rows = []
    for name, guess, wanted, note in (
        ("class_kept", after, before, f"{words}, of the round trip as of the sound"),
        ("class_named", after, true, f"{words}, of the round trip, is the clip's"),
        ("class_named_original", before, true, f"{words}, of the sound itself, is the clip's"),
    ):
        known = true >= 0 if wanted is true else np.ones(len(true), bool)
        if not known.any():
            continue
        hits = _measured(name, np.where(known, guess == wanted, np.nan), trips, inputs, note)
        luck = np.where(known & (other >= 0), guess[other] == wanted, np.nan)
        by_luck = _measured(f"{name}_other", luck, trips, inputs, "the sound of another clip")
        chance = 1 / len(trips.names)
        rows += _beside(hits, by_luck, inputs, unit=ACCURACY, chance=chance)
    return rows


def _beside(
    own: Measured, other: Measured, inputs: ProbeInputs, *, unit: str, chance: float | None
) -> list[dict[str, Any]]:
    """A metric and its baseline; the metric alone where the baseline counts no clip."""
    if not other.counts.any():
        return [metric(own, inputs, unit=unit, chance=chance)]
    return [
        metric(own, inputs, unit=unit, chance=chance, baseline=other),
        metric(other, inputs, unit=unit, chance=chance),
    ]


def _measured(
    name: str, values: np.ndarray, trips: RoundTrips, inputs: ProbeInputs, note: str
) -> Measured:
    """Values of the decoded clips among all evaluated ones; NaN does not count."""
    sums, counts = np.zeros(len(inputs.groups)), np.zeros(len(inputs.groups), np.int64)
    sums[trips.clips] = np.nan_to_num(np.asarray(values, float))
    counts[trips.clips] = np.isfinite(np.asarray(values, float))
    return Measured(name, sums, counts, note)


def _others(groups: np.ndarray) -> np.ndarray:
    """For every clip one of another group, about half the clips away: int64 [n]; -1 for all where
    there is a single group."""
    n, places = len(groups), np.arange(len(groups))
    other = (places + n // 2) % n
    for _ in range(n):
        same = groups[other] == groups
        if not same.any():
            break
        other = np.where(same, (other + 1) % n, other)
    return np.where(groups[other] == groups, -1, other)


def round_trips(inputs: ProbeInputs) -> RoundTrips | None:
    """Encode and decode the stored sounds of at most ``MOST_CLIPS`` clips; None if there are none
    or the tokenizer is not there."""
    results, ids = inputs.models.results, inputs.chosen.clip_ids
    keys = sound_keys(results, ids)
    if keys is None or None in keys or "tokenize.audio" not in inputs.models:
        return None
    wanted = {ids[i]: int(i) for i in inputs.decoded_clips(MOST_CLIPS)}
    if not wanted:
        return None
    found = [p for s in SPLITS for p in list_clips(results, "audio", s)]
    picks = [pick for pick in found if pick.clip_id in wanted]
    codec = inputs.models.load("tokenize.audio")
    tagger = inputs.models.load("score.audio") if "score.audio" in inputs.models else None
    names, columns = _columns(tagger, inputs.classes)
    parts: list[tuple[np.ndarray, ...]] = []
    for chunk, pieces in _read(results.store, picks):
        rate = codec.sample_rate_hz
        sounds = windows.fit_length(windows.resample(pieces, rate), windows.window_samples(rate))
        decoded = windows.fit_length(codec.decode(codec.encode(sounds)), sounds.shape[1])
        tags = (
            _tags(tagger, columns, pieces, windows.SAMPLE_RATE_HZ),
            _tags(tagger, columns, decoded, rate),
        )
        parts.append((np.array([wanted[p.clip_id] for p in chunk]), sounds, decoded, *tags))
    clips, sounds, decoded, before, after = (
        np.concatenate([part[i] for part in parts]) for i in range(5)
    )
    return RoundTrips(clips, sounds, decoded, codec.sample_rate_hz, names, before, after)


def _read(store: Any, picks: Sequence[Pick]) -> Iterator[tuple[list[Pick], np.ndarray]]:
    """Some clips and their windows, float32 [n, samples] at 32 kHz."""
    for chunk in by_shard(picks):
        stored = opened(store, "clips", chunk[0].shard)
        flacs = stored.read([pick.key for pick in chunk], ["audio_flac"])
        pieces = [
            windows.cut(read_audio(flac), pick.selected["window_start_s"])
            for pick, flac in zip(chunk, flacs["audio_flac"].to_pylist(), strict=True)
        ]
        yield chunk, np.stack(pieces)


def _columns(
    tagger: Any, classes: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[str, ...], list[list[int]]]:
    """The classes that a tagger knows, and which of its labels are theirs."""
    if tagger is None:
        return (), []
    known = {n: SoundClass(audioset=tuple(c.get("audioset", ()))) for n, c in classes.items()}
    found = tagger_columns(known, tagger.labels)
    return tuple(found), list(found.values())


def _tags(
    tagger: Any, columns: Sequence[Sequence[int]], sounds: np.ndarray, rate_hz: int
) -> np.ndarray:
    """A class scores as high as its highest label: float32 [n, C]."""
    if not columns:
        return np.zeros((len(sounds), 0), np.float32)
    tags = tagger.tag(windows.resample(sounds, tagger.sample_rate_hz, rate_hz))
    return np.stack([tags[:, own].max(axis=1) for own in columns], axis=1)
