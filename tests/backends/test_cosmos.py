"""The Cosmos backend, with a seeded TorchScript archive that has the published one's interface."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.cosmos import LEVELS, WEIGHTS_ID
from nano4m_audio.backends.mini.fsq import Fsq
from nano4m_audio.errors import UserError


class Encoder(nn.Module):
    """Pictures -> (indices, codes, loss): a strided convolution and finite scalar quantisation
    written as the Cosmos repository describes it (odd levels centred on 0, even ones shifted)."""

    def __init__(self, patch_px: int = 16) -> None:
        super().__init__()
        self.levels: torch.Tensor
        self.basis: torch.Tensor
        self.conv = nn.Conv2d(3, 6, patch_px, patch_px)
        self.register_buffer("levels", torch.tensor(LEVELS))
        self.register_buffer("basis", torch.tensor([1, 8, 64, 512, 2560, 12800]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        half = (self.levels - 1) * 1.001 / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        z = 4 * self.conv(x).permute(0, 2, 3, 1).float()
        bounded = (z + torch.atanh(offset / half)).tanh() * half - offset
        width = self.levels // 2
        codes = bounded.round() / width
        indices = ((codes * width + width) * self.basis).sum(-1).to(torch.int32)
        return indices, codes.permute(0, 3, 1, 2).to(x.dtype), torch.zeros(1)


class Decoder(nn.Module):
    """Indices -> pictures, one flat colour a token."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: torch.Tensor
        self.basis: torch.Tensor
        self.up = nn.ConvTranspose2d(6, 3, 16, 16)
        self.register_buffer("levels", torch.tensor(LEVELS))
        self.register_buffer("basis", torch.tensor([1, 8, 64, 512, 2560, 12800]))

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        digits = indices.unsqueeze(-1) // self.basis % self.levels
        codes = (digits - self.levels // 2) / (self.levels // 2)
        return self.up(codes.permute(0, 3, 1, 2).to(torch.bfloat16))


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes both files into an empty cache; pins their hashes unless told not to."""
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(tmp_path))
    folder = tmp_path / "weights" / WEIGHTS_ID
    folder.mkdir(parents=True)

    def write(pin: bool = True, patch_px: int = 16) -> Path:
        torch.manual_seed(0)
        parts = {"encoder.jit": Encoder(patch_px), "decoder.jit": Decoder()}
        files = []
        for name, net in parts.items():
            net = net.to(torch.bfloat16)
            torch.jit.script(net).save(folder / name)
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            files.append({"name": name, "sha256": digest if pin else None})
        (tmp_path / "weights.yaml").write_text(yaml.safe_dump({WEIGHTS_ID: {"files": files}}))
        return folder

    return write


def _load():
    return registry.load("rgb_tokenizer", WEIGHTS_ID, Compute())


def _images(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, 3, 224, 224)).astype(np.float32)


def test_tokens_and_pictures_have_the_shapes_of_the_protocol(archive):
    archive()
    tokenizer, images = _load(), _images(11)
    tokens = tokenizer.tokenize(images)
    assert tokens.shape == (11, 196) and tokens.dtype == np.int32
    assert tokens.min() >= 0 and tokens.max() < tokenizer.vocab_size == 64000
    assert tokens.max() < 2**16  # token tables are uint16
    assert len(np.unique(tokens)) > 1000
    assert np.array_equal(tokenizer.tokenize(images[4:5]), tokens[4:5])
    pictures = tokenizer.decode(tokens)
    assert pictures.shape == (11, 3, 224, 224) and pictures.dtype == np.float32
    assert abs(pictures).max() <= 1


def test_indices_number_the_codes_as_our_own_quantiser_does():
    indices, codes, _ = Encoder()(torch.from_numpy(_images()))
    width = torch.tensor(LEVELS).view(6, 1, 1) // 2
    digits = (codes * width + width).permute(0, 2, 3, 1)
    fsq = Fsq(LEVELS)
    assert fsq.vocab_size == 64000
    assert torch.equal(fsq.ids(digits.round()), indices.long())
    assert torch.equal(fsq.bins_of(indices), digits.round())


def test_an_archive_that_nobody_pinned_is_not_run(archive):
    folder = archive(pin=False)
    digest = hashlib.sha256((folder / "encoder.jit").read_bytes()).hexdigest()
    with pytest.raises(UserError, match=f"nobody has pinned it.*sha256: {digest}"):
        _load()


def test_another_archive_than_the_pinned_one_is_not_run(archive):
    folder = archive()
    (folder / "decoder.jit").write_bytes((folder / "encoder.jit").read_bytes())
    with pytest.raises(UserError, match=r"decoder\.jit is refused"):
        _load()


def test_a_pinned_file_that_is_no_archive_is_one_line(archive, tmp_path):
    folder = archive()
    (folder / "encoder.jit").write_bytes(b"no archive")
    files = yaml.safe_load((tmp_path / "weights.yaml").read_text())
    files[WEIGHTS_ID]["files"][0]["sha256"] = hashlib.sha256(b"no archive").hexdigest()
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(files))
    with pytest.raises(UserError, match="not a TorchScript archive") as caught:
        _load()
    assert "\n" not in str(caught.value)


def test_the_archive_of_another_grid_is_refused(archive):
    archive(patch_px=8)
    with pytest.raises(UserError, match="784 tokens of a picture.*196"):
        _load().tokenize(_images(1))


def test_other_shapes_and_ids_are_refused_in_one_line(archive):
    archive()
    tokenizer = _load()
    with pytest.raises(UserError, match=r"\[B, 3, 224, 224\]"):
        tokenizer.tokenize(np.zeros((1, 3, 448, 448), np.float32))
    with pytest.raises(UserError, match=r"\[B, 196\]"):
        tokenizer.decode(np.zeros((1, 784), np.int32))
    with pytest.raises(UserError, match=r"0\.\.63999"):
        tokenizer.decode(np.full((1, 196), 64000))
