"""Tokens of depth, normals and other labels predicted from the RGB tokens of the same keyframe."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.baselines import position_counts
from nano4m_audio.evaluate.common import ACCURACY, BATCH_SIZE, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.decoded import decoded_metrics
from nano4m_audio.modalities import LABELS
from nano4m_audio.nano4m.data import whole
from nano4m_audio.nano4m.objective import own_table


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``rgb_to_<target>`` and ``rgb_to_<target>_position_mode`` for every label of the run,
    and those of its decoded maps (see decoded.py).

    One parallel pass: the whole RGB sequence is the only input and every position of the target
    modality is asked for at once. The value is the share of positions whose most likely id is the
    true one; the second row always guesses the position's most frequent training id.
    """
    metrics: list[dict[str, Any]] = []
    for name in (label for label in LABELS if label in inputs.names):
        m = inputs.modality(name)
        true = inputs.data.arrays[m][:, inputs.keyframe_numbers()].astype(np.int64)
        train = inputs.train.data
        mode = position_counts(train, m, np.arange(len(train))).argmax(axis=1)
        chance = 1 / inputs.settings.model.modalities[m].vocab_size
        size = f"{true.shape[1]} keyframes per clip, {true.shape[2]} positions each"
        guess = predict(inputs, m)
        measured = _hits(f"rgb_to_{name}", guess, true, f"{size}, one pass")
        note = "the most frequent training token of each position, whatever the picture"
        baseline = _hits(f"rgb_to_{name}_position_mode", mode, true, note)
        metrics += [
            metric(measured, inputs, unit=ACCURACY, chance=chance, baseline=baseline),
            metric(baseline, inputs, unit=ACCURACY, chance=chance),
            *decoded_metrics(inputs, name, guess, mode),
        ]
    return {"metrics": metrics, "keyframes": inputs.keyframe_numbers().tolist()}


def _hits(name: str, guess: np.ndarray, true: np.ndarray, note: str) -> Measured:
    hits = (guess == true).sum(axis=(1, 2))
    return Measured(name, hits, np.full(len(true), true[0].size), note)


@torch.inference_mode()
def predict(inputs: ProbeInputs, m: int) -> np.ndarray:
    """The most likely id of modality ``m`` given RGB, int64 [clips, keyframes, positions]."""
    rgb = inputs.modality("rgb")
    frames = inputs.keyframe_numbers()
    images = inputs.data.arrays[rgb][:, frames].reshape(len(inputs.data) * len(frames), -1)
    width = inputs.data.arrays[m].shape[2]
    table = own_table(inputs.model, m)
    out = []
    for start in range(0, len(images), BATCH_SIZE):
        part = images[start : start + BATCH_SIZE]
        seen = inputs.tokens(whole(rgb, part, np.full(len(part), part.shape[1])))
        asked = np.zeros((len(part), width), np.int64)
        features = inputs.model(seen, inputs.tokens(whole(m, asked, np.full(len(part), width))))
        out.append((features @ table.T).argmax(dim=1).cpu().numpy().reshape(len(part), width))
    return np.concatenate(out).reshape(len(inputs.data), len(frames), width)
