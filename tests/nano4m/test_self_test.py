"""The precision self-test sees small differences, and refuses large ones."""

from __future__ import annotations

import math

from nano4m_audio.nano4m.self_test import Divergence, compare_precisions
from tests.nano4m.test_train import SETTINGS, change, some_data

CPU = change(SETTINGS, "hardware", device="cpu")


def test_bfloat16_differs_a_little_on_the_same_batches():
    found = compare_precisions(CPU, some_data(20), 12)
    assert len(found.losses) == 12
    assert found.losses[0][0] != found.losses[-1][0]
    assert 0 < found.worst < 0.02 and found.accepted
    assert 0 < found.weights < 0.5


def test_a_diverging_training_is_refused():
    settings = change(CPU, lr=0.6, warmup_steps=0)
    assert not compare_precisions(settings, some_data(20), 12).accepted


def test_not_a_number_is_refused():
    assert not Divergence([(1.0, 1.0), (1.0, math.nan)], 0.0).accepted
    assert not Divergence([(1.0, 1.05)], 0.0).accepted
    assert Divergence([(1.0, 1.001)], 0.0).accepted
