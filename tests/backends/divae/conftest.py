"""The golden tokenizers: networks with seeded weights, built through the real loading path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from nano4m_audio.backends.divae.model import Divae
from nano4m_audio.backends.divae.scheduler import Diffusion
from nano4m_audio.backends.divae.settings import Settings, UnetShape, VitShape

TINY = Settings(
    n_channels=3,
    codebook_size=64,
    latent_dim=8,
    vit=VitShape(dim=64, depth=2, heads=4, hidden=256, table=(4, 4)),
    unet=UnetShape(channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,)),
    diffusion=Diffusion("ddim", "linear", "sample"),
)


@pytest.fixture(scope="session")
def published(shared: Path, seeded, tmp_path_factory: pytest.TempPathFactory):
    """name -> a folder as the repository publishes it, its weights seeded."""

    def write(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        save_file(seeded(name), folder / "model.safetensors")
        meta = json.loads((shared / "golden" / name / "meta.json").read_text())
        (folder / "config.json").write_text(json.dumps(meta["config"]))
        return folder

    return write


@pytest.fixture(scope="session")
def tiny(seeded) -> Divae:
    """The toy-size network with seeded weights."""
    net = Divae(TINY)
    net.load_state_dict(seeded("fourm_divae_tiny"))
    return net.eval().requires_grad_(False)
