"""ResNet-50: probabilities equal torchvision's with the transform of its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.resnet import ResNet50
from tests.backends.rows import check_rows_do_not_depend_on_batches

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def classifier(random_checkpoint):
    folder, _ = random_checkpoint("resnet50")
    return ResNet50.load(Compute(), folder)


def check_parity(classifier, network, pictures):
    from PIL import Image
    from torchvision.models import ResNet50_Weights

    transform = ResNet50_Weights.IMAGENET1K_V2.transforms()
    with torch.no_grad():
        logits = [network(transform(Image.fromarray(p))[None]) for p in pictures]
    wanted = torch.cat(logits).softmax(1).numpy()
    found = classifier.classify(pictures)
    assert len(set(wanted.argmax(1))) > 1  # the pictures are told apart
    assert found.shape == (len(pictures), classifier.n_classes) and np.allclose(found.sum(1), 1)
    assert np.abs(found - wanted).max() <= 1e-4


def test_probabilities_equal_torchvision_on_waves(classifier, random_checkpoint, pictures):
    check_parity(classifier, random_checkpoint("resnet50")[1], pictures)


def test_probabilities_equal_torchvision_on_real_pictures(
    classifier, random_checkpoint, real_pictures
):
    check_parity(classifier, random_checkpoint("resnet50")[1], real_pictures)


def test_rows_do_not_depend_on_batches(classifier, pictures):
    check_rows_do_not_depend_on_batches(classifier.classify, pictures)
