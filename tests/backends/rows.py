"""What every batched backend promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def check_rows_do_not_depend_on_batches(
    function: Callable[[np.ndarray], np.ndarray], items: np.ndarray
) -> None:
    """Rows of rotated and of split items are the same to the last bit."""
    whole = function(items)
    order = np.roll(np.arange(len(items)), 1)
    assert np.array_equal(function(items[order]), whole[order])
    pieces = [function(piece) for piece in np.split(items, [1])]
    assert np.array_equal(np.concatenate(pieces), whole)
