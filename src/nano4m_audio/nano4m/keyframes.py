"""Which keyframes of a clip are used where not all are: by the engine, probes and tokenizers."""

from __future__ import annotations


def spread_keyframes(count: int, of: int = 10) -> list[int]:
    """The middles of ``count`` equal parts of ``of`` keyframes: 3 of 10 are 1, 5 and 8."""
    return [(2 * i + 1) * of // (2 * count) for i in range(count)]
