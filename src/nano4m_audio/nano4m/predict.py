"""Predict each image modality of a clip from all its other modalities."""

from __future__ import annotations

import numpy as np
import torch

from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.model import FourM, Tokens


@torch.inference_mode()
def predict_images(
    model: FourM, data: TokenData, clips: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every modality with keyframes: the ids of the middle one, and the most likely ids given
    all other modalities, in one parallel pass. int64 [clips, positions] each; no random number is
    drawn.
    """
    keyframes = np.full(len(clips), data.spread_keyframes(1)[0])
    rows, lengths = data.rows(clips, keyframes), data.lengths[clips]
    device = model.to_logits.weight.device
    out = {}
    for m, modality in enumerate(data.modalities):
        if data.arrays[m].shape[1] == 1:
            continue
        width = rows[m].shape[1]
        targets = np.where(np.arange(len(rows)) == m, lengths, 0)  # [clips, M]
        sides = (_whole(rows, lengths - targets), _whole(rows, targets))
        features = model(*(Tokens.of(side).to(device) for side in sides))
        scores = features @ model.to_logits.weight[: modality.vocab_size].T
        best = scores.argmax(dim=1).cpu().numpy().reshape(len(clips), width)
        out[modality.name] = rows[m].astype(np.int64), best
    return out


def _whole(rows: list[np.ndarray], lengths: np.ndarray) -> Packed:
    """The first ``lengths[:, m]`` tokens of every modality m, by sample, then modality."""
    widths = [row.shape[1] for row in rows]
    valid = np.concatenate(
        [np.arange(w) < lengths[:, m, None] for m, w in enumerate(widths)], axis=1
    )
    columns = np.nonzero(valid)[1]
    return Packed(
        tokens=np.concatenate(rows, axis=1)[valid].astype(np.int64),
        positions=np.concatenate([np.arange(w) for w in widths])[columns],
        modalities=np.repeat(np.arange(len(widths)), widths)[columns],
        lengths=valid.sum(axis=1),
    )
