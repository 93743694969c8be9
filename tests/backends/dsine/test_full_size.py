"""DSINE at full size, with seeded weights in the published checkpoint format, against recorded
numbers; and a batch against its pictures one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.dsine import geometry, model
from nano4m_audio.backends.dsine.estimator import DsineNormals
from nano4m_audio.backends.dsine.model import CHECKPOINT

pytestmark = pytest.mark.slow

ATOL = 2e-3


@pytest.fixture(scope="module")
def dsine(seeded, tmp_path_factory) -> DsineNormals:
    folder = tmp_path_factory.mktemp("dsine")
    state = {f"module.{key}": value for key, value in seeded("dsine").items()}
    torch.save({"model": state}, folder / CHECKPOINT)
    return DsineNormals.load(Compute(), folder)


def _pictures(uint8: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(uint8).permute(2, 0, 1)[None].float() / 255


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
    features = net.encoder(model.normalised(pictures))
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


def test_other_cameras(dsine, golden):
    _, io = golden("dsine")
    cameras = _cameras(io["custom_intrinsics"])
    normals = dsine.net(_pictures(io["image_uint8"]), cameras)[-1]
    assert np.allclose(normals[:, :, ::4, ::4], io["custom_normals"], atol=ATOL)
    assert torch.equal(cameras, _cameras(io["custom_intrinsics"]))  # not changed in place


def test_a_batch_gives_what_its_pictures_give_one_by_one(dsine, golden):
    """The Protocol's frame is the network's with all signs turned; batches leave no trace."""
    _, io = golden("dsine")
    first = io["image_uint8"]
    pictures = np.stack([first, first[::-1], first[:, ::-1]])
    together = dsine.estimate(pictures)
    assert together.shape == (3, 224, 224, 3) and together.dtype == np.float32
    assert np.array_equal(together, np.concatenate([dsine.estimate(p[None]) for p in pictures]))
    assert np.allclose(together[0], -io["normals"][0].transpose(1, 2, 0), atol=ATOL)
    # Not the padded batch alone: a batch of other cameras and pictures, against batches of one.
    cameras = torch.cat([_cameras(io["intrinsics"]), _cameras(io["custom_intrinsics"])])
    batch = torch.cat([_pictures(first), _pictures(first[::-1].copy())])
    both = dsine.net(batch, cameras)[-1]
    for i in range(2):
        alone = dsine.net(batch[i : i + 1], cameras[i : i + 1])[-1]
        assert torch.allclose(both[i : i + 1], alone, atol=ATOL)


def test_every_normal_faces_the_camera(dsine, golden):
    """Whatever the weights: in the Protocol's frame a normal and its ray make an obtuse angle."""
    _, io = golden("dsine")
    noise = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    normals = torch.from_numpy(dsine.estimate(noise)).permute(0, 3, 1, 2)
    cameras = geometry.at_stride(_cameras(io["intrinsics"]), 1)
    ray = geometry.rays(geometry.directions(geometry.pixel_centres(224, 224, normals.device), cameras))
    assert (normals * ray).sum(1).max() < 0.2  # upsampling mixes rays of neighbours
    assert normals[:, 2, 112, 112] < 0
