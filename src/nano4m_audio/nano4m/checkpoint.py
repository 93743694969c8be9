"""Weights with their configuration in one safetensors file, and the state of an unfinished run."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from nano4m_audio.files import remove_leftovers, replacing, sha256
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import ModelConfig


class SaveError(RuntimeError):
    """A state could not be written; those before it are still there."""


def save_model(path: Path, model: FourM, weights: dict[str, Tensor] | None = None) -> None:
    """Write weights, buffers and the model configuration (as JSON metadata), atomically.

    ``weights`` stand for the model's own state dict when given.
    """
    config = json.dumps(model.config.model_dump(mode="json"), sort_keys=True)
    state = model.state_dict() if weights is None else weights
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with replacing(path) as temp:
        temp.write_bytes(safetensors_bytes(state, metadata={"config": config}))


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
        model = FourM(ModelConfig.model_validate(json.loads(metadata["config"])))
        model.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"{path} does not fit its own configuration: {error}") from error
    return model


def save_state(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> None:
    """Write an unfinished run (tensors and plain values only) and drop all but the last ``keep``.

    The state appears by an atomic rename, after the file with its digest. Raises SaveError.
    """
    path = folder / f"step_{step:09d}.pt"
    try:
        remove_leftovers(folder)
        with replacing(path) as temp:
            with open(temp, "wb") as file:
                digest = _save_hashed(state, file)
            _digest_file(path).write_text(digest, "utf-8")
    except OSError as error:
        raise SaveError(f"{path}: not written: {error.strerror or error}") from error
    for old in _states(folder)[keep:]:
        old.unlink()
        _digest_file(old).unlink(missing_ok=True)


class _HashedFile:
    """What torch.save writes to: hashes on the way, and remembers why a write failed, which torch
    tells only in words of its own. Both let other threads run, unlike torch's own writer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            self.digest.update(data)
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _save_hashed(state: dict[str, Any], file: BinaryIO) -> str:
    """torch.save; returns the digest of what was written."""
    hashed = _HashedFile(file)
    checked = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)  # the digest sees damage, too
    try:
        torch.save(state, hashed)  # type: ignore[arg-type]
    except RuntimeError:
        if hashed.error is None:
            raise
    finally:
        torch.serialization.set_crc32_options(checked)
    if hashed.error is not None:
        raise hashed.error
    return hashed.digest.hexdigest()


def load_state(folder: Path) -> dict[str, Any] | None:
    """The last state that is whole, or None; no code in a file is ever run.

    A damaged state is passed over with a warning on stderr.
    """
    for path in _states(folder):
        digest = _digest_file(path)
        if digest.exists() and digest.read_text("utf-8") == sha256(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        print(f"train: {path} is damaged, going back to the state before it", file=sys.stderr)
    return None


def remove_states(folder: Path) -> None:
    """Delete the states of a finished run."""
    shutil.rmtree(folder, ignore_errors=True)


def _states(folder: Path) -> list[Path]:
    """The states in a folder, the last one first."""
    return sorted(folder.glob("step_*.pt"), reverse=True)


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")
