"""Weights with their configuration in one safetensors file, and the state of an unfinished run."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import model_config


def _write(path: Path, temp: Path) -> None:
    with open(temp, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(temp, path)


def save_model(path: Path, model: FourM) -> None:
    """Write weights, buffers and the model configuration (as JSON metadata), atomically."""
    config = json.dumps(dataclasses.asdict(model.config), sort_keys=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    temp = path.with_name(f".{path.name}.tmp.{os.getpid()}")
    temp.write_bytes(safetensors_bytes(state, metadata={"config": config}))
    _write(path, temp)


def load_model(path: Path) -> FourM:
    """Rebuild the model that ``save_model`` wrote.

    Raises ValueError when the file is not such a checkpoint or its tensors do not fit its config.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            state = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    if "config" not in metadata:
        raise ValueError(f"{path} has no model configuration in its metadata")
    try:
        model = FourM(model_config(json.loads(metadata["config"])))
        model.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} does not fit its own configuration: {error}") from error
    return model


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write an unfinished run (tensors and plain values only), atomically."""
    temp = path.with_name(f".{path.name}.tmp.{os.getpid()}")
    torch.save(state, temp)
    _write(path, temp)


def load_state(path: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote; no code in the file is ever run."""
    return torch.load(path, map_location="cpu", weights_only=True)
