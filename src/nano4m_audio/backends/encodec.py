"""EnCodec 24 kHz (Defossez et al. 2022, arXiv 2210.13438) behind the AudioTokenizer Protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encodec import EncodecModel
from encodec.modules import SLSTM, SConv1d
from torch import nn
from torch.nn.utils import remove_weight_norm

from nano4m_audio.backends.batching import fill, per_device, place, run_batched
from nano4m_audio.backends.checkpoints import read_torch
from nano4m_audio.backends.compute import Compute

CHECKPOINT = "encodec_24khz-d7cc33bc.th"
_BANDWIDTH_KBPS = 1.5
_FRAME = 320


class CausalConv(nn.Module):
    """A causal convolution of the package, without its weight norm and its padding.

    The mirrored start is put together from slices: the same numbers as reflection_pad1d, which
    takes a seventh of the package's encoder on a CPU. There must be more steps than are mirrored.
    """

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.conv = remove_weight_norm(conv)
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        self.mirrored = (kernel - 1) * dilation - (stride - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mirrored:
            x = torch.cat([x[..., 1 : self.mirrored + 1].flip(-1), x], dim=-1)
        return self.conv(x)


def simplify(encoder: nn.Module) -> None:
    """Replace the convolutions of an EnCodec encoder, in place."""
    for module in list(encoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, SConv1d):
                setattr(module, name, CausalConv(child.conv.conv))


class Encodec24kHz:
    """AudioTokenizer at 1.5 kbit/s: two codebooks of 1,024 entries, 75 frames per second.

    The encoder is causal: the codes of a frame depend on nothing after its end, so the first T
    frames of a long window are the codes of its first 320 T samples. It always runs in float32: a
    code is the nearest of 1,024 entries, and rounding would change many of them.
    """

    sample_rate_hz = 24_000
    n_codebooks = 2
    codebook_size = 1024

    def __init__(self, net: Any, compute: Compute) -> None:
        self._net, self._compute = net, compute
        layers = net.encoder.model
        lstm = next(i for i, layer in enumerate(layers) if isinstance(layer, SLSTM))
        self._front, self._back = layers[:lstm], layers[lstm:]

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> Encodec24kHz:
        """Read the published checkpoint in ``folder``. Raises UserError if it is another file."""
        path = folder / CHECKPOINT
        net = fill(EncodecModel.encodec_model_24khz(pretrained=False), read_torch(path), path)
        net.set_target_bandwidth(_BANDWIDTH_KBPS)
        simplify(net.encoder)
        compute = replace(compute, dtype="float32")
        return cls(place(net, compute), compute)

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, 320 T] at 24 kHz in -1..1 -> int32 [B, 2, T]; [B, 2, 256] of 81,920 samples.

        Raises ValueError for a length that is not a whole number of frames, at least 7.
        """
        frames, rest = divmod(waveforms.shape[1], _FRAME)
        if rest or frames < 7:
            raise ValueError(f"{waveforms.shape[1]} samples are not 7 or more whole frames of 320")
        # On a CPU the convolutions fill the caches with one row, but the LSTM, step by step, is
        # waiting for its weights: it takes several rows in the time of one.
        rows = per_device(self._compute, cpu=1, accelerator=64)

        def codes(batch: torch.Tensor) -> torch.Tensor:
            parts = batch.unsqueeze(1).split(rows)
            latents = self._back(torch.cat([self._front(part) for part in parts]))
            quantizer = self._net.quantizer
            found = quantizer.encode(latents, self._net.frame_rate, self._net.bandwidth)
            return found.transpose(0, 1).int()

        batch_size = per_device(self._compute, cpu=8, accelerator=64)
        return run_batched(codes, waveforms, batch_size, self._compute)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int [B, 2, T] -> float32 [B, 320 T] in about -1..1."""
        return run_batched(
            lambda batch: self._net.decode([(batch, None)]).squeeze(1),
            np.asarray(codes, np.int64),
            per_device(self._compute, cpu=1, accelerator=64),
            self._compute,
        )
