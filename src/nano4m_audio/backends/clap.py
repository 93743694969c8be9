"""LAION CLAP (Wu et al. 2023, arXiv 2211.06687) behind the AudioEmbedder Protocol.

The audio tower of laion/clap-htsat-unfused in the network of transformers, with the log-mel
spectrogram of its feature extractor computed for a whole batch at once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention

from nano4m_audio.backends.batching import per_device, place, run_batched
from nano4m_audio.backends.checkpoints import read_torch
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.hugging_face import from_tensors
from nano4m_audio.backends.log_mel import N_FFT, LogMel

if TYPE_CHECKING:
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection
    from transformers.models.clap.modeling_clap import ClapAudioSelfAttention

CHECKPOINT = "pytorch_model.bin"
SAMPLE_RATE_HZ = 48_000
_HOP = 480
_HEARD_SAMPLES = 10 * SAMPLE_RATE_HZ
_TOWER = ("audio_model.", "audio_projection.")


def architecture() -> ClapAudioConfig:
    """HTSAT-tiny without feature fusion, embeddings of 512 dimensions."""
    from transformers import ClapAudioConfig

    return ClapAudioConfig(enable_fusion=False, projection_dim=512)


def mel_filters() -> torch.Tensor:
    """float32 [513, 64]: 50 Hz to 14 kHz on Slaney's scale with equal areas."""
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(
        N_FFT // 2 + 1, 50.0, 14_000.0, 64, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
    )


def fuse_attention(net: nn.Module) -> None:
    """Put WindowAttention in the place of every plain window attention."""
    from transformers.models.clap.modeling_clap import ClapAudioSelfAttention

    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, ClapAudioSelfAttention):
                setattr(module, name, WindowAttention(child))


class WindowAttention(nn.Module):
    """The windowed attention of transformers' ``ClapAudioSelfAttention`` as one fused kernel, its
    bias of relative positions looked up once and not in every call. Inference only."""

    def __init__(self, plain: ClapAudioSelfAttention) -> None:
        super().__init__()
        parts = plain.query, plain.key, plain.value
        self.weight = nn.Parameter(torch.cat([part.weight for part in parts]))
        self.bias = nn.Parameter(torch.cat([part.bias for part in parts]))
        tokens = len(plain.relative_position_index)
        biases = plain.relative_position_bias_table[plain.relative_position_index.view(-1)]
        self.by_place = nn.Parameter(biases.view(tokens, tokens, -1).permute(2, 0, 1).contiguous())

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: object
    ) -> tuple[torch.Tensor]:
        """[windows, tokens, dim] -> the same; the mask is [windows of a sample, tokens, tokens]."""
        windows, tokens, dim = hidden_states.shape
        heads = len(self.by_place)
        added = self.by_place.unsqueeze(0)
        if attention_mask is not None:
            added = (added + attention_mask.unsqueeze(1)).repeat(
                windows // len(attention_mask), 1, 1, 1
            )
        qkv = linear(hidden_states, self.weight, self.bias)
        q, k, v = qkv.view(windows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        out = scaled_dot_product_attention(q, k, v, added.expand(windows, -1, -1, -1))
        return (out.transpose(1, 2).reshape(windows, tokens, dim),)


class ClapAudio:
    """AudioEmbedder of up to 10 s; a shorter waveform is repeated as often as it fits whole.

    Always runs in float32, as a measuring instrument should.
    """

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(
        self, log_mel: LogMel, net: ClapAudioModelWithProjection, compute: Compute
    ) -> None:
        self._log_mel, self._net, self._compute = log_mel, net, compute

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> ClapAudio:
        """Read the published checkpoint in ``folder``. Raises UserError if it is another file."""
        from transformers import ClapAudioModelWithProjection

        path = folder / CHECKPOINT
        tensors = {k: v for k, v in read_torch(path).items() if k.startswith(_TOWER)}
        net = from_tensors(ClapAudioModelWithProjection, architecture(), tensors, path)
        fuse_attention(net)
        compute = replace(compute, dtype="float32")
        return cls(place(LogMel(mel_filters(), _HOP), compute), place(net, compute), compute)

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] at 48 kHz in -1..1, at most 10 s -> float32 [B, 512] unit rows.
        Raises ValueError for longer waveforms."""
        samples = waveforms.shape[1]
        if samples > _HEARD_SAMPLES:
            raise ValueError(f"{samples} samples are more than the 10 s that CLAP hears")
        repeats = _HEARD_SAMPLES // samples

        def embed(batch: torch.Tensor) -> torch.Tensor:
            heard = batch.repeat(1, repeats)
            heard = torch.nn.functional.pad(heard, (0, _HEARD_SAMPLES - heard.shape[1]))
            rows = self._net(self._log_mel(heard).unsqueeze(1)).audio_embeds
            return torch.nn.functional.normalize(rows, dim=1)

        batch_size = per_device(self._compute, cpu=2, accelerator=64)
        return run_batched(embed, waveforms, batch_size, self._compute)
