"""CLIP ViT-B/32: cosines equal those of open_clip with its own preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.clip import ARCHITECTURE, ClipVitB32
from nano4m_audio.backends.compute import Compute
from nano4m_audio.taxonomy import known_classes
from tests.backends.rows import check_rows_do_not_depend_on_batches

pytestmark = pytest.mark.slow
PROMPTS = [c.prompts[0] for c in known_classes().values()]


@pytest.fixture(scope="module")
def scorer(random_checkpoint):
    folder, _ = random_checkpoint("clip_vit_b32")
    return ClipVitB32.load(Compute(), folder)


def upstream_embeddings(network, pictures):
    """Unit rows of images and prompts by open_clip's transform, tokenizer and network."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    transform = image_transform_v2(
        PreprocessCfg(**open_clip.get_model_preprocess_cfg(network)), False
    )
    with torch.no_grad():
        images = [network.encode_image(transform(Image.fromarray(p))[None]) for p in pictures]
        texts = network.encode_text(open_clip.get_tokenizer(ARCHITECTURE)(PROMPTS))
    unit = [torch.nn.functional.normalize(x, dim=1).numpy() for x in (torch.cat(images), texts)]
    return unit[0], unit[1]


def check_parity(scorer, random_checkpoint, pictures):
    images, texts = upstream_embeddings(random_checkpoint("clip_vit_b32")[1], pictures)
    assert (images @ images.T).min() < 0.99  # the pictures are told apart
    found = scorer.embed_images(pictures) @ scorer.embed_texts(PROMPTS).T
    assert np.abs(found - images @ texts.T).max() <= 1e-4


def test_cosines_equal_open_clip_on_waves(scorer, random_checkpoint, pictures):
    check_parity(scorer, random_checkpoint, pictures)


def test_cosines_equal_open_clip_on_real_pictures(scorer, random_checkpoint, real_pictures):
    check_parity(scorer, random_checkpoint, real_pictures)


def test_rows_do_not_depend_on_batches(scorer, pictures):
    check_rows_do_not_depend_on_batches(scorer.embed_images, pictures)
    texts = scorer.embed_texts(PROMPTS)
    assert np.array_equal(scorer.embed_texts(PROMPTS[3:4]), texts[3:4])
    assert np.allclose(np.linalg.norm(texts, axis=1), 1)


def test_bfloat16_stays_within_its_tolerance(scorer, random_checkpoint, pictures):
    folder, _ = random_checkpoint("clip_vit_b32")
    reduced = ClipVitB32.load(Compute(dtype="bfloat16"), folder)
    wanted = scorer.embed_images(pictures) @ scorer.embed_texts(PROMPTS).T
    found = reduced.embed_images(pictures) @ reduced.embed_texts(PROMPTS).T
    assert 0 < np.abs(found - wanted).max() <= 0.01
