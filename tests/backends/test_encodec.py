"""EnCodec 24 kHz: codes identical to the package's, and what follows from a causal encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.encodec import Encodec24kHz
from nano4m_audio.media import windows
from nano4m_audio.media.windows import fit_length
from nano4m_audio.tokenize.interleave import deinterleave, interleave
from tests.backends.rows import check_rows_do_not_depend_on_batches, check_tokens

pytestmark = pytest.mark.slow
SAMPLES = 81_920
#: Of a squared distance that the networks take in float32 from squared lengths, as a share of them.
ROUNDING = 16 * float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module")
def codec(random_checkpoint):
    folder, _ = random_checkpoint("encodec_24khz")
    return Encodec24kHz.load(Compute(), folder)


@pytest.fixture(scope="module")
def waveforms(sounds):
    return sounds(SAMPLES, 24_000)[:2]


def upstream(random_checkpoint):
    _, network = random_checkpoint("encodec_24khz")
    network.set_target_bandwidth(1.5)
    return network


def distances(network, waveforms, codes):
    """Squared distances [B, 2, T, 1024] of the package's latents, less the entries of the codes
    before, to all entries: in units of the squared length of a latent, [B, 1, T, 1]."""
    with torch.no_grad():
        latents = [network.encoder(torch.from_numpy(w[None, None])) for w in waveforms]
    left = torch.cat(latents).double().transpose(1, 2)
    length, out = left.square().sum(-1)[:, None, :, None], []
    for layer, code in zip(network.quantizer.vq.layers, codes.transpose(1, 0, 2), strict=False):
        entries = layer.codebook.double()
        # Not torch.cdist, which expands the square as the network does, and rounds as much.
        rows = [(row[:, None] - entries).square().sum(-1) for row in left.flatten(0, 1).split(64)]
        out.append(torch.cat(rows).view(*left.shape[:2], -1))
        left = left - entries[torch.from_numpy(code).long()]
    return (torch.stack(out, 1) / length).numpy()


def margin(distances):
    """By how much the nearest entry is nearer than the second; after a tie in the first codebook
    the second code is of another remainder."""
    best, second = np.moveaxis(np.partition(distances, 1)[..., :2], -1, 0)
    return np.minimum.accumulate(second - best, axis=1)


def check_parity(codec, network, waveforms):
    """The package's codes, and at a near tie one of the entries that are nearest."""
    with torch.no_grad():
        frames = [network.encode(torch.from_numpy(w[None, None])) for w in waveforms]
    wanted = torch.cat([codes for ((codes, _),) in frames]).numpy()
    assert len(np.unique(wanted)) > 30  # many entries are in use
    codes = codec.encode(waveforms)
    assert codes.shape == (len(waveforms), 2, 256) and codes.dtype == np.int32
    check_tokens(codes, wanted, margin(distances(network, waveforms, wanted)), ROUNDING)
    own = distances(network, waveforms, codes)
    chosen = np.take_along_axis(own, codes[..., None].astype(np.int64), -1)[..., 0]
    assert (chosen - own.min(-1) <= ROUNDING).all()
    with torch.no_grad():
        decoded = network.decode([(torch.from_numpy(wanted), None)]).squeeze(1).numpy()
    found = codec.decode(wanted)
    assert found.shape == waveforms.shape and found.dtype == np.float32
    assert np.abs(found - decoded).max() <= 1e-4 * np.abs(decoded).max()


def test_codes_equal_the_package_on_tones(codec, random_checkpoint, waveforms):
    check_parity(codec, upstream(random_checkpoint), waveforms)


def test_codes_equal_the_package_on_real_sound(codec, random_checkpoint, real_windows):
    resampled = windows.resample(real_windows[:2], codec.sample_rate_hz)
    check_parity(codec, upstream(random_checkpoint), fit_length(resampled, SAMPLES))


def test_rows_do_not_depend_on_batches(codec, sounds):
    waveforms = sounds(16_000, 24_000)
    check_rows_do_not_depend_on_batches(codec.encode, waveforms)
    check_rows_do_not_depend_on_batches(codec.decode, codec.encode(waveforms))


def test_stored_ids_decode_to_the_same_waveform(codec, waveforms):
    codes = codec.encode(waveforms)
    ids = interleave(codes, codec.codebook_size)
    assert ids.shape == (len(codes), 512) and ids.max() < 2048
    back = deinterleave(ids, codec.n_codebooks, codec.codebook_size)
    assert np.array_equal(codec.decode(back), codec.decode(codes))


def test_the_first_half_of_the_ids_is_the_code_of_half_the_window(
    codec, random_checkpoint, waveforms
):
    codes, half = codec.encode(waveforms), codec.encode(waveforms[:, : SAMPLES // 2])
    near = margin(distances(upstream(random_checkpoint), waveforms, codes))
    check_tokens(half, codes[..., :128], near[..., :128], ROUNDING)
    assert np.array_equal(interleave(codes, 1024)[:, :256], interleave(codes[..., :128], 1024))


@pytest.mark.parametrize("samples", [0, 1920, 81_919])
def test_no_whole_number_of_frames_is_an_error(codec, samples):
    with pytest.raises(ValueError, match=f"{samples} samples are not 7 or more whole frames"):
        codec.encode(np.zeros((1, samples), np.float32))


def test_it_stays_in_float32_whatever_is_asked_for(random_checkpoint, codec, waveforms):
    folder, _ = random_checkpoint("encodec_24khz")
    reduced = Encodec24kHz.load(Compute(dtype="bfloat16"), folder)
    assert np.array_equal(reduced.encode(waveforms[:1]), codec.encode(waveforms[:1]))
