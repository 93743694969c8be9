"""Weight files of the mini family, and the one way its networks are run.

Every public result must be the same to the last bit however the caller batched its items, because
shards resume in different pieces and published tokens are compared byte for byte. Vectorised
kernels may sum in another order for another batch size or row, so networks see exactly one item at
a time; at these sizes a convolution gains next to nothing from a batch (about 10 % on one core).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.mini.layers import fold_norms
from nano4m_audio.errors import UserError
from nano4m_audio.files import sha256, write_bytes

WEIGHTS = Path(__file__).parent / "weights"


def save_weights(net: nn.Module, path: Path, notes: dict[str, Any]) -> None:
    """Write a folded network as fp16 safetensors with ``notes`` (JSON values) in its header."""
    from safetensors.torch import save

    tensors = {k: v.detach().to(torch.float16).contiguous() for k, v in net.state_dict().items()}
    write_bytes(path, save(tensors, metadata={"notes": json.dumps(notes, sort_keys=True)}))


def read_notes(path: Path) -> dict[str, Any]:
    """The notes stored by ``save_weights``."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["notes"])
    except FileNotFoundError:
        raise UserError(
            f"{path}: weights missing; restore the file or train it with `snakemake --cores 2 mini`"
        ) from None


def load_net(net: nn.Module, path: Path) -> nn.Module:
    """Fold ``net``, fill it from ``path`` as float32, freeze it. UserError for another network."""
    from safetensors.torch import load_file

    fold_norms(net)
    try:
        net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except RuntimeError as error:
        raise UserError(f"{path}: weights of another network: {error}") from None
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.requires_grad_(False)


def run_each(
    function: Callable[[torch.Tensor], torch.Tensor], items: np.ndarray, threads: int
) -> np.ndarray:
    """Apply ``function`` to each item alone, as a [1, ...] tensor; stack the results on axis 0.

    ``items`` must not be empty: the shape of a result is known only after one item has run.
    """
    if len(items) == 0:
        raise ValueError("no items to run")
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    rows = []
    with torch.inference_mode():
        for item in items:
            # A fresh tensor: results of BLAS can depend on alignment, which numpy views do not
            # guarantee.
            rows.append(function(torch.tensor(item).unsqueeze(0))[0].float().numpy())
    return np.stack(rows)


def as_image(rgb: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in -1..1."""
    return rgb.permute(0, 3, 1, 2).float() / 127.5 - 1


class MiniBackend:
    """What every mini backend has: a weight file with its hash, and a fixed thread count.

    Subclasses set ``member`` (the stem of the weight file) and ``network``, or build that in
    ``build_net`` from the notes in the file.
    """

    member: str
    network: type[nn.Module]

    def __init__(self, compute: Compute, folder: Path) -> None:
        path = folder / f"{self.member}.safetensors"
        self.notes = read_notes(path)
        self.net = load_net(self.build_net(self.notes), path)
        self.weights_sha256 = sha256(path)
        self.threads = compute.threads

    @classmethod
    def load(cls, compute: Compute = Compute(), folder: Path = WEIGHTS) -> Self:
        """Load from ``folder`` (default: the committed weights), to run on CPU threads."""
        return cls(compute, folder)

    @classmethod
    def build_net(cls, notes: dict[str, Any]) -> nn.Module:
        """The network that the notes of a weight file describe, not yet filled."""
        return cls.network()
