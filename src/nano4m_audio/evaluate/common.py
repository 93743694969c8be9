"""What the probes share: their inputs, and the form of a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nano4m_audio.errors import UserError
from nano4m_audio.evaluate.models import Models
from nano4m_audio.intervals import Interval, count_groups, mean_interval, paired_p, share_interval
from nano4m_audio.media import windows
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.checkpoint import load_model
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.training.token_sets import TokenSet

#: Samples per forward pass: bounds the memory of probes with whole clips as input.
BATCH_SIZE = 32
#: Units of metrics: a share, of which more is better, and nats, of which less is.
ACCURACY, NATS = "accuracy", "nats/token"
#: Decimals of the values of single clips.
_DIGITS = 6
#: What a metric is, compared with its baseline; "chance": better than it, but not than chance.
VERDICTS = ("better", "worse", "unclear", "chance", "too few")


@dataclass(frozen=True)
class ProbeInputs:
    """A trained model, the clips it learnt from (for baselines) and the clips to evaluate.

    ``groups`` and ``train_groups`` number the groups of the clips to evaluate and of the training
    clips, int64 [n]: clips of a group are alike. Of at most ``decoded`` clips predictions are
    decoded. ``classes`` is what the config says of each class.
    """

    model: FourM
    settings: TrainSettings
    train: TokenSet
    chosen: TokenSet
    train_groups: np.ndarray
    groups: np.ndarray
    bootstrap: int
    confidence: float
    keyframes: int
    seed: int
    decoded: int
    models: Models
    classes: Mapping[str, Mapping[str, Any]]

    @property
    def data(self) -> TokenData:
        """The tokens of the clips to evaluate."""
        return self.chosen.data

    def tokens(self, packed: Packed) -> Tokens:
        """Packed sequences where the model is."""
        return Tokens.of(packed).to(self.model.enc_tok_emb.weight.device)

    @property
    def names(self) -> list[str]:
        """The modalities of the run, in config order."""
        return [m.name for m in self.settings.model.modalities]

    def modality(self, name: str) -> int:
        """The index of a modality that the run has, in config order."""
        return self.names.index(name)

    def decoded_clips(self, most: int) -> np.ndarray:
        """Places of at most ``most``, and ``decoded``, clips to evaluate, evenly spread: int64."""
        return np.array(windows.spread(len(self.chosen), min(most, self.decoded)), np.int64)

    def keyframe_numbers(self) -> np.ndarray:
        """At most ``keyframes`` keyframes, evenly spread over those of a clip."""
        return self.data.spread_keyframes(self.keyframes)


@dataclass(frozen=True)
class Measured:
    """The mean ``sums / counts``, float [n] by clip; a clip without counts takes no part."""

    name: str
    sums: np.ndarray
    counts: np.ndarray
    note: str

    @property
    def value(self) -> float:
        return float(self.sums.sum() / self.counts.sum())


def load_on(weights: Path, device: str) -> FourM:
    """A trained model on ``device``. Raises UserError for a wrong checkpoint or device."""
    try:
        return load_model(weights).eval().to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # what torch says of a device it has not
        raise UserError(f"device {device!r} cannot be used: {error}".splitlines()[0]) from None
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{error}: train the experiment again") from None


def metric(
    measured: Measured,
    inputs: ProbeInputs,
    *,
    unit: str,
    chance: float | None,
    baseline: Measured | None = None,
) -> dict[str, Any]:
    """A metric with its interval, and how it compares with its baseline on the same clips.

    ``n`` clips in ``groups`` groups count; ``low`` and ``high`` are None when groups are too few.
    Runs are compared by ``by_clip``: see ``_by_clip``.
    """
    sums, counts = measured.sums, measured.counts
    if unit == ACCURACY:
        interval = share_interval(sums, counts, inputs.groups, inputs.confidence)
    else:
        interval = _mean_interval(sums, counts, inputs)
    low, high = interval or (None, None)
    row = {
        "name": measured.name,
        "value": measured.value,
        "n": int((counts > 0).sum()),
        "groups": count_groups(counts, inputs.groups),
        "low": low,
        "high": high,
        "chance": chance,
        "unit": unit,
        "note": measured.note,
        "by_clip": _by_clip(measured),
    }
    if baseline is None:
        return row
    return {**row, "baseline": _compare(measured, baseline, row, inputs)}


def _by_clip(measured: Measured) -> list[float | None]:
    """What each clip adds to the metric, None for one that takes no part. Where clips weigh the
    same it is the value of the clip; always the plain mean is the metric's value."""
    counts = measured.counts
    part = counts > 0
    shares = (measured.sums / counts[part].mean()).tolist()
    return [round(x, _DIGITS) if own else None for x, own in zip(shares, part, strict=True)]


def _mean_interval(sums: np.ndarray, counts: np.ndarray, inputs: ProbeInputs) -> Interval | None:
    options = inputs.confidence, inputs.bootstrap, inputs.seed
    return mean_interval(sums, counts, inputs.groups, *options)


def _compare(
    own: Measured, other: Measured, row: Mapping[str, Any], inputs: ProbeInputs
) -> dict[str, Any]:
    """The baseline, and ``gain``: by how much the metric is better, paired over groups of clips."""
    gains = (own.sums - other.sums) * (1 if row["unit"] == ACCURACY else -1)
    interval = _mean_interval(gains, own.counts, inputs)
    # Where all groups gain the same, how far the gain may be off is not known.
    low, high = interval if interval and interval[0] < interval[1] else (None, None)
    comparison = {
        "name": other.name,
        "value": other.value,
        "gain": float(gains.sum() / own.counts.sum()),
        "low": low,
        "high": high,
        "p": paired_p(gains, own.counts, inputs.groups, inputs.seed),
        "beyond_chance": _beyond_chance(row),
    }
    return {**comparison, "verdict": verdict(comparison, 1 - inputs.confidence)}


def _beyond_chance(row: Mapping[str, Any]) -> bool:
    """Whether the whole interval is on the good side of chance, where there are both."""
    chance = row["chance"]
    if row["low"] is None or chance is None:
        return chance is None
    return bool(row["low"] > chance if row["unit"] == ACCURACY else row["high"] < chance)


def verdict(comparison: Mapping[str, Any], level: float) -> str:
    """One of VERDICTS: what the paired test at this level says about a metric and its baseline.

    A metric that is not beyond chance is not better either: the baseline may have had bad luck.
    """
    if comparison["p"] is None:
        return "too few"
    if comparison["p"] >= level:
        return "unclear"
    if comparison["gain"] < 0:
        return "worse"
    return "better" if comparison["beyond_chance"] else "chance"
