"""What the encoder makes of one modality of a clip: its output, averaged over the positions.

One complete modality is the input, and nothing else. Pictures are encoded keyframe by keyframe, and
the keyframes of a clip averaged; of a training clip, which is one of many, the middle one is taken.
The same is made of a network that has learnt nothing, as a floor.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from nano4m_audio.evaluate.common import BATCH_SIZE, ProbeInputs
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import TokenData, whole
from nano4m_audio.nano4m.model import FourM

#: Added to the seed of the evaluation for the network that has learnt nothing.
_UNTRAINED = 7919
#: A dimension that varies less than this, relative to the size of the embeddings, is constant.
_CONSTANT = 1e-5


@dataclass(frozen=True)
class Features:
    """The training clips and the clips to evaluate, float32 [clips, D] each."""

    train: np.ndarray
    chosen: np.ndarray

    def standardised(self) -> Features:
        """Every dimension with mean 0 and deviation 1 over the training clips, or the others where
        a checkpoint came without them; constant dimensions 0."""
        known = self.train if len(self.train) else self.chosen
        mean, deviation = known.mean(axis=0), known.std(axis=0)
        varies = deviation > _CONSTANT * np.sqrt(np.square(known).mean() + 1e-30)
        scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
        return Features((self.train - mean) * scale, (self.chosen - mean) * scale)


Embeddings = Mapping[str, Mapping[str, Features]]
_made: list[tuple[weakref.ref[ProbeInputs], Embeddings]] = []


def embeddings(inputs: ProbeInputs) -> Embeddings:
    """What is encoded, once for all probes of a job: modality -> features, of the "trained" network
    after its final norm, from the "middle" of an encoder of two blocks or more, and of an
    "untrained" network with another seed."""
    for known, kept in _made:
        if known() is inputs:
            return kept
    untrained = FourM(inputs.model.config, inputs.seed + _UNTRAINED).eval()
    untrained = untrained.to(inputs.model.enc_tok_emb.weight.device)
    found: dict[str, dict[str, Features]] = {"trained": {}, "middle": {}, "untrained": {}}
    for m, modality in enumerate(inputs.settings.model.modalities):
        sets = clip_sets(inputs, m)
        middle, last = zip(*(pool(inputs, inputs.model, m, *one) for one in sets), strict=True)
        found["middle"][modality.name] = Features(*middle)
        found["trained"][modality.name] = Features(*last)
        blank = [pool(inputs, untrained, m, *one)[1] for one in sets]
        found["untrained"][modality.name] = Features(*blank)
    if inputs.model.config.encoder_depth < 2:
        del found["middle"]
    _made[:] = [(weakref.ref(inputs), found)]
    return found


def clip_sets(inputs: ProbeInputs, m: int) -> tuple[tuple[TokenData, np.ndarray], ...]:
    """The training clips and the clips to evaluate, each with the rows of modality ``m`` that are
    looked at: of pictures the middle keyframe, and those of the probes; int64 [rows]."""
    frames = inputs.keyframe_numbers() if inputs.data.arrays[m].shape[1] > 1 else np.zeros(1, int)
    return (inputs.train.data, frames[len(frames) // 2 :][:1]), (inputs.data, frames)


@torch.inference_mode()
def pool(
    inputs: ProbeInputs, model: FourM, m: int, data: TokenData, frames: np.ndarray
) -> np.ndarray:
    """Modality ``m`` half-way up the encoder and after its final norm, averaged over positions and
    keyframes: float32 [2, clips, D]."""
    out = np.zeros((2, len(data), model.config.dim), np.float32)
    half: list[torch.Tensor] = []
    block = model.encoder.blocks[(model.config.encoder_depth - 1) // 2]
    hook = block.register_forward_hook(lambda _block, _given, output: half.append(output))
    for start in range(0, len(data), BATCH_SIZE):
        clips = np.arange(start, min(start + BATCH_SIZE, len(data)))
        for frame in frames:
            rows = np.asarray(data.arrays[m][clips, int(frame)])
            seen = inputs.tokens(whole(m, rows, data.lengths[clips, m]))
            last = model.encode(seen)
            for layer, states in enumerate((half.pop(), last)):
                out[layer, clips] += _means(states, seen).cpu().numpy() / len(frames)
    hook.remove()
    return out


def _means(states: torch.Tensor, seen: Tokens) -> torch.Tensor:
    """The mean of the states of each sample: float32 [batch, D]."""
    lengths = torch.tensor(seen.lengths, device=states.device)
    sample = torch.repeat_interleave(torch.arange(len(lengths), device=states.device), lengths)
    sums = states.new_zeros((len(lengths), states.shape[1])).index_add_(0, sample, states)
    return (sums / lengths[:, None]).float()
