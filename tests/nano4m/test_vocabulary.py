"""One row for all ids that never occur: the same training as with a row for each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.nano4m import vocabulary
from nano4m_audio.nano4m.objective import log_scores
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.nano4m.vocabulary import Vocabulary, starting_model
from tests.nano4m.test_train import SETTINGS, change, losses, run, some_data


def both_ways(tmp_path, monkeypatch, settings, **options):
    """The run with short tables, and with whole ones."""
    assert Vocabulary.of_run(settings, some_data(20), some_data(9, 1)) is not None
    short = run(tmp_path / "short", settings, **options)
    monkeypatch.setattr(vocabulary, "WORTHWHILE", 0.0)
    return short, run(tmp_path / "whole", settings, **options)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("optim", {}),
        ("optim", {"weight_decay": 5.0, "head_lr_scale": 4.0, "embedding_lr_scale": 20.0}),
        ("optim", {"clip_norm": 1e-3}),
        ("optim", {"optimizer": "muon"}),
        ("objective", {"per_modality_vocab": False}),
        ("objective", {"average": "token"}),
        ("masking", {"padded_captions": True, "single_source_prob": 0.0}),
    ],
)
def test_losses_and_weights_are_those_of_whole_tables(tmp_path, monkeypatch, section, values):
    short, whole = both_ways(tmp_path, monkeypatch, change(SETTINGS, section, **values))
    # Muon rounds to bfloat16 on its way, which makes much of the last bits of a sum.
    tolerance = 0.2 if "optimizer" in values else 1e-3
    for split in ("train", "val"):
        np.testing.assert_allclose(losses(short, split), losses(whole, split), rtol=tolerance / 20)
    assert short.best_step == whole.best_step
    start = starting_model(SETTINGS).state_dict()
    for weights, others in (
        (short.weights, whole.weights),
        (short.best_weights, whole.best_weights),
        (short.model.state_dict(), whole.weights),
    ):
        assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in others.items()}
        for name, value in others.items():
            learned = (value - start[name]).norm()
            assert (weights[name] - value).norm() <= tolerance * learned + 1e-6, name
    unused = torch.tensor([30, 31, 62, 63])
    for name in ("enc_tok_emb.weight", "to_logits.weight"):
        torch.testing.assert_close(
            short.weights[name][unused],
            whole.weights[name][unused],
            rtol=tolerance,
            atol=tolerance / 1000,
        )


def test_who_watches_sees_the_whole_model(tmp_path):
    shapes = set()

    def watch(step, model, rows):
        if step % 8 == 0:
            shapes.add(tuple(model().to_logits.weight.shape))

    run(tmp_path, watch=watch)
    assert shapes == {(100, 32)}


def test_whole_tables_are_kept_where_there_is_little_to_save(monkeypatch):
    data = some_data(20)
    assert Vocabulary.of_run(change(SETTINGS, "numerics", mode="reference"), data) is None
    assert Vocabulary.of_run(change(SETTINGS, "hardware", shard_weights=True), data) is None
    monkeypatch.setattr(vocabulary, "WORTHWHILE", 0.2)
    assert Vocabulary.of_run(SETTINGS, data) is None


@given(st.data())
def test_every_modality_has_its_ids_in_the_first_rows(draw):
    sizes = draw.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    modalities = [Modality(f"m{i}", size, 4) for i, size in enumerate(sizes)]
    occurs = np.array(draw.draw(st.lists(st.booleans(), min_size=max(sizes), max_size=max(sizes))))
    found = Vocabulary.of(modalities, occurs)
    assert found.copies.sum() == max(sizes) and (found.copies > 0).all()
    assert (found.copies[~found.shared] == 1).all()
    assert occurs[found.ids[~found.shared]].all() and not occurs[found.ids[found.shared]].any()
    assert found.shared[found.row_of].tolist() == (~occurs).tolist()
    for modality in modalities:
        size = found.modality(modality).vocab_size
        assert set(found.row_of[: modality.vocab_size].tolist()) == set(range(size))
    known = np.flatnonzero(occurs)
    assert found.ids[found.row_of[known]].tolist() == known.tolist()


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_scores_are_those_of_all_ids(n_known, seed):
    generator = torch.Generator().manual_seed(seed)
    occurs = np.zeros(20, bool)
    occurs[torch.randperm(20, generator=generator)[:n_known].numpy()] = True
    found = Vocabulary.of([Modality("a", 12, 4), Modality("b", 20, 4)], occurs)
    short = torch.randn(len(found.shared), 8, generator=generator, dtype=torch.float64).float()
    rows = torch.randn(5, 8, generator=generator)
    whole = short[torch.from_numpy(found.row_of)]
    for size in (12, 20):
        n = found.sizes[size]
        scores = log_scores(rows, short[:n], found.shared_rows().below(n))
        known = [int(i) for i in np.flatnonzero(occurs) if i < size]
        own = found.row_of[known].tolist()
        torch.testing.assert_close(scores[:, own], log_scores(rows, whole[:size])[:, known])
