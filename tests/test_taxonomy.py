"""The taxonomy says what the sources say."""

from __future__ import annotations

import csv

import pytest

from nano4m_audio.errors import UserError
from nano4m_audio.taxonomy import all_classes, class_names, get_class


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(separator) if w.strip())


def indices(text: str) -> tuple[int, ...]:
    out: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        out.extend(range(int(first), int(last or first) + 1))
    return tuple(out)


def test_there_are_eleven_classes():
    assert len(class_names()) == 11


def test_unknown_classes_get_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'sheep'"):
        get_class("sheeep")


def test_every_mapping_equals_the_reference_table(shared):
    with open(shared / "metadata/classes.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [r["class"] for r in rows] == list(class_names())
    for row in rows:
        got = all_classes()[row["class"]]
        assert got.caption == row["caption_stored"]
        assert got.prompt == row["clip_prompt"]
        assert got.audioset_core == words(row["audioset_mids_core"])
        assert got.audioset_ambiguous == words(row["audioset_mids_ambiguous"])
        assert got.audioset_core_names == words(row["audioset_names_core"], ";")
        assert got.audioset_ambiguous_names == words(row["audioset_names_ambiguous"], ";")
        assert got.panns_core == indices(row["pann_indices_core"])
        assert got.panns_ambiguous == indices(row["pann_indices_ambiguous"])
        assert got.imagenet_core == indices(row["imagenet_core"])
        assert got.imagenet_lenient == indices(row["imagenet_lenient_extra"])


def test_vggsound_labels_are_those_of_the_source(shared):
    with open(shared / "metadata/vggsound/stat.csv", newline="") as handle:
        known = {row[0]: int(row[1]) for row in csv.reader(handle)}
    with open(shared / "metadata/classes.csv", newline="") as handle:
        counts = {r["class"]: int(r["vggsound_clips_core"]) for r in csv.DictReader(handle)}
    for name, entry in all_classes().items():
        assert sum(known[label] for label in entry.vggsound_core) == counts[name]
        assert all(label in known for label in entry.vggsound_other)


def test_panns_indices_name_the_audioset_labels(shared):
    with open(shared / "metadata/audioset/class_labels_indices.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 527
    for entry in all_classes().values():
        for mids, names, numbers in (
            (entry.audioset_core, entry.audioset_core_names, entry.panns_core),
            (entry.audioset_ambiguous, entry.audioset_ambiguous_names, entry.panns_ambiguous),
        ):
            assert tuple(rows[i]["mid"] for i in numbers) == mids
            assert tuple(rows[i]["display_name"] for i in numbers) == names
