"""Reading tensors from files of others without running anything that is in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nano4m_audio.errors import UserError

if TYPE_CHECKING:
    import torch

Net = TypeVar("Net", bound="torch.nn.Module")

_AGAIN = "fetch it again with `nano4m-audio weights fetch`"


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises UserError for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_AGAIN}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); {_AGAIN}") from None


def read_torch(path: Path) -> Any:
    """The content of a torch checkpoint (tensors in dicts and lists), on the CPU.

    Code in the file is never run: anything but tensors and plain values is refused. Raises
    UserError for a refused or damaged file.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_AGAIN}") from None
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else "not a torch checkpoint"
        raise UserError(
            f"{path} is refused: it holds more than tensors and plain values, such as code, "
            f"or is damaged ({reason}); {_AGAIN}"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a whole torch checkpoint ({reason}); {_AGAIN}") from None


def fill(net: Net, state: dict[str, torch.Tensor], path: Path) -> Net:
    """Freeze a network, which may be on the meta device, with the tensors read from ``path``.

    Raises UserError, naming the first differences, unless keys and shapes are the network's own.
    """
    wanted = net.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unknown:
        parts = [_some("misses", missing), _some("has the unknown", unknown)]
        raise UserError(f"{path} {' and '.join(filter(None, parts))}: weights of another model")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise UserError(
                f"{path}: {key} has the shape {tuple(state[key].shape)} and must have "
                f"{tuple(tensor.shape)}: weights of another model, or another config beside them"
            )
    net.load_state_dict({k: state[k].to(v.dtype) for k, v in wanted.items()}, assign=True)
    return net.eval().requires_grad_(False)


def _some(verb: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{verb} {', '.join(keys[:3])}{more}" if keys else ""
