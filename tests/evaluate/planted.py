"""Small worlds in which it is known what one modality says of another, and a model that knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from nano4m_audio.evaluate.common import ProbeInputs
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import Modality, ModelConfig, TrainSettings

#: Ids of pictures 0..15, of sound 0..31 in two codebooks, of captions with [SOS] 38 and [EOS] 39.
MODALITIES = (Modality("rgb", 16, 6), Modality("audio", 32, 8, 2), Modality("caption", 40, 8))
SIZE = ModelConfig(
    modalities=MODALITIES, dim=32, encoder_depth=1, decoder_depth=1, head_dim=16, init="scaled"
)
SOS, EOS = 38, 39


class Oracle(nn.Module):
    """Believes what the first token of the sound says of the picture: log odds ``trust`` for id
    ``says[token]`` at every position; without sound, and of other modalities, it knows nothing."""

    def __init__(self, says: np.ndarray, trust: float) -> None:
        super().__init__()
        self.config, self.says, self.trust = SIZE, torch.from_numpy(says), trust
        ids = SIZE.vocab_size
        self.enc_tok_emb = nn.Embedding(1, 1)
        self.to_logits = nn.Linear(ids, ids, bias=False)
        with torch.no_grad():
            self.to_logits.weight.copy_(torch.eye(ids))

    def encode(self, inputs: Any) -> torch.Tensor:
        """[inputs, 1]: one more than what a first token of sound says, and 0."""
        first = (inputs.modalities == 1) & (inputs.positions == 0)
        said = self.says[inputs.tokens.clamp(max=len(self.says) - 1)] + 1
        return (said * first).float()[:, None]

    def decode(self, encoded: torch.Tensor, inputs: Any, targets: Any) -> torch.Tensor:
        said = torch.stack([part.max() for part in encoded[:, 0].split(inputs.lengths)]).long()
        said = said.repeat_interleave(torch.tensor(targets.lengths))
        logits = torch.zeros(len(said), self.config.vocab_size)
        heard = (said > 0) & (targets.modalities == 0)
        logits[heard, said[heard] - 1] = self.trust
        return logits

    def forward(self, inputs: Any, targets: Any) -> torch.Tensor:
        return self.decode(self.encode(inputs), inputs, targets)


def probe_inputs(
    model: nn.Module | FourM,
    data: TokenData,
    classes: list[str],
    groups: np.ndarray | None = None,
    clip_ids: list[str] | None = None,
    train: Any = None,
    **settings: Any,
) -> ProbeInputs:
    """What a probe gets of these clips, which are also the training clips unless some are given."""
    groups = np.arange(len(data)) if groups is None else groups
    ids = clip_ids or [f"clip{i}" for i in range(len(data))]
    chosen: Any = SimpleNamespace(data=data, classes=classes, clip_ids=ids)
    learnt = train or chosen
    train_groups = groups if train is None else np.arange(len(learnt.data))
    some: Any = model
    none: Any = None
    return ProbeInputs(
        some, TrainSettings(model=SIZE, **settings), learnt, chosen, train_groups, groups,
        bootstrap=200, confidence=0.95, keyframes=1, seed=0, decoded=64, models=none, classes={},
    )  # fmt: skip


def world(kind: str, n: int = 48, classes: int = 4, seed: int = 0) -> tuple[TokenData, np.ndarray]:
    """Clips whose first token of sound decides all ids of the picture, and their classes int64 [n].

    ``class``: all clips of a class have the same two. ``instance``: each clip has a sound of its
    own, and a picture that no other clip of any class needs to share. ``nothing``: the picture is
    the same whatever the sound. Everything else is noise; the caption names the class.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    audio, rgb = rng.integers(0, 32, (n, 1, 8)), np.zeros((n, 1, 6), np.int64)
    if kind != "nothing":
        # The first two picture ids of an instance are drawn from 16, whatever its class.
        said = labels if kind == "class" else (np.arange(n) // classes + 5 * labels) % 16
        audio[:, 0, 0], rgb[:] = said, said[:, None, None]
    captions = [[SOS, 1 + int(c), EOS] for c in labels]
    return TokenData(MODALITIES, {"rgb": rgb, "audio": audio}, captions), labels
