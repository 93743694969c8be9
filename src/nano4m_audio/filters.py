"""The filters of clips, one row each, and the catalogue of all reasons.

The ``verdict`` section of the config, the columns of the verdicts, the check that a filter has the
scores it needs, and the funnel, histograms and warnings of the report are made from these rows.
"""

from __future__ import annotations

from ctypes import c_float
from dataclasses import dataclass
from typing import Literal

from nano4m_audio.reasons import Reason


@dataclass(frozen=True)
class Filter:
    """One number of a clip and the threshold that it is compared with.

    ``column`` is a number of the artifact ``table``, or (no table) one of the two that the verdict
    picks: ``audio_score`` and ``visual_score``. ``key`` is its threshold in ``verdict``: with
    ``side`` "min" a clip below it fails, with "max" one above it. ``score`` is the config key
    of the model that gives the number, if any: without that model the threshold must be null.
    ``unit`` "share" is shown in percent.
    """

    column: str
    key: str
    side: Literal["min", "max"]
    default: float | None
    limits: tuple[float, float]
    reason: str
    meaning: str
    title: str
    number: str
    passed: str
    failed: str
    table: str = "clips"
    score: str = ""
    unit: str = ""

    @property
    def in_unit(self) -> str:
        """The unit as it stands behind words, such as " [dBFS]"."""
        return "" if self.unit in ("", "share") else f" [{self.unit}]"

    def fails(self, value: float | None, threshold: float | None) -> bool:
        """Whether a clip with this value is rejected; null is off. A value on the threshold passes;
        one that is missing, or no number, fails.

        Scores are float32, in which 0.7 is a little less than 0.7: the threshold is rounded, too.
        """
        if threshold is None or value is None:
            return threshold is not None
        found, limit = c_float(value).value, c_float(threshold).value
        return not (found >= limit if self.side == "min" else found <= limit)


#: In the order in which reasons are listed: the first one that a clip fails counts in the funnel.
FILTERS: tuple[Filter, ...] = (
    Filter(
        column="level_dbfs",
        key="level_min_dbfs",
        side="min",
        default=-60.0,
        limits=(-120, 0),
        unit="dBFS",
        reason="silent",
        meaning="the loudest second is below the level threshold",
        title="Level",
        number="level of the loudest second",
        passed="Loud enough",
        failed="silent",
    ),
    Filter(
        column="motion",
        table="scores/fingerprints",
        key="motion_min",
        side="min",
        default=None,  # the paper had no such filter
        limits=(0, 255),
        unit="grey levels",
        reason="static",
        meaning="the picture does not move",
        title="Motion",
        number="distance of a frame from the mean of all",
        passed="Moves",
        failed="still picture",
    ),
    Filter(
        column="audio_score",
        table="",
        key="audio_min",
        side="min",
        default=0.30,
        limits=(0, 1),
        score="score.audio",
        reason="audio_low",
        meaning="no window sounds enough like the class",
        title="Sound",
        number="class score of the best 3.4 s window",
        passed="Sounds like its class",
        failed="wrong sound",
    ),
    Filter(
        column="visual_score",
        table="",
        key="visual_min",
        side="min",
        default=0.25,
        limits=(-1, 1),
        score="score.visual",
        reason="visual_low",
        meaning="no frame looks enough like the class",
        title="Picture",
        number="cosine of the best frame with its prompt",
        passed="Looks like its class",
        failed="wrong picture",
    ),
    Filter(
        column="speech_fraction",
        table="scores/speech",
        key="speech_max",
        side="max",
        default=0.0,
        limits=(0, 1),
        score="score.speech",
        unit="share",
        reason="speech",
        meaning="too much human speech",
        title="Speech",
        number="share of the clip with a human voice",
        passed="Free of speech",
        failed="speech",
    ),
)

#: In the order in which config and report list them: first what models say.
LISTED = tuple(sorted(FILTERS, key=lambda row: not row.score))
#: The columns of verdicts that filters compare, and what they are; several filters may share one.
COLUMNS = {row.column: f"{row.number}{row.in_unit}" for row in LISTED}

_AFTER_VERDICTS = (Reason.DUPLICATE, Reason.LABEL_FAILED, Reason.TOKENIZE_FAILED)
#: Every reason and what it means, in the order in which the pipeline can notice them.
CATALOGUE: dict[str, str] = {
    **{reason.value: reason.description for reason in Reason if reason not in _AFTER_VERDICTS},
    **{row.reason: row.meaning for row in FILTERS},
    **{reason.value: reason.description for reason in _AFTER_VERDICTS},
}
