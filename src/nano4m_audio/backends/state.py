"""Weight files read without running code, and put into a network only if they fit it exactly."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from nano4m_audio.errors import UserError

Net = TypeVar("Net", bound=nn.Module)
State = dict[str, torch.Tensor]


def read_safetensors(path: Path) -> State:
    """All tensors of a file. UserError when it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: fetch the weights of this model again") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({_line(error)}): fetch it again") from None


def read_checkpoint(path: Path) -> State:
    """The state dict of a torch checkpoint {"model": state dict}, without a "module." prefix.

    The pickle is read with ``weights_only``: tensors and plain containers, no code. UserError when
    the file is missing, damaged, holds anything else, or is of another form.
    """
    from pickle import UnpicklingError

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: fetch the weights of this model again") from None
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged or holds more than tensors ({_line(error)}): fetch it again"
        ) from None
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"{path} must hold {{'model': state dict}}: it is another file")
    return {key.removeprefix("module."): value for key, value in state.items()}


def fill(net: Net, state: State, path: Path) -> Net:
    """Put ``state`` (read from ``path``) into a network, which may be on the meta device.

    UserError, naming the first differences, unless keys and shapes are exactly the network's.
    """
    wanted = net.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    unknown = sorted(state.keys() - wanted.keys())
    if missing or unknown:
        parts = [_some("misses", missing), _some("has the unknown", unknown)]
        raise UserError(f"{path} {' and '.join(filter(None, parts))}: weights of another model")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise UserError(
                f"{path}: {key} has the shape {tuple(state[key].shape)}, this model needs "
                f"{tuple(tensor.shape)}: weights of another model, or another config beside them"
            )
    converted = {key: value.to(wanted[key].dtype) for key, value in state.items()}
    net.load_state_dict(converted, assign=True)
    return net.eval().requires_grad_(False)


def _some(verb: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{verb} {', '.join(keys[:3])}{more}" if keys else ""


def _line(error: BaseException) -> str:
    """The first line of a message, so that an error for the user stays one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
