"""The one way a pretrained torch network is placed on a device and run over many items.

Every row must be the same to the last bit however its shard was cut, resumed or batched, because
published tokens are compared byte for byte. Vectorised kernels may sum in another order for another
batch size, so a network only ever sees batches of one shape: the last one is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.compute import Compute
from nano4m_audio.errors import UserError

Net = TypeVar("Net", bound=nn.Module)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def torch_dtype(compute: Compute) -> torch.dtype:
    """The floating-point type of networks. Raises UserError for any other than float32, bfloat16
    and float16."""
    if compute.dtype not in _DTYPES:
        raise UserError(f"dtype {compute.dtype!r} is unknown (known: {', '.join(_DTYPES)})")
    return _DTYPES[compute.dtype]


def torch_device(compute: Compute) -> torch.device:
    """The device of networks. Raises UserError if this machine or this torch has no such device."""
    try:
        device = torch.device(compute.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {compute.device!r} cannot be used here ({reason})") from None
    return device


def fill(net: Net, tensors: Mapping[str, torch.Tensor], path: Path) -> Net:
    """Give the tensors of the checkpoint ``path`` to ``net``, which may be on the meta device.
    Raises UserError if one is missing, left over or of another shape."""
    try:
        net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} holds the weights of another network: {reason}") from None
    return net


def place(net: Net, compute: Compute) -> Net:
    """Freeze a loaded network for inference on the device and in the dtype of ``compute``."""
    net.eval().requires_grad_(False)
    return net.to(torch_device(compute), torch_dtype(compute))


def per_device(compute: Compute, cpu: int, accelerator: int) -> int:
    """The batch size for the device of ``compute``: a CPU wants activations that fit its caches, an
    accelerator wants many rows."""
    return cpu if compute.device == "cpu" else accelerator


def run_batched(
    function: Callable[[torch.Tensor], torch.Tensor],
    items: np.ndarray,
    batch_size: int,
    compute: Compute,
) -> np.ndarray:
    """Apply ``function`` to ``items`` [N, ...] in batches and return its rows, [N, ...], in order.

    ``function`` gets tensors [batch_size, ...] of the items' dtype on the device of ``compute`` and
    gives one row per item; floating-point results come back as float32. At most two batches are on
    the device at a time: one that is computed, while the results of the one before are fetched.
    Raises ValueError without items, as the shape of a result is then unknown.
    """
    if len(items) == 0:
        raise ValueError("no items to run")
    if torch.get_num_threads() != compute.threads:
        torch.set_num_threads(compute.threads)
    device = torch.device(compute.device)
    fetched, pending = [], None
    # Reduced-precision (TF32) and autotuned kernels are faster, but not the same from run to run.
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        for start in range(0, len(items), batch_size):
            rows = items[start : start + batch_size]
            result = function(_on_device(rows, batch_size, device))[: len(rows)]
            if pending is not None:
                fetched.append(_fetch(pending))
            pending = result
        assert pending is not None
        fetched.append(_fetch(pending))
    return np.concatenate(fetched)


def _on_device(rows: np.ndarray, batch_size: int, device: torch.device) -> torch.Tensor:
    """``rows`` as a tensor of ``batch_size`` rows, the missing ones zero."""
    # A fresh tensor: results of BLAS can depend on alignment, which numpy views do not guarantee.
    batch = torch.zeros(
        (batch_size, *rows.shape[1:]),
        dtype=torch.from_numpy(np.empty(0, rows.dtype)).dtype,
        pin_memory=device.type == "cuda",
    )
    batch[: len(rows)] = torch.from_numpy(np.ascontiguousarray(rows))
    return batch.to(device, non_blocking=True)


def _fetch(result: torch.Tensor) -> np.ndarray:
    return (result.float() if result.is_floating_point() else result).cpu().numpy()
