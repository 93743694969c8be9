"""What a metric's comparison with its baseline means, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nano4m_audio.evaluate.probes import PROBES

_MINUS, _NARROW = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Verdict:
    """``word`` is one of VERDICTS; ``claim`` says it in words, ``evidence`` with its figures."""

    word: str
    claim: str
    evidence: str


def verdict_of(probe: str, metric: Mapping[str, Any] | None) -> Verdict | None:
    """The verdict on one metric of an evaluation; None for one without a baseline."""
    comparison = (metric or {}).get("baseline")
    if metric is None or not comparison:
        return None
    word, gain = comparison["verdict"], comparison["gain"]
    than = PROBES[probe].baseline if probe in PROBES else "its baseline"
    by = _difference(comparison, metric["unit"])
    here = f"better {by}" if gain > 0 else f"worse {by}" if gain < 0 else "no difference"
    if word == "too few":
        n = metric["groups"]
        claim, evidence = f"Too few clips to compare with {than}", f"{here} in {n} {_groups(n)}"
    elif word == "unclear":
        claim, evidence = f"Not distinguishable from {than}", here
    elif word == "chance":
        claim, evidence = f"Better than {than}, but not distinguishable from chance", by
    else:
        claim, evidence = f"{word.capitalize()} than {than}", by
    return Verdict(word, claim, evidence)


def short_verdict(metric: Mapping[str, Any] | None) -> str:
    """A few words for a table's cell; none for what is better than its baseline."""
    comparison = (metric or {}).get("baseline") or {}
    words = {
        "worse": "worse than its baseline",
        "unclear": "not better than its baseline",
        "chance": "not better than chance",
        "too few": "too few clips",
    }
    return words.get(comparison.get("verdict", ""), "")


def _groups(n: int) -> str:
    return f"independent group{'' if n == 1 else 's'} of clips"


def _difference(comparison: Mapping[str, Any], unit: str) -> str:
    """by 0.42 nats (0.30 to 0.55), p < 0.001; the interval turns with the sign."""
    gain, low, high = comparison["gain"], comparison["low"], comparison["high"]
    if gain < 0:
        gain, low, high = -gain, *(None if x is None else -x for x in (high, low))
    text = f"by {_amount(gain, unit)}{_NARROW}{'points' if unit == 'accuracy' else 'nats'}"
    if low is not None and high is not None:
        text += f" ({_amount(low, unit)} to {_amount(high, unit)})"
    p = comparison["p"]
    if p is None:
        return text
    return f"{text}, p{' < 0.001' if p < 0.001 else f' = {p:.3f}'}"


def _amount(value: float, unit: str) -> str:
    """A share in percentage points, nats as they are."""
    text = f"{100 * value:.1f}" if unit == "accuracy" else f"{value:.3f}"
    return text.replace("-", _MINUS)
