"""Networks of transformers, filled from tensors that were read safely and are complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nano4m_audio.backends.checkpoints import AGAIN
from nano4m_audio.errors import UserError

#: Keys of a published config.json that say nothing about the architecture. Some name code to fetch
#: (auto_map, kernels of attention) or another number format.
_NOT_ARCHITECTURE = {
    "architectures",
    "attn_implementation",
    "auto_map",
    "dtype",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
}


def read_config(kind: Any, path: Path) -> Any:
    """The architecture in a published config.json, as a config ``kind`` (class of transformers).

    Raises UserError if the file is none, or is of another kind of network.
    """
    try:
        values = _architecture(json.loads(path.read_text("utf-8")))
        found = values.get("model_type")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {AGAIN}") from None
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a config of a network ({error}); {AGAIN}") from None
    if found != kind.model_type:
        raise UserError(f"{path} is the config of a network {found!r}, not {kind.model_type!r}")
    from huggingface_hub.errors import StrictDataclassError

    try:
        return kind.from_dict(values)
    except (StrictDataclassError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is no config of {kind.model_type}: {reason}") from None


def _architecture(values: Any) -> Any:
    """``values`` without what says nothing about the architecture, at every level."""
    if not isinstance(values, dict):
        return values
    return {
        key: _architecture(value)
        for key, value in values.items()
        if key not in _NOT_ARCHITECTURE and not key.startswith("_")
    }


def from_tensors(network: Any, config: Any, tensors: Mapping[str, torch.Tensor], path: Path) -> Any:
    """A ``network`` (class of transformers) with the tensors of the checkpoint ``path``.

    Published files use older parameter names, which transformers translates when it loads. Raises
    UserError if a parameter is missing or of another shape.
    """
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        net, info = network.from_pretrained(
            None, config=config, state_dict=dict(tensors), output_loading_info=True
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} holds the weights of another network: {reason}") from None
    finally:
        if bars:
            logging.enable_progress_bar()
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise UserError(f"{path} lacks {len(info['missing_keys'])} tensors: {names} ...")
    return net
