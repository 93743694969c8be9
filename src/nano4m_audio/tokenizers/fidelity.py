"""How much of an image or a sound survives a tokenizer, and how much of its vocabulary it uses."""

from __future__ import annotations

import numpy as np

#: Images lie in -1..1.
_PEAK = 2.0
# Gaussian window of Wang et al. 2004, "Image quality assessment: from error visibility to
# structural similarity": 11 x 11, sigma 1.5, sum 1; C1 = (0.01 L)^2, C2 = (0.03 L)^2.
_OFFSETS = np.arange(-5, 6)
_WINDOW = np.exp(-(_OFFSETS**2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
#: Decibels between which SI-SDR is given: of an equal sound it is infinite.
_SDR_RANGE = -60.0, 100.0
#: Mean power below which a sound is silence: -120 dBFS, less than the step of 16 bits.
_SILENCE = 1e-12
#: Mel bands, samples from one spectrum to the next, and the decibels below the loudest band of a
#: sound that are compared.
_BANDS, _HOP, _DEPTH_DB = 64, 256, 80.0
#: Sounds whose spectra are in memory at once.
_AT_ONCE = 16


def psnr_db(images: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each image, at most 100 dB: [N, C, H, W] twice -> [N]."""
    error = ((images.astype(np.float64) - decoded) ** 2).mean((1, 2, 3))
    return 10 * np.log10(_PEAK**2 / error.clip(_PEAK**2 * 1e-10))


def ssim(images: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Structural similarity of each image in -1..1, 1 if equal: [N, C, H, W] twice -> [N].

    The mean over all places where the window fits and over channels (Wang et al. 2004, eq. 13).
    """
    x, y = images.astype(np.float64), decoded.astype(np.float64)
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return (likeness * structure).mean((1, 2, 3))


def _smooth(maps: np.ndarray) -> np.ndarray:
    """Mean under the window wherever it fits: [..., H, W] -> [..., H - 10, W - 10]."""
    height, width = maps.shape[-2] - 10, maps.shape[-1] - 10
    rows = sum(w * maps[..., i : i + height, :] for i, w in enumerate(_WINDOW))
    return sum(w * rows[..., i : i + width] for i, w in enumerate(_WINDOW))


def vocabulary_use(tokens: np.ndarray, vocab_size: int) -> tuple[float, float]:
    """Share of the vocabulary that occurs, and the perplexity (exp of the entropy) of the tokens.

    A perplexity of ``vocab_size`` means that all tokens are equally frequent.
    """
    counts = np.bincount(tokens.ravel(), minlength=vocab_size)
    share = counts[counts > 0] / counts.sum()
    return float((counts > 0).mean()), float(np.exp(-(share * np.log(share)).sum()))


def si_sdr_db(sounds: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Scale-invariant signal-to-distortion ratio of each sound in -60..100 dB: float [N, S] twice
    -> [N] (Le Roux et al. 2019, arXiv 1811.02508).

    Means are taken away, and what is left of ``decoded`` beside its projection on the sound is
    distortion. A decoder that keeps the spectrum and not its phase is far below 0. NaN for silence.
    """
    x, y = (s.astype(np.float64) - s.mean(axis=1, keepdims=True) for s in (sounds, decoded))
    power = (x * x).sum(axis=1, keepdims=True)
    silent = power[:, 0] < _SILENCE * x.shape[1]
    part = (x * y).sum(axis=1, keepdims=True) / np.where(power > 0, power, 1) * x
    signal, error = (part**2).sum(axis=1), ((y - part) ** 2).sum(axis=1)
    low, high = (10 ** (db / 10) for db in _SDR_RANGE)
    ratio = np.divide(signal, error, out=np.full(len(x), high), where=error > 0)
    ratio[signal == 0] = low
    return np.where(silent, np.nan, 10 * np.log10(ratio.clip(low, high)))


def mel_distance_db(sounds: np.ndarray, decoded: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean absolute difference of two log-mel spectrograms in dB: float [N, S] twice -> [N].

    64 bands up to half the rate, a spectrum every 256 samples (window 1,024). What is more than
    80 dB below the loudest band of the sound counts as that: nobody hears it.
    """
    import torch
    from torchaudio.functional import melscale_fbanks

    from nano4m_audio.backends.log_mel import N_FFT, LogMel

    filters = melscale_fbanks(N_FFT // 2 + 1, 0.0, rate_hz / 2, _BANDS, rate_hz)
    mel, distances = LogMel(filters, _HOP), []
    for start in range(0, len(sounds), _AT_ONCE):
        pair = (s[start : start + _AT_ONCE].astype(np.float32) for s in (sounds, decoded))
        with torch.inference_mode():
            x, y = (mel(torch.from_numpy(s)).numpy() for s in pair)
        floor = x.max(axis=(1, 2), keepdims=True) - _DEPTH_DB
        distances.append(abs(np.maximum(x, floor) - np.maximum(y, floor)).mean(axis=(1, 2)))
    return np.concatenate(distances)
