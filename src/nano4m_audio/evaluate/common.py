"""What the probes share: their inputs, intervals, and the form of a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.errors import UserError
from nano4m_audio.nano4m.checkpoint import load_model
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.training.token_sets import TokenSet

#: Samples per forward pass: bounds the memory of probes with whole clips as input.
BATCH_SIZE = 32
#: Clips whose tokens are counted at once.
CLIPS_AT_ONCE = 4096


@dataclass(frozen=True)
class ProbeInputs:
    """A trained model, the clips it learnt from (for baselines) and the clips to evaluate."""

    model: FourM
    settings: TrainSettings
    train: TokenSet
    chosen: TokenSet
    n_bootstrap: int
    confidence: float
    keyframes: int
    seed: int

    @property
    def data(self) -> TokenData:
        """The tokens of the clips to evaluate."""
        return self.chosen.data

    def modality(self, name: str) -> int:
        """The index of a modality in config order. Raises UserError when the run has none."""
        names = [m.name for m in self.settings.model.modalities]
        if name not in names:
            raise UserError(f"the run was trained without {name}: this probe needs it")
        return names.index(name)

    def keyframe_numbers(self) -> np.ndarray:
        """At most ``keyframes`` keyframes, evenly spread over those of a clip."""
        wanted = min(self.keyframes, self.data.n_keyframes)
        return np.round(np.linspace(0, self.data.n_keyframes - 1, wanted)).astype(np.int64)


def load_probe_inputs(
    weights: Path,
    settings: TrainSettings,
    train: TokenSet,
    chosen: TokenSet,
    options: Mapping[str, Any],
) -> ProbeInputs:
    """Load the model and the tokens of a probe. Raises UserError for a wrong checkpoint."""
    try:
        model = load_model(weights).eval()
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{error}: train the experiment again") from None
    return ProbeInputs(
        model=model,
        settings=settings,
        train=train,
        chosen=chosen,
        n_bootstrap=options["bootstrap"],
        confidence=options["confidence"],
        keyframes=options["keyframes"],
        seed=options["seed"],
    )


def bootstrap_interval(
    sums: np.ndarray, counts: np.ndarray, inputs: ProbeInputs
) -> tuple[float, float]:
    """Percentile interval of ``sum(sums) / sum(counts)`` when clips are drawn with replacement.

    ``sums`` and ``counts`` have one value per clip; a clip without counts takes part as nothing.
    """
    rng = np.random.default_rng([inputs.seed, 7])
    drawn = rng.integers(0, len(sums), (inputs.n_bootstrap, len(sums)))
    totals = counts[drawn].sum(axis=1)
    ratios = sums[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    tail = (1 - inputs.confidence) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def ratio_metric(
    name: str,
    sums: np.ndarray,
    counts: np.ndarray,
    inputs: ProbeInputs,
    *,
    chance: float | None,
    unit: str,
    note: str,
) -> dict[str, Any]:
    """A metric that is a ratio of sums over clips (one value per clip in each), with its interval.

    ``n`` is the number of clips that count.
    """
    low, high = bootstrap_interval(sums, counts, inputs)
    return {
        "name": name,
        "value": float(sums.sum() / counts.sum()),
        "n": int((counts > 0).sum()),
        "low": low,
        "high": high,
        "chance": chance,
        "unit": unit,
        "note": note,
    }
