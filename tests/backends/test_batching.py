"""Fixed-shape batches: every row once, in order, independent of its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nano4m_audio.backends.batching import place, run_batched, torch_device, torch_dtype
from nano4m_audio.backends.compute import Compute
from nano4m_audio.errors import UserError

CPU = Compute()


@given(n=st.integers(1, 20), batch_size=st.integers(1, 7))
@settings(deadline=None)
def test_every_row_comes_back_once_and_in_order(n, batch_size):
    items = np.arange(3 * n, dtype=np.float32).reshape(n, 3)
    shapes = []

    def double(batch):
        shapes.append(tuple(batch.shape))
        return batch * 2

    assert np.array_equal(run_batched(double, items, batch_size, CPU), items * 2)
    assert set(shapes) == {(batch_size, 3)}


def test_a_row_does_not_depend_on_the_rows_beside_it():
    net = place(nn.Sequential(nn.Linear(57, 129), nn.GELU(), nn.Linear(129, 31)), CPU)
    items = np.random.default_rng(0).normal(size=(11, 57)).astype(np.float32)
    whole = run_batched(net, items, 4, CPU)
    order = np.random.default_rng(1).permutation(11)
    assert np.array_equal(run_batched(net, items[order], 4, CPU), whole[order])
    pieces = [run_batched(net, piece, 4, CPU) for piece in np.split(items, [1, 6])]
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_network_runs_frozen_in_its_dtype_and_gives_float32(dtype):
    compute = Compute(dtype=dtype)
    net = place(nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.9)), compute)
    assert all(p.dtype == torch_dtype(compute) and not p.requires_grad for p in net.parameters())
    items = np.ones((3, 4), np.float32)
    rows = run_batched(lambda x: net(x.to(torch_dtype(compute))), items, 2, compute)
    assert rows.dtype == np.float32
    assert np.array_equal(rows[0], rows[2])  # no dropout


def test_integers_stay_integers_and_inputs_of_any_layout_are_read_right():
    pictures = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4).transpose(2, 1, 0)
    assert np.array_equal(run_batched(lambda x: x, pictures, 3, CPU), pictures)
    assert np.array_equal(run_batched(lambda x: x, pictures[:, ::-1], 3, CPU), pictures[:, ::-1])


def test_results_carry_no_gradient_and_threads_are_those_asked_for():
    before = torch.get_num_threads()
    try:
        run_batched(lambda x: x, np.ones((1, 1), np.float32), 1, Compute(threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_items_is_an_error():
    with pytest.raises(ValueError, match="no items"):
        run_batched(lambda x: x, np.zeros((0, 3), np.float32), 2, CPU)


@pytest.mark.parametrize("device", ["warp", "cuda:99"])
def test_a_device_that_is_not_there_is_one_line(device):
    with pytest.raises(UserError, match=f"device '{device}'") as caught:
        torch_device(Compute(device=device))
    assert "\n" not in str(caught.value)


def test_an_unknown_dtype_is_one_line():
    with pytest.raises(UserError, match="dtype 'int8' is unknown"):
        torch_dtype(Compute(dtype="int8"))
