"""What every batched backend promises, and when two tokenizers agree."""

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


def check_tokens(
    found: np.ndarray, wanted: np.ndarray, margin: np.ndarray, rounding: float, firm: float = 0.97
) -> None:
    """The same ids, except where the two best entries of the codebook are a near tie.

    ``margin`` is by how much the wanted id is better than the second best; no more than
    ``rounding`` is what two processors may decide differently. At least the share ``firm`` is not.
    """
    wanted, margin = np.asarray(wanted), np.asarray(margin).reshape(np.shape(wanted))
    sure = margin > rounding
    assert sure.mean() > firm
    assert np.array_equal(np.asarray(found).reshape(wanted.shape)[sure], wanted[sure])
