"""Fidelity of an image tokenizer on held-out keyframes of the run, as JSON and as a PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.tokenizers import QualitySettings
from nano4m_audio.files import copy_file, write_bytes, write_json
from nano4m_audio.intervals import clip_groups, mean_interval
from nano4m_audio.label.maps import visible
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.seals import kept, publish_json
from nano4m_audio.tables import content_key
from nano4m_audio.tokenize.keyframes import Pick, content_of, list_clips, read_all, spread
from nano4m_audio.tokenize.names import backend_name
from nano4m_audio.tokenizers.fidelity import psnr_db, ssim, vocabulary_use
from nano4m_audio.versions import stage_version

#: Where to look for images that no tokenizer of the run has learnt from.
HELD_OUT = ("test", "val")


@dataclass(frozen=True)
class Measured:
    """What the tokenizer does to the images of one clip: values per image, and its tokens.

    ``example``: its first image and what that decodes to; None for most, as all would fill memory.
    """

    clip_id: str
    psnr_db: np.ndarray
    ssim: np.ndarray
    tokens: np.ndarray
    example: tuple[np.ndarray, np.ndarray] | None


def measure_quality(
    results: Results, settings: QualitySettings, compute: Compute = Compute()
) -> None:
    """Measure a tokenizer, or find it measured, and publish the JSON and the PNG beside it.

    The images are those of the test split, of val if there are none. The PNG has a column per
    example: the original above what its tokens decode to. Without any image n is 0.
    """
    modality, kind = settings.modality, MODALITIES[settings.modality].tokenizer
    backend = backend_name(settings.backend, results)
    split, picks = _held_out(results, modality, settings.frames)
    identity = registry.identity(kind, backend, compute.dtype)
    version = stage_version("quality")
    ids = [pick.clip_id for pick in picks]
    groups = dict(zip(ids, clip_groups(results.split, ids).tolist(), strict=True))
    content = [content_of(picks), groups]
    options = settings.model_dump(exclude={"modality", "backend"})
    key = content_key("quality", version, modality, identity, options, content)
    stored = results.store / "quality" / f"{key}.json"
    sheet = stored.with_suffix(".png")

    def make() -> None:
        tokenizer = registry.load(kind, backend, compute)
        clips = _run(tokenizer, results.store, modality, picks, settings.examples)
        write_bytes(sheet, _examples(modality, clips))
        head = {"key": key, "split": split, "identity": identity}
        write_json(stored, {**head, **_summary(clips, groups, tokenizer.vocab_size, settings)})

    kept([stored, sheet], make, f"quality of {modality} by {backend}")
    out = results.quality(modality, settings.backend)
    copy_file(sheet, out.with_suffix(".png"))
    publish_json(stored, out, modality=modality, backend=backend)


def _held_out(results: Results, modality: str, frames: int) -> tuple[str, list[Pick]]:
    for split in HELD_OUT:
        clips = list_clips(results, modality, split)
        if clips:
            return split, spread(clips, frames)
    return "", []


def _run(
    tokenizer: Any, store: Path, modality: str, picks: Sequence[Pick], most: int
) -> list[Measured]:
    """Measure all picks; images of ``most`` of them, evenly spread, are kept."""
    clips: list[Measured] = []
    count = min(most, len(picks))
    shown = {i * len(picks) // count for i in range(count)}
    pairs = track(read_all(store, modality, picks), len(picks), f"quality {modality} [clips]")
    for pick, images in pairs:
        tokens = tokenizer.tokenize(images)
        decoded = tokenizer.decode(tokens)
        values = psnr_db(images, decoded), ssim(images, decoded)
        pair = (images[0].copy(), decoded[0].copy()) if len(clips) in shown else None
        clips.append(Measured(pick.clip_id, *values, tokens, pair))
    return clips


def _summary(
    clips: Sequence[Measured],
    group_of: Mapping[str, int],
    vocab_size: int,
    options: QualitySettings,
) -> dict[str, Any]:
    """Means with intervals over groups of clips, and the use of the vocabulary by all tokens."""
    groups = np.array([group_of[clip.clip_id] for clip in clips], np.int64)
    summary: dict[str, Any] = {
        "clips": len(clips),
        "groups": len(np.unique(groups)),
        "n": sum(len(clip.ssim) for clip in clips),
        "vocab_size": vocab_size,
    }
    if not clips:
        return summary
    tokens = np.concatenate([clip.tokens.ravel() for clip in clips])
    used, perplexity = vocabulary_use(tokens, vocab_size)
    return summary | {
        "tokens": len(tokens),
        "used": used,
        "perplexity": perplexity,
        "psnr_db": _mean([clip.psnr_db for clip in clips], groups, options),
        "ssim": _mean([clip.ssim for clip in clips], groups, options),
    }


def _mean(
    values: Sequence[np.ndarray], groups: np.ndarray, options: QualitySettings
) -> dict[str, float | None]:
    """The mean over images, with an interval over groups of clips; None where they are few."""
    sums, counts = np.array([v.sum() for v in values]), np.array([len(v) for v in values])
    interval = mean_interval(
        sums, counts, groups, options.confidence, options.bootstrap, options.seed
    )
    low, high = interval or (None, None)
    return {"value": float(sums.sum() / counts.sum()), "low": low, "high": high}


def _examples(modality: str, clips: Sequence[Measured]) -> bytes:
    """A PNG with one image of some clips above its decoding; one grey pixel if there is none."""
    from PIL import Image

    columns = [
        np.concatenate([visible(modality, image) for image in clip.example])
        for clip in clips
        if clip.example
    ]
    sheet = np.concatenate(columns, axis=1) if columns else np.full((1, 1, 3), 128, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return buffer.getvalue()
