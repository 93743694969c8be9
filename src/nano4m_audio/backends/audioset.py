"""The 527 labels of AudioSet, in the order in which networks trained on it number them."""

from __future__ import annotations

import csv
from collections import Counter
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
