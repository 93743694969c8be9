"""Grids of experiments side by side: what was varied, how large each run is, and its losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.config.grids import members
from nano4m_audio.report.runs import Run

#: Keys that make a model larger: their chart has the number of parameters on its axis.
_SIZE_KEYS = ("size", "dim", "encoder_depth", "decoder_depth")


@dataclass(frozen=True)
class Member:
    """One run of a grid: the values it changes, and its last validation losses [nats/token]."""

    run: Run
    values: Mapping[str, Any]
    losses: Mapping[str, float]

    @property
    def mean_loss(self) -> float | None:
        """The mean over modalities; None for a run without validation clips."""
        return sum(self.losses.values()) / len(self.losses) if self.losses else None


@dataclass(frozen=True)
class Study:
    """The finished runs of a grid. ``series`` are the lines of its chart: name -> (x, mean loss)
    with the number of training clips or of parameters as x; without such an axis, none."""

    name: str
    keys: list[str]
    modalities: list[str]
    rows: list[Member]
    planned: int
    axis: str
    series: dict[str, list[tuple[float, float]]]
    best: str
    note: str


def studies(
    grids: Mapping[str, Mapping[str, Any]], runs: Sequence[Run], notes: Mapping[str, str]
) -> list[Study]:
    """Every grid of which at least one run has finished; ``notes`` are what the paper says."""
    found = {run.name: run for run in runs}
    out = []
    for name, grid in grids.items():
        planned = members(name, grid["vary"])
        rows = [_member(found[m], values) for m, values in planned.items() if m in found]
        if rows:
            keys = [_short(key) for key in grid["vary"]]
            out.append(_study(name, keys, rows, len(planned), notes.get(name, "")))
    return out


def _short(key: str) -> str:
    """dim for model.dim: no two sections share the name of a key."""
    return key.rpartition(".")[2]


def _member(run: Run, values: Mapping[str, Any]) -> Member:
    values = {_short(key): value for key, value in values.items()}
    return Member(run, values, run.facts.get("final_losses", {}).get("val") or {})


def _study(name: str, keys: list[str], rows: list[Member], planned: int, note: str) -> Study:
    axis_keys = [k for k in keys if k == "train_clips"] or [k for k in keys if k in _SIZE_KEYS]
    axis = {"train_clips": "training clips"}.get(axis_keys[0], "parameters") if axis_keys else ""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows if axis else []:
        if row.mean_loss is None:
            continue
        line = ", ".join(_label(k, row.values[k]) for k in keys if k not in axis_keys)
        series.setdefault(line, []).append((_place(row, axis), row.mean_loss))
    scored = [row for row in rows if row.mean_loss is not None]
    return Study(
        name=name,
        keys=keys,
        modalities=list(dict.fromkeys(m for row in rows for m in row.losses)),
        rows=rows,
        planned=planned,
        axis=axis,
        series={line: sorted(points) for line, points in series.items()},
        best=min(scored, key=lambda r: (r.mean_loss, r.run.name)).run.name if scored else "",
        note=note,
    )


def _place(row: Member, axis: str) -> float:
    if axis == "parameters":
        return float(row.run.facts["parameters"])
    return float(row.run.facts["clips"]["train"])


def _label(key: str, value: Any) -> str:
    """d6w512 says what it is; 0.2 does not."""
    return value if isinstance(value, str) else f"{key.replace('_', ' ')} {value_text(value)}"


def value_text(value: Any) -> str:
    """null as all, truth values as on and off, anything else as it is."""
    if value is None or isinstance(value, bool):
        return {None: "all", True: "on", False: "off"}[value]
    return str(value)
