"""Predicted tokens of depth and normals as maps, beside the maps that they should be.

Decoded with the tokenizer that the tokens are from. The truth is the stored map as the tokenizer
saw it, where the results folder has it; otherwise the decoded true tokens stand for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from nano4m_audio.evaluate.beside import map_keys
from nano4m_audio.evaluate.common import Measured, ProbeInputs, metric
from nano4m_audio.modalities import KEYFRAMES, LABELS, MODALITIES
from nano4m_audio.tokenize.keyframes import Pick, by_shard, list_clips, read_maps
from nano4m_audio.training.token_sets import SPLITS

#: So many clips are decoded at most, evenly spread: published decoders are slow.
MOST_CLIPS = 64
#: Maps decoded at once.
_BATCH = 16

#: The number of a clip, and its maps float32 [K, C, H, W] where they are known.
Maps = Iterable[tuple[int, np.ndarray | None]]


def depth_errors(maps: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Absolute relative error of relative inverse depth: float [N, 1, H, W] twice -> [N].

    Relative depth has neither unit nor zero: ``true`` is scaled to 0..1 (its own least and greatest
    value), and ``maps`` get the scale >= 0 and the shift of least squares against it, so a map that
    is upside down is worth no more than a flat one. The error is the sum of absolute differences by
    the sum of the true map; pixel by pixel it would be divided by 0 where the scene is farthest.
    NaN for a flat true map, of which there is nothing to know.
    """
    x, y = (m.reshape(len(m), -1).astype(np.float64) for m in (maps, true))
    low, high = y.min(axis=1, keepdims=True), y.max(axis=1, keepdims=True)
    flat = (high <= low)[:, 0]
    y = (y - low) / np.where(high > low, high - low, 1)
    x, centre = x - x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    power = (x * x).sum(axis=1, keepdims=True)
    scale = np.maximum((x * (y - centre)).sum(axis=1, keepdims=True), 0)
    scale = np.divide(scale, power, out=np.zeros_like(scale), where=power > 0)
    errors = abs(scale * x + centre - y).sum(axis=1)
    return np.where(flat, np.nan, errors / np.where(flat, 1, y.sum(axis=1)))


def angular_errors(maps: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean angle in degrees between normals, both scaled to unit length: [N, 3, H, W] twice -> [N].

    A vector of length 0 points nowhere, and is 90 degrees from everything."""
    x, y = (m.astype(np.float64) for m in (maps, true))
    dot = "nchw,nchw->nhw"
    lengths = [np.sqrt(np.einsum(dot, v, v)).clip(1e-12) for v in (x, y)]
    cosine = np.einsum(dot, x, y) / lengths[0] / lengths[1]
    return np.degrees(np.arccos(cosine.clip(-1, 1))).mean(axis=(1, 2))


@dataclass(frozen=True)
class Measure:
    """How maps of one form are compared: the error, its unit, and what it is called in titles, in
    names of metrics (``suffix``) and at length (``words``)."""

    title: str
    suffix: str
    unit: str
    errors: Callable[[np.ndarray, np.ndarray], np.ndarray]
    words: str


#: ModalitySpec.form -> its measure.
MEASURES = MappingProxyType(
    {
        "depth": Measure(
            "absolute relative error",
            "abs_rel",
            "abs-rel",
            depth_errors,
            "sum of absolute errors by sum of true relative inverse depth (each map 0..1), after "
            "the best scale and shift",
        ),
        "normals": Measure(
            "angular error",
            "angle",
            "degrees",
            angular_errors,
            "mean angle between predicted and true normals",
        ),
    }
)


def decoded_metrics(
    inputs: ProbeInputs, name: str, guess: np.ndarray, mode: np.ndarray
) -> list[dict[str, Any]]:
    """How far the maps of ``guess``, of the round trip and of ``mode`` are from the true ones.

    ``guess`` int64 [clips, keyframes, positions] are predicted ids, ``mode`` [positions] the most
    frequent ones. Metrics ``rgb_to_<name>_<error>``, ``.._round_trip`` (the ceiling: the true
    tokens; not where these stand for the truth) and ``.._position_mode`` (the baseline). None where
    the tokenizer is not there or has other ids.
    """
    m, key = inputs.modality(name), f"tokenize.{name}"
    measure = MEASURES.get(MODALITIES[name].form)
    if measure is None or key not in inputs.models:
        return []
    clips = inputs.decoded_clips(MOST_CLIPS)
    if not len(clips):
        return []
    tokenizer = inputs.models.load(key)
    if tokenizer.vocab_size != inputs.settings.model.modalities[m].vocab_size:
        return []
    frames = inputs.keyframe_numbers()
    true = inputs.data.arrays[m][:, frames].astype(np.int64)
    flat = _decode(tokenizer, mode[None])
    stored = _stored_maps(inputs, name, clips, frames)
    errors = np.zeros((3, len(true)))
    counts = np.zeros(len(true), np.int64)
    without: Maps = ((int(clip), None) for clip in clips)
    for clip, maps in stored or without:
        round_trip = _decode(tokenizer, true[clip])
        target = round_trip if maps is None else maps
        made = (_decode(tokenizer, guess[clip]), round_trip, np.repeat(flat, len(frames), axis=0))
        found = np.stack([measure.errors(one, target) for one in made])
        errors[:, clip] = np.nansum(found, axis=1)
        counts[clip] = (~np.isnan(found[0])).sum()
    truth = "against the stored map" if stored else "against the decoded true tokens"
    return _rows(inputs, name, measure, errors, counts, truth)


def _rows(
    inputs: ProbeInputs,
    target: str,
    measure: Measure,
    errors: np.ndarray,
    counts: np.ndarray,
    truth: str,
) -> list[dict[str, Any]]:
    """Metrics of sums of errors [3, clips]: predicted, round trip, mode."""
    name = f"rgb_to_{target}_{measure.suffix}"
    if not counts.any():
        return []
    clips = (counts > 0).sum()
    note = f"{measure.words}, {truth}; {clips:,} clips, less is better"
    own = Measured(name, errors[0], counts, note)
    ceiling = Measured(f"{name}_round_trip", errors[1], counts, "the ceiling: the true tokens")
    mode = Measured(f"{name}_position_mode", errors[2], counts, "the map of the most frequent ids")
    title = f"{MODALITIES[target].title} maps from RGB, {measure.title}"
    rows = [{"title": title, **metric(own, inputs, unit=measure.unit, chance=None, baseline=mode)}]
    if truth.endswith("map"):
        rows[0]["ceiling"] = {"name": ceiling.name, "value": ceiling.value}
        title = f"{MODALITIES[target].title} maps, round trip of the tokenizer"
        rows.append({"title": title, **metric(ceiling, inputs, unit=measure.unit, chance=None)})
    return [*rows, metric(mode, inputs, unit=measure.unit, chance=None)]


def _decode(tokenizer: Any, ids: np.ndarray) -> np.ndarray:
    """float32 [N, C, H, W] of ids [N, positions]."""
    parts = [tokenizer.decode(ids[i : i + _BATCH]) for i in range(0, len(ids), _BATCH)]
    return np.concatenate(parts)


def _stored_maps(
    inputs: ProbeInputs, name: str, clips: np.ndarray, frames: np.ndarray
) -> Maps | None:
    """The number of each of these clips and its maps at ``frames``, as the tokenizer saw them;
    None where the results folder has not all of them."""
    results, ids = inputs.models.results, [inputs.chosen.clip_ids[i] for i in clips]
    keys = map_keys(results, ids)
    if keys is None or None in keys[LABELS.index(name)] or inputs.data.n_keyframes != KEYFRAMES:
        return None
    known = dict(zip(ids, clips.tolist(), strict=True))
    picks: list[Pick] = [
        replace(pick, keyframes=tuple(frames.tolist()))
        for split in SPLITS
        for pick in list_clips(results, name, split)
        if pick.clip_id in known
    ]
    return (
        (known[pick.clip_id], maps)
        for chunk in by_shard(picks)
        for pick, maps in zip(chunk, read_maps(results.store, name, chunk), strict=True)
    )
