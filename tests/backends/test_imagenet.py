"""The taxonomy's ImageNet ids name the right animals, and decide what counts as a hit."""

from __future__ import annotations

import numpy as np

from nano4m_audio.backends.resnet import hits
from nano4m_audio.taxonomy import known_classes

#: torchvision's names of the classes that are ours; dogs are checked as a range.
NAMES = {
    "pig": ["hog"],
    "sheep": ["ram", "bighorn"],
    "cat": ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"],
    "horse": ["sorrel"],
    "cow": ["ox"],
    "chicken": ["cock", "hen"],
    "duck": ["drake"],
    "pigeon": [],
    "coyote": ["coyote"],
    "lion": ["lion"],
}


def test_ids_are_the_classes_of_the_weights():
    from torchvision.models import ResNet50_Weights

    categories = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
    for name, wanted in NAMES.items():
        assert [categories[i] for i in known_classes()[name].imagenet] == wanted
    dogs = known_classes()["dog"].imagenet
    assert (categories[dogs[0]], categories[dogs[-1]]) == ("Chihuahua", "Mexican hairless")
    assert len(dogs) == 118


def test_a_hit_is_one_of_the_likeliest_k():
    probabilities = np.zeros((4, 1000))
    probabilities[:, :6] = np.linspace(0.2, 0.1, 6)
    probabilities[0, 341] = 0.15  # a hog on place four
    probabilities[1, 341] = 0.05  # on place seven
    probabilities[2, 263] = 0.5  # a Pembroke
    pig, dog, pigeon = (known_classes()[name].imagenet for name in ("pig", "dog", "pigeon"))
    found = hits(probabilities, [pig, pig, dog, pigeon])
    assert found[:3].tolist() == [1, 0, 1] and np.isnan(found[3])
    assert hits(probabilities, [pig, pig, dog, dog], k=1).tolist() == [0, 0, 1, 0]
