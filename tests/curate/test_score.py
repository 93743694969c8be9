"""Scores of classes: which outputs of a model are a class's own."""

from __future__ import annotations

import numpy as np
import pytest

from nano4m_audio.backends import audioset
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.mini.scorer import MiniImageTextScorer
from nano4m_audio.curate.score import class_cosines, tagger_columns
from nano4m_audio.taxonomy import SoundClass, class_names, classes_named, known_classes

LABELS = tuple(audioset.labels().values())


def test_labels_of_a_tagger_belong_to_classes():
    columns = tagger_columns(known_classes(), LABELS)
    assert columns["dog"] == [74, 75, 76, 78, 80] and columns["coyote"] == [122, 77]
    assert tagger_columns(classes_named(["frog", "kettle"]), LABELS) == {
        "frog": [LABELS.index("Frog")]
    }


def test_a_tagger_of_the_classes_themselves_is_asked_by_name():
    classes = {**known_classes(), **classes_named(["frog"])}
    columns = tagger_columns(classes, class_names())
    assert columns == {name: [number] for number, name in enumerate(class_names())}


def test_the_small_scorer_knows_its_eleven_classes():
    assert MiniImageTextScorer.load(Compute()).classes == class_names()


def test_a_class_is_as_near_as_its_nearest_prompt_less_what_a_negative_is_nearer():
    one = SoundClass(prompts=("a",))
    two = SoundClass(prompts=("b", "c"), negatives=("d", "e"))
    texts = np.array([[0.1, 0.5, 0.3, 0.2, 0.4], [0.2, 0.1, 0.3, 0.5, 0.0]], np.float32)
    found = class_cosines(texts, [one, two])
    assert found == pytest.approx(np.array([[0.1, 0.5], [0.2, 0.1]]))
    assert found.dtype == np.float32
    alone = class_cosines(texts[:, :1], [one])
    assert np.array_equal(alone, texts[:, :1]), "one prompt and no negative: the cosine itself"
