"""Load third-party checkpoints without executing code."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano4m_audio.errors import UserError

if TYPE_CHECKING:
    import torch

#: What to do about a file that is missing or damaged.
AGAIN = "fetch it again with `nano4m-audio weights fetch`"


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises UserError for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {AGAIN}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); {AGAIN}") from None


def read_torch(path: Path) -> Any:
    """The content of a torch checkpoint (tensors in dicts and lists), on the CPU.

    Code in the file is never run: anything but tensors and plain values is refused. Raises
    UserError for a refused or damaged file.
    """
    import torch

    try:
        with warnings.catch_warnings():  # of the pickle's protocol: what is wrong is said below
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {AGAIN}") from None
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else "not a torch checkpoint"
        raise UserError(
            f"{path} is refused: it holds more than tensors and plain values, such as code, "
            f"or is damaged ({reason}); {AGAIN}"
        ) from None
    except Exception as error:  # a damaged pickle may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a whole torch checkpoint ({reason}); {AGAIN}") from None
