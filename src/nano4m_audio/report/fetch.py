"""What was asked of the web and what it answered, by the ledger: plain numbers, no drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nano4m_audio.config import sources
from nano4m_audio.fetch.faults import named
from nano4m_audio.fetch.ledger import read_attempts
from nano4m_audio.fetch.plan import Summary, summarise
from nano4m_audio.paths import Results
from nano4m_audio.reasons import Reason
from nano4m_audio.report.inputs import ReportInputs


@dataclass(frozen=True)
class Answer:
    """How often something was answered, and what may help."""

    name: str
    kind: str
    n: int
    advice: str


@dataclass(frozen=True)
class Fetching:
    """The section: the ledger's summary, and a row for every kind of answer."""

    summary: Summary
    answers: list[Answer]


def collect(inputs: ReportInputs) -> Fetching | None:
    """Read the ledger; None where nothing was ever asked for."""
    folder = Results(inputs.results).ledger
    attempts = read_attempts(folder) if folder.is_dir() else []
    if not attempts:
        return None
    web = inputs.config["web"]
    waiting = {c.video_id for c in inputs.clips if Reason.NOT_FETCHED_YET in c.reasons}
    summary = summarise(
        attempts,
        sources.Breaker.model_validate(web["breaker"]),
        videos_due=len(waiting) or None,
        rate_per_hour=web["rate_per_hour"],
    )
    found = Counter((attempt.name, attempt.kind) for attempt in attempts)
    answers = [
        Answer(name, kind, n, named(name).advice if kind != "ok" else "")
        for (name, kind), n in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]
    return Fetching(summary, answers)


def warnings(fetching: Fetching | None) -> list[str]:
    """What a reader must know before believing how many videos are gone."""
    if fetching is None or fetching.summary.healthy:
        return []
    share = fetching.summary.share("unknown")
    return [f"{share:.1%} of the web's answers are not in the table: their videos may be there."]


def answers(kinds: Mapping[str, int]) -> dict[str, int]:
    """Kinds of answers in three: ok, faults of videos, and what was about who asked."""
    walls = kinds.get("address", 0) + kinds.get("config", 0)
    ok = kinds.get("ok", 0)
    return {"ok": ok, "faults of videos": sum(kinds.values()) - ok - walls, "walls": walls}
