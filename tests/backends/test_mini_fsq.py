from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.backends.mini.fsq import Fsq

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=6).map(tuple)


@given(LEVELS, st.data())
def test_ids_and_bins_are_exact_inverses(levels: tuple[int, ...], data: st.DataObject) -> None:
    fsq = Fsq(levels)
    drawn = data.draw(st.lists(st.integers(0, fsq.vocab_size - 1), min_size=1, max_size=50))
    ids = torch.tensor(drawn)
    bins = fsq.bins_of(ids)
    assert (bins >= 0).all() and (bins < torch.tensor(levels)).all()
    assert torch.equal(fsq.ids(bins), ids)


@pytest.mark.parametrize("levels", [(8, 8, 8, 8), (4, 4, 4, 4, 4)])
def test_every_id_survives_its_own_centres(levels: tuple[int, ...]) -> None:
    fsq = Fsq(levels)
    ids = torch.arange(fsq.vocab_size)
    centres = fsq.centres(fsq.bins_of(ids))
    # The latent whose squashing is the bin's centre falls into that bin again.
    latents = torch.logit((centres + 1) / 2) / 1.702
    assert torch.equal(fsq.ids(fsq.bins(latents)), ids)
    assert torch.allclose(fsq.quantise(latents), centres)


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_any_latent_has_a_valid_id(latent: list[float]) -> None:
    fsq = Fsq((8, 8, 8, 8))
    assert 0 <= int(fsq.ids(fsq.bins(torch.tensor(latent)))) < fsq.vocab_size


def test_unit_variance_latents_use_the_codebook_evenly() -> None:
    fsq = Fsq((8, 8, 8, 8))
    latents = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(fsq.ids(fsq.bins(latents)), minlength=fsq.vocab_size)
    share = counts / counts.sum()
    perplexity = torch.exp(-(share * share.clamp(min=1e-12).log()).sum())
    assert perplexity > 0.9 * fsq.vocab_size


def test_gradient_passes_the_rounding() -> None:
    latents = torch.tensor([[0.3, -0.2, 1.0, 0.0]], requires_grad=True)
    Fsq((8, 8, 8, 8)).quantise(latents).sum().backward()
    assert (latents.grad > 0).all()


def test_ids_outside_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.4095"):
        Fsq((8, 8, 8, 8)).bins_of(torch.tensor([4096]))
