"""How much of an image survives a tokenizer, and how much of its vocabulary it uses."""

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
