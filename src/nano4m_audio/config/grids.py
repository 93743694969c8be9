"""Grids of experiments: every combination of some values, as experiments with names of their own.

``grids: {study: {base: base, vary: {model.size: [d5w384, d6w512], data.train_clips: [100, 300]}}}``
adds four experiments, from ``study_d5w384_train_clips_100`` on; each is ``base`` with these values.
An experiment of such a name that is written out in the config takes the place of the generated one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nano4m_audio.errors import did_you_mean
from nano4m_audio.nano4m.settings import SIZES

MAX_EXPERIMENTS = 200

_SIZE_KEYS = ("dim", "encoder_depth", "decoder_depth", "head_dim")


def members(name: str, vary: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """The experiments of a grid: name -> the values that it changes, in the order of the values.

    Raises ValueError for an empty grid, a value that occurs twice, or too many combinations.
    """
    if not vary or not all(vary.values()):
        raise ValueError(f"grids.{name}.vary: at least one key, each with at least one value")
    total = 1
    for values in vary.values():
        total *= len(values)
    if total > MAX_EXPERIMENTS:
        raise ValueError(f"grids.{name}: {total} experiments, more than {MAX_EXPERIMENTS}")
    parts = [
        [(key, value, _part(key, value, i)) for i, value in enumerate(values)]
        for key, values in vary.items()
    ]
    out = {}
    for combination in itertools.product(*parts):
        member = "_".join([name, *(part for _, _, part in combination)])
        if member in out:
            raise ValueError(f"grids.{name}: two combinations are called {member!r}")
        out[member] = {key: value for key, value, _ in combination}
    return out


def expand(
    experiments: Mapping[str, Any], grids: Mapping[str, Mapping[str, Any]], known: Sequence[str]
) -> dict[str, Any]:
    """Add the experiments of all grids to ``experiments`` (plain values, not validated yet).

    Raises ValueError for an unknown base or an unknown key, with a suggestion.
    """
    out = dict(experiments)
    for name, grid in grids.items():
        base = grid.get("base", "base")
        if base not in experiments:
            raise ValueError(f"grids.{name}.base = {base!r} is not in experiments")
        for key in grid["vary"]:
            if key not in known:
                hint = did_you_mean(str(key), known)
                raise ValueError(f"grids.{name}.vary.{key}: unknown key of an experiment{hint}")
        for member, changes in members(name, grid["vary"]).items():
            out.setdefault(member, overlaid(experiments[base], _nested(changes)))
    return out


def overlaid(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``changes``, section by section; a size of the model replaces its
    widths and depths, and the other way round."""
    out = dict(base)
    for name, new in changes.items():
        old = base.get(name)
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            out[name] = new
            continue
        if name == "model" and new.get("size"):
            old = {key: value for key, value in old.items() if key not in _SIZE_KEYS}
        elif name == "model" and set(_SIZE_KEYS) & set(new):
            old = {**SIZES.get(str(old.get("size")), {}), **old, "size": None}
        out[name] = {**old, **new}
    return out


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"model.dim": 64}`` as ``{"model": {"dim": 64}}``."""
    out: dict[str, Any] = {}
    for dotted, value in values.items():
        section, _, key = dotted.rpartition(".")
        out[section] = {**out.get(section, {}), key: value}
    return out


def _part(key: str, value: Any, place: int) -> str:
    """The part of a name that says ``key = value``; only letters, digits and _."""
    if isinstance(value, bool) or value is None:
        text = {True: "on", False: "off", None: "none"}[value]
    elif isinstance(value, int | float):
        text = f"{value:g}" if isinstance(value, float) else str(value)
        text = text.replace(".", "p").replace("-", "m").replace("+", "")
    elif isinstance(value, str):
        return re.sub(r"\W", "_", value, flags=re.ASCII)
    else:
        text = str(place)  # lists and mappings have no short name
    return f"{key.rpartition('.')[2]}_{text}"
