"""DSINE at full size, with seeded weights in the published checkpoint format, against recorded
numbers; and a batch against its pictures one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.dsine import model
from nano4m_audio.backends.dsine.estimator import DsineNormals
from nano4m_audio.backends.dsine.model import CHECKPOINT
from nano4m_audio.backends.images import IMAGENET_MEAN, IMAGENET_STD, normalise
from nano4m_audio.errors import UserError

pytestmark = pytest.mark.slow

ATOL = 2e-3


@pytest.fixture(scope="module")
def dsine(seeded, tmp_path_factory) -> DsineNormals:
    folder = tmp_path_factory.mktemp("dsine")
    state = {f"module.{key}": value for key, value in seeded("dsine").items()}
    torch.save({"model": state}, folder / CHECKPOINT)
    return DsineNormals.load(Compute(), folder)


def _pictures(uint8: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(uint8).permute(2, 0, 1)[None]


def _cameras(matrix: np.ndarray) -> torch.Tensor:
    """3 x 3 camera matrix -> [1, 4]."""
    return torch.tensor([[matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]])


def test_keys_are_those_of_the_published_checkpoint(dsine, golden):
    meta, _ = golden("dsine")
    assert len(dsine.net.state_dict()) == 918
    assert sum(p.numel() for p in dsine.net.parameters()) == meta["parameters"]


def test_encoder_and_decoder_give_the_recorded_maps(dsine, golden):
    _, io = golden("dsine")
    net, cameras = dsine.net, _cameras(io["intrinsics"])
    pictures = _pictures(io["image_uint8"])
    features = net.encoder(normalise(pictures, IMAGENET_MEAN, IMAGENET_STD))
    assert np.allclose(features[0][0, ::4, ::4, ::4], io["encoder_slice_6"], atol=ATOL)
    assert np.allclose(features[1][0, ::8, ::2, ::2], io["encoder_slice_8"], atol=ATOL)
    assert np.allclose(features[2][0, ::64], io["encoder_slice_11"], atol=ATOL)
    uv = tuple(model.uv_at(pictures, cameras, stride) for stride in (8, 16, 32))
    normals, feature, hidden = net.decoder(features, uv)
    unit = torch.nn.functional.normalize(normals, dim=1)
    assert np.allclose(unit, io["decoder_normal"], atol=ATOL)
    assert np.allclose(feature[0, ::8], io["decoder_feature_slice"], atol=ATOL)
    assert np.allclose(hidden[0, ::8], io["decoder_hidden_slice"], atol=ATOL)


def test_all_six_predictions_are_the_recorded_ones(dsine, golden):
    _, io = golden("dsine")
    predictions = dsine.net(_pictures(io["image_uint8"]), _cameras(io["intrinsics"]))
    steps = torch.cat(predictions)[:, :, 4::8, 4::8]
    assert np.allclose(steps, io["normals_iterations"], atol=ATOL)
    assert np.allclose(predictions[-1], io["normals"], atol=ATOL)


def test_a_picture_that_needs_padding(dsine, golden):
    _, io = golden("dsine")
    top, bottom, left, right = io["crop_box"]
    pictures = _pictures(io["image_uint8"][top:bottom, left:right])
    normals = dsine.net(pictures, _cameras(io["crop_intrinsics"]))[-1]
    assert np.allclose(normals[:, :, ::2, ::2], io["crop_normals"], atol=ATOL)


def test_a_batch_gives_what_its_pictures_give_one_by_one(dsine, golden):
    """To the last bit. Whatever the weights, normals face the camera: z < 0 in the Protocol's
    frame, where the reference's point into the surface."""
    _, io = golden("dsine")
    first = io["image_uint8"]
    together = dsine.estimate(np.stack([first, first[::-1], first[:, ::-1]]))
    assert together.shape == (3, 224, 224, 3) and together.dtype == np.float32
    assert np.array_equal(together[1:2], dsine.estimate(first[None, ::-1]))
    assert np.allclose(together[0], -io["normals"][0].transpose(1, 2, 0), atol=ATOL)
    assert np.allclose(np.linalg.norm(together, axis=-1), 1, atol=1e-5)
    assert (together[:, 112, 112, 2] < 0).all()


def test_every_picture_of_a_batch_keeps_its_own_camera(dsine, golden):
    """The published predictor gives all pictures of a batch the camera of one."""
    _, io = golden("dsine")
    cameras = torch.cat([_cameras(io["intrinsics"]), _cameras(io["custom_intrinsics"])])
    both = dsine.net(_pictures(io["image_uint8"]).repeat(2, 1, 1, 1), cameras)[-1]
    assert np.allclose(both[:1], io["normals"], atol=ATOL)
    assert np.allclose(both[1:, :, ::4, ::4], io["custom_normals"], atol=ATOL)


@pytest.mark.parametrize(
    "pictures", [np.zeros((1, 224, 224, 3), np.float32), np.zeros((224, 224, 3), np.uint8)]
)
def test_other_pictures_are_refused_in_one_line(dsine, pictures):
    with pytest.raises(UserError, match=r"uint8 pictures \[B, H, W, 3\]"):
        dsine.estimate(pictures)
