"""NVIDIA's Cosmos tokenizer DI16x16 (64,000 codes) behind the ImageTokenizer Protocol: the paper's
first choice for RGB, before 4M.

It is published as TorchScript only. Such an archive is a program: torch runs it without Python, but
it may do whatever torch's operators can. So it is loaded only if its hash was pinned by a person
(``sha256`` in the weights list, not one that was merely seen first), and the bytes that are hashed
are the bytes that are loaded. The network itself is not rebuilt here: the published files, which
could settle it, were not at hand.

A token is the number of a code of finite scalar quantisation with the levels 8, 8, 8, 5, 5, 5, the
first level being the last digit, as in ``mini.fsq.Fsq``.
"""

from __future__ import annotations

import hashlib
import io
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nano4m_audio.backends import weights
from nano4m_audio.backends.batching import per_device, run_batched, torch_device
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.images import check_shape
from nano4m_audio.errors import UserError

LEVELS = (8, 8, 8, 5, 5, 5)
WEIGHTS_ID = "cosmos_di16x16"
GRID, IMAGE_PX = 14, 224
#: TorchScript rewrites a program after it has seen it run, and then rounds otherwise.
_UNOPTIMISED = partial(torch.jit.optimized_execution, False)


class CosmosTokenizer:
    """ImageTokenizer of colour pictures. It runs in the floating-point type that it was saved in,
    bfloat16 for the published files."""

    vocab_size = math.prod(LEVELS)
    n_tokens = GRID * GRID
    channels = 3

    def __init__(self, encoder: Any, decoder: Any, compute: Compute) -> None:
        self.encoder, self.decoder, self.compute = encoder, decoder, compute
        self._dtype = next(encoder.parameters()).dtype

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> CosmosTokenizer:
        """Load ``encoder.jit`` and ``decoder.jit``. UserError when one is not pinned, not the
        pinned one, or not TorchScript."""
        pinned = {file.name: file.sha256 for file in weights.get_weights(WEIGHTS_ID).files}
        encoder, decoder = (
            load_pinned(folder / name, pinned[name], torch_device(compute))
            for name in ("encoder.jit", "decoder.jit")
        )
        return cls(encoder, decoder, compute)

    def tokenize(self, images: np.ndarray) -> np.ndarray:
        """float32 [B, 3, 224, 224] in -1..1 -> int32 [B, 196], row by row.

        UserError if the archive gives another grid or other ids.
        """

        def encode(batch: torch.Tensor) -> torch.Tensor:
            with _UNOPTIMISED():
                return self.encoder(batch.to(self._dtype))[0].long().flatten(1)

        check_shape(images, (self.channels, IMAGE_PX, IMAGE_PX), WEIGHTS_ID)
        batch_size = per_device(self.compute, 8, 32)
        tokens = run_batched(encode, images, batch_size, self.compute).astype(np.int32)
        if tokens.shape[1] != self.n_tokens:
            raise UserError(
                f"{WEIGHTS_ID}: the archive makes {tokens.shape[1]} tokens of a picture, and the "
                f"token tables hold {self.n_tokens}: these are the files of another tokenizer"
            )
        self._check_ids(tokens)
        return tokens

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Integer [B, 196] -> float32 [B, 3, 224, 224] in -1..1."""
        tokens = np.asarray(tokens, np.int32)
        check_shape(tokens, (self.n_tokens,), WEIGHTS_ID)
        self._check_ids(tokens)

        def decode(batch: torch.Tensor) -> torch.Tensor:
            with _UNOPTIMISED():
                return self.decoder(batch.view(-1, GRID, GRID)).clamp(-1, 1)

        return run_batched(decode, tokens, per_device(self.compute, 8, 32), self.compute)

    def _check_ids(self, tokens: np.ndarray) -> None:
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise UserError(f"{WEIGHTS_ID}: token ids must lie in 0..{self.vocab_size - 1}")


def load_pinned(path: Path, sha256: str | None, device: torch.device) -> Any:
    """Load a TorchScript archive whose hash is ``sha256``; see the module for why. UserError when
    there is no hash, the file has another one, or it is not TorchScript."""
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 is None:
        raise UserError(
            f"{path} is a program (TorchScript) and nobody has pinned it: if you trust it, give "
            f"sha256: {found} to {path.name} of {WEIGHTS_ID} in {weights.cache_dir()}/weights.yaml"
        )
    if found != sha256:
        raise UserError(f"{path} is refused: its SHA-256 is {found}, not the pinned {sha256}")
    try:
        return torch.jit.load(io.BytesIO(data), map_location=device).eval()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a TorchScript archive ({reason})") from None
