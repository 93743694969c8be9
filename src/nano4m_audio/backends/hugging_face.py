"""Networks of transformers, filled from tensors that were read safely and are complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nano4m_audio.errors import UserError


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
