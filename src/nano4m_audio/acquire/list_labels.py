"""What the labels of lists mean: the classes of the config that each label stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.backends import audioset
from nano4m_audio.taxonomy import SoundClass, normal

_MID = re.compile(r"/[a-z]/\w{1,20}", re.ASCII)


@dataclass(frozen=True)
class Claims:
    """Which rows are of which classes: row, class_number and core [claims]; and of all rows, which
    are of none, and which have a label that is no label at all [rows]."""

    row: np.ndarray
    class_number: np.ndarray
    core: np.ndarray
    none: np.ndarray
    malformed: np.ndarray


@dataclass(frozen=True)
class LabelMap:
    """The labels of one kind of list: each with the numbers of its classes, and for each of them
    whether it means that class and nothing else. ``several``: a row has labels with commas."""

    labels: Mapping[str, tuple[tuple[int, bool], ...]]
    several: bool = False

    def claims(self, texts: pa.Array, wanted: np.ndarray) -> Claims:
        """Look up the labels of rows [rows], of those that are wanted."""
        rows = np.flatnonzero(wanted)
        texts = texts.take(pa.array(rows))
        if self.several:
            parts = pc.split_pattern(texts, ",")
            rows = rows[pc.list_parent_indices(parts).to_numpy()]
            texts = pc.utf8_trim_whitespace(parts.flatten())
        words = texts.dictionary_encode()
        place = words.indices.to_numpy()
        known = words.dictionary.to_pylist()
        meant = [self.meaning(word) for word in known]
        odd = np.array([self.several and not _MID.fullmatch(word) for word in known], bool)
        row, numbers, core = [], [], []
        for depth in range(max(map(len, meant), default=0)):
            has = np.array([len(classes) > depth for classes in meant])[place]
            entry = [classes[depth] if len(classes) > depth else (0, False) for classes in meant]
            row.append(rows[has])
            numbers.append(np.array([number for number, _ in entry])[place[has]])
            core.append(np.array([own for _, own in entry])[place[has]])
        none, malformed = wanted.copy(), np.zeros(len(wanted), bool)
        for part in row:
            none[part] = False
        malformed[rows[odd[place]]] = True
        return Claims(*_once(row, numbers, core), none, malformed)

    def meaning(self, label: str) -> tuple[tuple[int, bool], ...]:
        """The classes of a label; none for one that is not asked for."""
        return self.labels.get(label) or self.labels.get(normal(label)) or ()


def _once(
    row: list[np.ndarray], numbers: list[np.ndarray], core: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every row and class once, by row and number; core if any of its labels is."""
    if not row:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool)
    rows, classes, own = np.concatenate(row), np.concatenate(numbers), np.concatenate(core)
    order = np.lexsort((~own, classes, rows))
    rows, classes, own = rows[order], classes[order], own[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (classes[1:] != classes[:-1])
    return rows[first], classes[first], own[first]


def label_maps(
    classes: Mapping[str, SoundClass], labels: Literal["core", "all"]
) -> dict[str, LabelMap]:
    """What labels of each kind of list mean: "audioset" (ids), "vggsound", and "own" (classes).

    ``core`` takes labels that mean one class and nothing else, with the kinds of these sounds that
    are kinds of nothing else; ``all`` takes the ambiguous ones, too. A kind that another class
    names is that class's. A label that stands for several classes is ambiguous: it says of none
    that it is that one.
    """
    named = [name for entry in classes.values() for name in entry.audioset]
    by_audioset = [_audioset(entry, named) for entry in classes.values()]
    by_vggsound = [({*c.vggsound}, {*c.vggsound_ambiguous}) for c in classes.values()]
    names = [({normal(name)}, set[str]()) for name in classes]
    return {
        "audioset": LabelMap(_map(by_audioset, labels), several=True),
        "vggsound": LabelMap(_map(by_vggsound, labels)),
        "own": LabelMap(_map(names, labels)),
    }


def _audioset(entry: SoundClass, named: Iterable[str]) -> tuple[set[str], set[str]]:
    """The ids of a class's sounds: those that mean it, and those that may. ``named`` are the names
    of the sounds of all classes."""
    ids = {name: mid for mid, name in audioset.labels().items()}
    stated = {ids[name] for name in entry.audioset_ambiguous or ()}
    own = {ids[name] for name in entry.audioset} - stated
    own, shared = audioset.with_kinds(own, stated | {ids[name] for name in named} - own)
    return own, stated if entry.audioset_ambiguous is not None else shared


def _map(
    pairs: list[tuple[set[str], set[str]]], labels: Literal["core", "all"]
) -> dict[str, tuple[tuple[int, bool], ...]]:
    meant: dict[str, list[tuple[int, bool]]] = {}
    for number, (own, ambiguous) in enumerate(pairs):
        for label in sorted(own | ambiguous):
            meant.setdefault(label, []).append((number, label in own - ambiguous))
    out = {}
    for label, found in meant.items():
        if sum(core for _, core in found) > 1:
            found = [(number, False) for number, _ in found]
        taken = [entry for entry in found if labels == "all" or entry[1]]
        if taken:
            out[label] = tuple(taken)
    return out
