"""The 527 labels of AudioSet, in the order in which networks trained on it number them, and which
sounds are kinds of which (the ontology of AudioSet)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection
from functools import cache
from importlib import resources

from nano4m_audio.errors import UserError, did_you_mean


@cache
def labels() -> dict[str, str]:
    """Id (/m/...) -> name of every label, in the order of AudioSet's class_labels_indices.csv."""
    text = resources.files(__package__).joinpath("audioset_labels.csv").read_text("utf-8")
    return {row["mid"]: row["name"] for row in csv.DictReader(text.splitlines())}


@cache
def names() -> dict[str, str]:
    """The name of every label by its name in lower case, and by each part of it between commas
    that occurs in no other name ("rooster" of "Chicken, rooster")."""
    parts = [
        (part, name)
        for name in labels().values()
        if "(" not in name
        for part in name.casefold().split(", ")
    ]
    times = Counter(part for part, _ in parts)
    own = {part: name for part, name in parts if times[part] == 1 and part != "etc."}
    return {**own, **{name.casefold(): name for name in labels().values()}}


def label_name(text: str) -> str:
    """The name of the label that ``text`` names, by id, by name in any case or by a part of it.

    Raises UserError, with a suggestion, for an unknown one.
    """
    name = labels().get(text) or names().get(text.casefold())
    if name is None:
        hint = did_you_mean(text, labels().values())
        raise UserError(f"unknown AudioSet label {text[:80]!r}{hint}: one of its 527 names or ids")
    return name


@cache
def children() -> dict[str, tuple[str, ...]]:
    """Id -> ids of the sounds that are kinds of it, of those of the 632 sounds that have any."""
    text = resources.files(__package__).joinpath("audioset_ontology.txt").read_text("utf-8")
    families = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {parent: tuple(kinds) for parent, *kinds in families}


@cache
def parents() -> dict[str, tuple[str, ...]]:
    """Id -> ids of the sounds that it is a kind of; a howl is one of a dog, and of other canids."""
    found: dict[str, list[str]] = {}
    for parent, kinds in children().items():
        for kind in kinds:
            found.setdefault(kind, []).append(parent)
    return {kind: tuple(above) for kind, above in found.items()}


def with_kinds(ids: Collection[str], without: Collection[str] = ()) -> tuple[set[str], set[str]]:
    """These sounds with the kinds of them that are kinds of nothing else, and the other kinds.

    Of the second, a sound may mean something else: a bleat is one of a sheep, or of a goat. What is
    in ``without`` is in neither.
    """
    below, todo = set(ids), [*ids]
    while todo:
        new = {kind for kind in children().get(todo.pop(), ()) if kind not in without} - below
        below |= new
        todo += new
    own = set(ids)
    while new := {kind for kind in below - own if set(parents()[kind]) <= own}:
        own |= new
    return own, below - own
