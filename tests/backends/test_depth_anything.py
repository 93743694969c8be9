"""Depth-Anything-V2-Small: maps equal those of transformers' depth-estimation pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.depth_anything import CHECKPOINT, DepthAnythingV2Small
from nano4m_audio.errors import UserError
from tests.backends.rows import check_rows_do_not_depend_on_batches

pytestmark = pytest.mark.slow
#: preprocessor_config.json of depth-anything/Depth-Anything-V2-Small-hf.
PUBLISHED: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 518, "width": 518},
    "ensure_multiple_of": 14,
    "keep_aspect_ratio": True,
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_pad": False,
}


@pytest.fixture(scope="module")
def estimator(random_checkpoint):
    folder, _ = random_checkpoint("depth_anything_v2_small")
    return DepthAnythingV2Small.load(Compute(), folder)


def check_parity(estimator, network, pictures):
    from PIL import Image
    from transformers import DPTImageProcessor, pipeline

    processor: Any = DPTImageProcessor(**PUBLISHED)
    pipe: Any = pipeline("depth-estimation", network, image_processor=processor)
    wanted = torch.stack(
        [pipe(Image.fromarray(p))["predicted_depth"].squeeze() for p in pictures]
    ).numpy()
    found = estimator.estimate(pictures)
    assert found.shape == wanted.shape == (len(pictures), 224, 224)
    spread = wanted.max((1, 2)) - wanted.min((1, 2))
    assert (spread > 0.1 * wanted.max((1, 2))).all()  # the maps are not flat
    assert (np.abs(found - wanted).max((1, 2)) <= 1e-3 * spread).all()


def test_maps_equal_the_pipeline_on_waves(estimator, random_checkpoint, pictures):
    check_parity(estimator, random_checkpoint("depth_anything_v2_small")[1], pictures[:1])


def test_maps_equal_the_pipeline_on_real_pictures(estimator, random_checkpoint, real_pictures):
    check_parity(estimator, random_checkpoint("depth_anything_v2_small")[1], real_pictures[:1])


def test_rows_do_not_depend_on_batches(estimator, pictures):
    check_rows_do_not_depend_on_batches(estimator.estimate, pictures[:2])


def test_bfloat16_stays_within_its_tolerance(estimator, random_checkpoint, pictures):
    folder, _ = random_checkpoint("depth_anything_v2_small")
    reduced = DepthAnythingV2Small.load(Compute(dtype="bfloat16"), folder)
    wanted, found = estimator.estimate(pictures[:1]), reduced.estimate(pictures[:1])
    assert 0 < np.abs(found - wanted).max() <= 0.05 * np.ptp(wanted)


def test_a_checkpoint_with_a_missing_tensor_is_one_line(tmp_path, random_checkpoint):
    from safetensors.torch import load_file, save_file

    folder, _ = random_checkpoint("depth_anything_v2_small")
    tensors = load_file(folder / CHECKPOINT)
    del tensors["head.conv3.bias"]
    save_file(tensors, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match="lacks 1 tensors: head.conv3.bias"):
        DepthAnythingV2Small.load(Compute(), tmp_path)
