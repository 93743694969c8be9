"""Levels of made sounds: whether they vary within a class, and between classes, as real ones do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nano4m_audio.evaluate.judges import Cast
from nano4m_audio.intervals import count_groups, jackknife
from nano4m_audio.media import windows

#: Levels below count as this [dBFS]: silence is silence, however deep.
QUIETEST_DBFS = -60.0
DB = "dB"


def levels_of(sounds: np.ndarray) -> np.ndarray:
    """Root mean square of each sound [n, samples], float64 [n] in dBFS."""
    return np.array([windows.level_dbfs(sound) for sound in sounds]).clip(QUIETEST_DBFS)


def within(levels: np.ndarray, true: np.ndarray) -> float:
    """Standard deviation [dB] of levels around the mean of their class; NaN if no class has two."""
    means, counts = _class_means(levels, true)
    freedom = len(levels) - (counts > 0).sum()
    squares = np.square(levels - means[true]).sum()
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def between(levels: np.ndarray, true: np.ndarray) -> float:
    """Standard deviation [dB] of the mean levels of the classes; NaN with less than two."""
    means, counts = _class_means(levels, true)
    present = means[counts > 0]
    return float(present.std(ddof=1)) if len(present) > 1 else float("nan")


def _class_means(levels: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(true)
    return np.bincount(true, levels) / counts.clip(1), counts


def spreads(cast: Cast, made: np.ndarray, real: np.ndarray) -> list[dict[str, Any]]:
    """Metrics ``level_within_...`` and ``level_between_...`` classes, of sounds made from captions
    and of the clips' own tokens; ``made`` and ``real`` [n] are levels in dBFS."""
    rows = []
    for name, spread, what in (
        ("level_within", within, "around the mean of their class"),
        ("level_between", between, "of the classes' means"),
    ):
        values = {"caption_to_audio": made, "real_audio": real}
        for source, levels in values.items():
            value = spread(levels, cast.true)
            if not np.isfinite(value):
                continue
            low, high = _interval(cast, levels, spread) or (None, None)
            note = f"standard deviation of levels {what}, from {QUIETEST_DBFS:.0f} dBFS up"
            rows.append({
                "name": f"{name}_{source}", "value": value, "n": len(levels),
                "groups": count_groups(np.ones(len(levels)), cast.groups),
                "low": low, "high": high, "chance": None, "unit": DB, "note": note,
                "ceiling": spread(real, cast.true),
            })  # fmt: skip
    return rows


def _interval(
    cast: Cast, levels: np.ndarray, spread: Callable[[np.ndarray, np.ndarray], float]
) -> tuple[float, float] | None:
    def statistic(places: np.ndarray) -> float:
        return spread(levels[places], cast.true[places])

    found = jackknife(statistic, [cast.groups], cast.inputs.confidence)
    return found and (max(0.0, found[0]), found[1])


def count_by_class(
    cast: Cast, made: np.ndarray, real: np.ndarray, per_class: list[dict[str, Any]]
) -> None:
    """Add to the row of each class the mean and standard deviation of its levels, made and real."""
    for c, row in enumerate(per_class):
        for name, levels in (("caption_to_audio", made), ("real_audio", real)):
            own = levels[cast.true == c]
            row[f"{name}_level_dbfs"] = float(own.mean()) if len(own) else None
            row[f"{name}_level_sd_db"] = float(own.std(ddof=1)) if len(own) > 1 else None
