"""The taxonomy's PANNs indices are rows of AudioSet's own list of labels."""

from __future__ import annotations

import csv

from nano4m_audio.backends.panns import N_LABELS
from nano4m_audio.taxonomy import all_classes


def test_indices_name_the_labels_of_the_taxonomy(shared):
    path = shared / "metadata/audioset/class_labels_indices.csv"
    with open(path, newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["index"]) for row in rows] == list(range(N_LABELS))
    for animal in all_classes().values():
        assert [rows[i]["mid"] for i in animal.panns_core] == list(animal.audioset_core)
        assert [rows[i]["display_name"] for i in animal.panns_core] == list(
            animal.audioset_core_names
        )
        assert {rows[i]["mid"] for i in animal.panns_ambiguous} == set(animal.audioset_ambiguous)
