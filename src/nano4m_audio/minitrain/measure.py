"""Quality of the mini family on barnyard scenes and sounds that no member was trained on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from nano4m_audio.backends.mini.codec import WINDOW_SAMPLES, MiniCodec
from nano4m_audio.backends.mini.dense import MiniDepth, MiniNormals
from nano4m_audio.backends.mini.image_tokenizer import (
    MiniDepthTokenizer,
    MiniImageTokenizer,
    MiniNormalTokenizer,
    MiniRgbTokenizer,
)
from nano4m_audio.backends.mini.runtime import WEIGHTS
from nano4m_audio.backends.mini.scorer import MiniImageTextScorer
from nano4m_audio.backends.mini.tagger import WINDOW_SAMPLES as TAGGER_SAMPLES
from nano4m_audio.backends.mini.tagger import MiniTagger
from nano4m_audio.minitrain.data import FAR_M, SoundSet, ViewSet, sound_block, view_block
from nano4m_audio.minitrain.losses import modality_images, stretch
from nano4m_audio.minitrain.resample import to_rate
from nano4m_audio.tokenizers.fidelity import psnr_db, vocabulary_use

Measures = dict[str, float]

_TOKENIZERS: dict[str, type[MiniImageTokenizer]] = {
    "rgb": MiniRgbTokenizer,
    "depth": MiniDepthTokenizer,
    "normal": MiniNormalTokenizer,
}
#: A class score above this counts as heard or seen.
_HEARD, _SEEN, _UNSEEN = 0.5, 0.5, 0.3


def measure_all(
    *, purpose: str, seed: int, views: int, sounds: int, folder: Path = WEIGHTS
) -> dict[str, Measures]:
    """Every measure of every member, on ``views`` pictures and ``sounds`` windows of one seed."""
    view_arrays, sound_arrays = view_block(seed, purpose, views), sound_block(seed, purpose, sounds)
    seen = ViewSet(**{name: torch.from_numpy(v) for name, v in view_arrays.items()})
    heard = SoundSet(**{name: torch.from_numpy(v) for name, v in sound_arrays.items()})
    result = {
        "tagger": measure_tagger(heard, folder),
        "scorer": measure_scorer(seen, folder),
        "depth": measure_depth(seen, folder),
        "normals": measure_normals(seen, folder),
    }
    for modality in _TOKENIZERS:
        result[f"{modality}_tokenizer"] = measure_image_tokenizer(seen, modality, folder)
    result["codec"] = measure_codec(heard, folder)
    return result


def measure_tagger(sounds: SoundSet, folder: Path = WEIGHTS) -> Measures:
    """top_1: best class right; recall: its score > 0.5; false_alarms: others with one > 0.5."""
    scores = MiniTagger.load(folder=folder).tag(_waveforms(sounds))
    label = sounds.label.numpy()
    animal = label >= 0
    right = scores[animal, label[animal]]
    return {
        "top_1": _mean(scores[animal].argmax(1) == label[animal]),
        "recall": _mean(right > _HEARD),
        "false_alarms": _mean(scores[~animal].max(1) > _HEARD),
    }


def measure_scorer(views: ViewSet, folder: Path = WEIGHTS) -> Measures:
    """Over "a photo of a <class>": top_1; seen: own cosine > 0.5; unseen: other cosines < 0.3
    (share of pictures), empty_unseen the same for pictures without an animal."""
    from nano4m_audio.barnyard.streams import CLASSES

    scorer = MiniImageTextScorer.load(folder=folder)
    texts = scorer.embed_texts([f"a photo of a {name}" for name in CLASSES])
    cosines = scorer.embed_images(views.rgb.numpy()) @ texts.T
    label = views.label.numpy()
    animal = label >= 0
    own = np.arange(len(CLASSES)) == label[:, None]
    others = np.where(own, -1, cosines).max(1)
    return {
        "top_1": _mean(cosines[animal].argmax(1) == label[animal]),
        "seen": _mean(cosines[own] > _SEEN),
        "unseen": _mean(others[animal] < _UNSEEN),
        "empty_unseen": _mean(others[~animal] < _UNSEEN),
        "own_cosine": _mean(cosines[own]),
    }


def measure_depth(views: ViewSet, folder: Path = WEIGHTS) -> Measures:
    """abs_rel: mean |depth error| / depth off the sky, depth clipped at 60 m; abs_rel_scaled: the
    same after scaling each picture by its median ratio, as relative depth is judged."""
    inverse = views.inverse_depth.float().numpy()
    predicted = 1 / MiniDepth.load(folder=folder).estimate(views.rgb.numpy()).clip(1 / FAR_M)
    plain, scaled = [], []
    for truth, guess in zip(inverse, predicted, strict=True):
        solid = truth > 0
        depth, guess = 1 / truth[solid], guess[solid]
        plain.append(np.abs(guess / depth - 1).mean())
        scaled.append(np.abs(guess * np.median(depth / guess) / depth - 1).mean())
    return {"abs_rel": _mean(plain), "abs_rel_scaled": _mean(scaled)}


def measure_normals(views: ViewSet, folder: Path = WEIGHTS) -> Measures:
    """Angle to the true normals in degrees over all pixels that are not sky: mean and median."""
    predicted = MiniNormals.load(folder=folder).estimate(views.rgb.numpy())
    truth = views.normals.float().numpy()
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    solid = views.inverse_depth.numpy() > 0
    cosine = (predicted * truth).sum(-1)[solid].clip(-1, 1)
    angles_deg = np.degrees(np.arccos(cosine))
    return {"mean_deg": _mean(angles_deg), "median_deg": float(np.median(angles_deg))}


def measure_image_tokenizer(views: ViewSet, modality: str, folder: Path = WEIGHTS) -> Measures:
    """psnr_db over -1..1 (peak 2): mean and tenth percentile over pictures; the same for what the
    estimators predict instead of the truth; codebook_used and its perplexity, both as shares of the
    vocabulary."""
    tokenizer = _TOKENIZERS[modality].load(folder=folder)
    truth = modality_images(views, modality, torch.arange(len(views.label))).numpy()
    tokens = tokenizer.tokenize(truth)
    psnr = psnr_db(truth, tokenizer.decode(tokens))
    used, perplexity = vocabulary_use(tokens, tokenizer.vocab_size)
    result = {
        "psnr_db": _mean(psnr),
        "psnr_p10_db": float(np.quantile(psnr, 0.1)),
        "codebook_used": used,
        "codebook_perplexity": perplexity / tokenizer.vocab_size,
    }
    if modality != "rgb":
        guess = _predicted_images(views, modality, folder)
        decoded = tokenizer.decode(tokenizer.tokenize(guess))
        result["psnr_predicted_db"] = _mean(psnr_db(guess, decoded))
    return result


def measure_codec(sounds: SoundSet, folder: Path = WEIGHTS) -> Measures:
    """class_kept: decoded windows whose best class is still right; log_spectral_db: mean error of
    the log-mel spectrum after decoding; codebook use per codebook."""
    tokenizer, tagger = MiniCodec.load(folder=folder), MiniTagger.load(folder=folder)
    animal = sounds.label >= 0
    label = sounds.label[animal].numpy()
    waveforms = torch.from_numpy(_waveforms(sounds))[animal]
    codes = tokenizer.encode(to_rate(waveforms, WINDOW_SAMPLES).numpy())
    decoded = torch.from_numpy(tokenizer.decode(codes))
    scores = tagger.tag(to_rate(decoded, TAGGER_SAMPLES).numpy())
    log_mel = tokenizer.net.log_mel
    error = log_mel(decoded) - log_mel(to_rate(waveforms, WINDOW_SAMPLES))
    result = {
        "class_kept": _mean(scores.argmax(1) == label),
        "recall": _mean(scores[np.arange(len(label)), label] > _HEARD),
        "log_spectral_db": float(error.abs().mean()) * 10 / math.log(10),
    }
    for i in range(tokenizer.n_codebooks):
        used = len(np.unique(codes[:, i]))
        result[f"codebook_{i + 1}_used"] = used / tokenizer.codebook_size
    return result


def _predicted_images(views: ViewSet, modality: str, folder: Path) -> np.ndarray:
    rgb = views.rgb.numpy()
    if modality == "normal":
        return MiniNormals.load(folder=folder).estimate(rgb).transpose(0, 3, 1, 2)
    inverse = torch.from_numpy(MiniDepth.load(folder=folder).estimate(rgb))
    return stretch(inverse).unsqueeze(1).numpy()


def _waveforms(sounds: SoundSet) -> np.ndarray:
    return sounds.waveforms.numpy().astype(np.float32) / 32767


def _mean(values: np.ndarray | list[float]) -> float:
    return float(np.mean(values))
