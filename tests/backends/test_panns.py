"""PANNs Cnn14: our network equals the package's own on the same checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.panns import CHECKPOINT, PannsCnn14, PannsEmbedder, PannsSoundFeatures
from nano4m_audio.errors import UserError
from tests.backends.rows import check_rows_do_not_depend_on_batches

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tagger(random_checkpoint):
    folder, _ = random_checkpoint("panns_cnn14")
    return PannsCnn14.load(Compute(), folder)


def upstream_scores(random_checkpoint, waveforms):
    """Clipwise scores of the package's network, one window at a time as its own loop would."""
    _, network = random_checkpoint("panns_cnn14")
    with torch.no_grad():
        rows = [network(torch.from_numpy(w[None]))["clipwise_output"] for w in waveforms]
    return torch.cat(rows).numpy()


def check_parity(tagger, random_checkpoint, waveforms):
    wanted = upstream_scores(random_checkpoint, waveforms)
    assert wanted.std(axis=0).mean() > 0.05  # the windows are told apart
    assert np.abs(tagger.tag(waveforms) - wanted).max() <= 1e-4


def test_scores_equal_the_package_on_tones(tagger, random_checkpoint, sounds):
    check_parity(tagger, random_checkpoint, sounds(109_227, 32_000))


def test_scores_equal_the_package_on_real_sound(tagger, random_checkpoint, real_windows):
    check_parity(tagger, random_checkpoint, real_windows)


def test_embeddings_equal_the_package(random_checkpoint, sounds):
    folder, network = random_checkpoint("panns_cnn14")
    waveforms = sounds(109_227, 32_000)
    with torch.no_grad():
        wanted = torch.cat([network(torch.from_numpy(w[None]))["embedding"] for w in waveforms])
    found = PannsEmbedder.load(Compute(), folder).embed(waveforms)
    assert found.shape == (len(waveforms), 2048) and found.std(axis=0).max() > 1e-3
    assert np.abs(found - wanted.numpy()).max() <= 1e-4 * np.abs(found).max()


def test_moments_are_what_the_package_averages_over_time(random_checkpoint, sounds):
    """What its last block gives, before the mean over mel bands and the sums over time."""
    folder, network = random_checkpoint("panns_cnn14")
    waveforms, seen = sounds(109_227, 32_000), []
    handle = network.conv_block6.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        network(torch.from_numpy(waveforms))
    handle.remove()
    wanted = seen[0].mean(3).transpose(1, 2).numpy()
    found = PannsSoundFeatures.load(Compute(), folder).moments(waveforms)
    assert found.shape == wanted.shape == (len(waveforms), 10, 2048) and found.dtype == np.float32
    assert found.std(axis=(0, 1)).max() > 1e-3
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(found).max()


def test_moments_do_not_depend_on_batches(random_checkpoint, sounds):
    features = PannsSoundFeatures.load(Compute(), random_checkpoint("panns_cnn14")[0])
    check_rows_do_not_depend_on_batches(features.moments, sounds(32_000, 32_000))


def test_silence_and_full_scale_agree_with_the_package(tagger, random_checkpoint):
    extremes = np.stack([np.zeros(109_227), np.ones(109_227), -np.ones(109_227)]).astype(np.float32)
    difference = tagger.tag(extremes) - upstream_scores(random_checkpoint, extremes)
    assert np.abs(difference).max() <= 1e-4


def test_rows_do_not_depend_on_batches(tagger, sounds):
    check_rows_do_not_depend_on_batches(tagger.tag, sounds(32_000, 32_000))


def test_scores_belong_to_the_527_labels(tagger, sounds):
    scores = tagger.tag(sounds(32_000, 32_000))
    assert len(set(tagger.labels)) == 527 and scores.shape[1] == 527
    assert [tagger.labels[i] for i in (0, 74, 81, 93)] == ["Speech", "Dog", "Cat", "Pig"]
    assert scores.dtype == np.float32 and scores.min() >= 0 and scores.max() <= 1


def test_a_checkpoint_of_another_network_is_one_line(tmp_path, random_checkpoint):
    folder, _ = random_checkpoint("panns_cnn14")
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    del content["model"]["fc1.bias"]
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match="weights of another network.*fc1.bias") as caught:
        PannsCnn14.load(Compute(), tmp_path)
    assert "\n" not in str(caught.value)
