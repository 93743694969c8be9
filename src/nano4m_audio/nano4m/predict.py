"""Predict each image modality of a clip from all its other modalities."""

from __future__ import annotations

import numpy as np
import torch

from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.masking import INPUT, TARGET, UNUSED, pack
from nano4m_audio.nano4m.model import FourM, Tokens


@torch.inference_mode()
def predict_images(
    model: FourM, data: TokenData, clips: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every modality with keyframes: the ids of the middle one, and the most likely ids given
    all other modalities, in one pass, without random numbers. int64 [clips, positions] each."""
    keyframes = np.full(len(clips), data.spread_keyframes(1)[0])
    rows, lengths = data.rows(clips, keyframes), data.lengths[clips]
    valid = [np.arange(row.shape[1]) < lengths[:, m, None] for m, row in enumerate(rows)]
    device = model.to_logits.weight.device
    out = {}
    for m, modality in enumerate(data.modalities):
        if data.arrays[m].shape[1] == 1:
            continue
        width = rows[m].shape[1]
        roles = [np.where(v, TARGET if k == m else INPUT, UNUSED) for k, v in enumerate(valid)]
        sides = pack(np.concatenate(roles, axis=1), rows)
        features = model(*(Tokens.of(side).to(device) for side in sides))
        scores = features @ model.to_logits.weight[: modality.vocab_size].T
        best = scores.argmax(dim=1).cpu().numpy().reshape(len(clips), width)
        out[modality.name] = rows[m].astype(np.int64), best
    return out
