"""Golden material: recorded inputs and outputs, and the seeded weights that go with them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Golden = tuple[dict[str, Any], dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def golden(shared: Path):
    """name -> (meta.json, arrays of io.npz) of one golden folder."""

    def read(name: str) -> Golden:
        folder = shared / "golden" / name
        with np.load(folder / "io.npz") as arrays:
            return json.loads((folder / "meta.json").read_text()), dict(arrays)

    return read


@pytest.fixture(scope="session")
def recipe(shared: Path):
    """The module that makes seeded weights."""
    path = shared / "golden" / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location("seeded_weights", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def seeded(shared: Path, recipe):
    """name, key prefixes -> the seeded state dict under the published keys."""

    def state(name: str, prefixes: tuple[str, ...] = ("",)) -> dict[str, torch.Tensor]:
        folder = shared / "golden" / name
        keys, meta = (json.loads((folder / f"{n}.json").read_text()) for n in ("keys", "meta"))
        kept = {key: shape for key, (shape, _) in keys.items() if key.startswith(prefixes)}
        tensors = recipe.fill_state_dict(kept, meta["kind_overrides"])
        return {key: tensors[key].view(shape) for key, shape in kept.items()}

    return state
