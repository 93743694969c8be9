"""What a GPU replays, with a stand-in for CUDA's graphs: memory, shapes and gradients are real."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.nano4m import attention, graphs, model, train
from nano4m_audio.nano4m.attention import FILLERS, LENGTH_UNIT, ROWS_UNIT, Tokens
from nano4m_audio.nano4m.graphs import GraphedModel
from nano4m_audio.nano4m.model import FourM
from tests.nano4m.test_gpu_path import packed
from tests.nano4m.test_train import SETTINGS, change, run, some_data


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """Lengths of samples are looked up in tensors, which are replayed, and not in lists."""
    monkeypatch.setattr(model, "attend", attention.attend_filled)


class Doing:
    """Does recorded work again instead of replaying it; ``done`` counts what is done again."""

    def __init__(self) -> None:
        self.done = 0

    def rehearse(self, work: Callable[[], None]) -> None:
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        def again() -> None:
            self.done += 1
            work()

        work()
        return again


def batches(n: int) -> list[tuple[Tokens, Tokens]]:
    data = some_data(20)
    drawn = [data.batch(step, 6, SETTINGS.masking, 0) for step in range(n)]
    return [(Tokens.filled(b.inputs), Tokens.filled(b.targets)) for b in drawn]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_a_batch_is_filled_up_by_sequences_that_count_for_nothing(lengths):
    plain, full = Tokens.of(packed(lengths)), Tokens.filled(packed(lengths))
    n = sum(lengths)
    assert len(full.tokens) % ROWS_UNIT == 0 and len(full.tokens) - n < ROWS_UNIT + FILLERS
    assert full.lengths[:-FILLERS] == lengths and len(full.lengths) == len(lengths) + FILLERS
    assert min(full.lengths[-FILLERS:]) > 0 and max(full.lengths[-FILLERS:]) <= LENGTH_UNIT
    assert torch.equal(full.order, plain.order) and full.counts == plain.counts
    assert torch.equal(full.slots[:n], plain.slots) and full.longest == max(plain.longest, 128)
    assert len(set(full.slots.tolist())) == len(full.slots)
    assert full.bounds[-1] == len(full.tokens) == len(full.positions) == len(full.modalities)


def gradients(net: FourM, features: torch.Tensor, targets: Tokens) -> list[np.ndarray]:
    """Those of a loss that looks at real rows only."""
    net.zero_grad()
    weights = torch.arange(features.shape[1]) / features.shape[1]
    (features.index_select(0, targets.order).square() * weights).sum().backward()
    return [p.grad.numpy().copy() for p in net.parameters() if p.grad is not None]


def test_a_replayed_batch_has_the_values_and_gradients_of_its_own():
    net, recorder = FourM(SETTINGS.model, seed=2), Doing()
    graphed = GraphedModel(net, torch.enable_grad, recorder)
    for k, (inputs, targets) in enumerate(batches(6)):
        expected = net(inputs, targets)
        wanted = gradients(net, expected, targets)
        features = graphed(inputs, targets)
        np.testing.assert_allclose(features.detach(), expected.detach(), atol=1e-6)
        for ours, theirs in zip(gradients(net, features, targets), wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert recorder.done == 2 * k  # the first batch of a shape is computed as it is
    (passes,) = graphed.passes.values()
    assert passes.inputs.tokens.data_ptr() != inputs.tokens.data_ptr()


def test_no_more_shapes_are_recorded_than_are_allowed(monkeypatch):
    monkeypatch.setattr(graphs, "MOST_SHAPES", 1)
    graphed = GraphedModel(FourM(SETTINGS.model), torch.enable_grad, Doing())
    sides = [tuple(Tokens.filled(packed([n] * 4)) for _ in range(2)) for n in (1, 1, 140, 140, 140)]
    for inputs, targets in sides:
        graphed(inputs, targets)
    assert len(graphed.passes) == 1 and sorted(graphed.seen.values()) == [2, 3]


def test_without_gradients_nothing_is_recorded():
    graphed = GraphedModel(FourM(SETTINGS.model), torch.enable_grad, Doing())
    with torch.no_grad():
        for inputs, targets in batches(3):
            graphed(inputs, targets)
    assert not graphed.passes and not graphed.seen


@pytest.mark.parametrize("own", [False, True])
def test_a_replayed_training_is_the_plain_one(tmp_path, monkeypatch, own):
    tried = change(change(SETTINGS, steps=12), "objective", per_modality_vocab=own)
    plain = run(tmp_path / "plain", tried)
    recorder = Doing()
    monkeypatch.setattr(Tokens, "of", Tokens.filled)
    monkeypatch.setattr(train, "records", lambda *_: True)
    monkeypatch.setattr(train, "CudaRecorder", lambda: recorder)
    replayed = run(tmp_path / "replayed", tried)
    assert recorder.done == 2 * (12 - 1)
    assert [row[:3] for row in replayed.metrics] == [row[:3] for row in plain.metrics]
    np.testing.assert_allclose(
        [row[3] for row in replayed.metrics], [row[3] for row in plain.metrics], rtol=1e-3
    )
