"""Fidelity of an image tokenizer on held-out keyframes of the run, as JSON and as a picture."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio import backends
from nano4m_audio.backends.compute import Compute
from nano4m_audio.progress import track
from nano4m_audio.seals import intact, seal
from nano4m_audio.tables import atomic_path, content_key, write_bytes, write_json
from nano4m_audio.tokenize.fidelity import psnr_db, ssim, vocabulary_use
from nano4m_audio.tokenize.pictures import Pick, content_of, list_clips, read_pictures, spread
from nano4m_audio.tokenize.stage import KINDS
from nano4m_audio.versions import STAGE_VERSIONS

#: Where to look for pictures that no tokenizer of the run has learnt from.
HELD_OUT = ("test", "val")


@dataclass(frozen=True)
class Options:
    """How many keyframes are measured and shown, and how intervals are drawn."""

    frames: int = 64
    examples: int = 4
    bootstrap: int = 1000
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """What the tokenizer does to the pictures of one clip: values per picture, and its tokens."""

    psnr_db: np.ndarray
    ssim: np.ndarray
    tokens: np.ndarray
    images: np.ndarray
    decoded: np.ndarray


def measure_quality(
    modality: str,
    backend: str,
    results: Path,
    shards: int,
    out: Path,
    options: Options = Options(),
    compute: Compute = Compute(),
) -> None:
    """Measure a tokenizer, or find it measured, and write ``out`` (JSON) and the PNG beside it.

    The pictures are those of the test split, of val if there are none. The PNG has a column per
    example: the original above what its tokens decode to. Without any picture n is 0.
    """
    split, picks = _held_out(modality, results, shards, options.frames)
    identity = backends.identity(KINDS[modality], backend, compute.dtype)
    version = STAGE_VERSIONS["quality"]
    key = content_key("quality", version, modality, identity, asdict(options), content_of(picks))
    stored = results / "store" / "quality" / f"{key}.json"
    kept = stored, stored.with_suffix(".png")
    if intact(*kept):
        print(f"quality of {modality} by {backend} is known, nothing to compute", file=sys.stderr)
    else:
        tokenizer = backends.load(KINDS[modality], backend, compute)
        clips = _run(tokenizer, results / "store", modality, picks)
        write_bytes(stored.with_suffix(".png"), _examples(modality, clips, options.examples))
        head = {"key": key, "split": split, "identity": identity}
        write_json(stored, {**head, **_summary(clips, tokenizer.vocab_size, options)})
        seal(*kept)
    with atomic_path(out.with_suffix(".png")) as temp:
        shutil.copyfile(stored.with_suffix(".png"), temp)
    content = json.loads(stored.read_text("utf-8"))
    write_json(out, {"modality": modality, "backend": backend, **content})


def _held_out(modality: str, results: Path, shards: int, frames: int) -> tuple[str, list[Pick]]:
    for split in HELD_OUT:
        clips = list_clips(results, shards, modality, split)
        if clips:
            return split, spread(clips, frames)
    return "", []


def _run(tokenizer: Any, store: Path, modality: str, picks: Sequence[Pick]) -> list[Measured]:
    clips = []
    pairs = track(read_pictures(store, modality, picks), len(picks), f"quality {modality} [clips]")
    for _, images in pairs:
        tokens = tokenizer.tokenize(images)
        decoded = tokenizer.decode(tokens)
        values = psnr_db(images, decoded), ssim(images, decoded)
        clips.append(Measured(*values, tokens, images[:1], decoded[:1]))
    return clips


def _summary(clips: Sequence[Measured], vocab_size: int, options: Options) -> dict[str, Any]:
    """Means with intervals over clips, and the use of the vocabulary by all their tokens."""
    summary: dict[str, Any] = {
        "clips": len(clips),
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
        "psnr_db": _mean([clip.psnr_db for clip in clips], options),
        "ssim": _mean([clip.ssim for clip in clips], options),
    }


def _mean(values: Sequence[np.ndarray], options: Options) -> dict[str, float]:
    """The mean over pictures, with a percentile interval over clips drawn with replacement."""
    sums, counts = np.array([v.sum() for v in values]), np.array([len(v) for v in values])
    rng = np.random.default_rng([options.seed, 11])
    drawn = rng.integers(0, len(sums), (options.bootstrap, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    tail = (1 - options.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return {"value": float(sums.sum() / counts.sum()), "low": float(low), "high": float(high)}


def _examples(modality: str, clips: Sequence[Measured], most: int) -> bytes:
    """A PNG with one picture of some clips above its decoding; one grey pixel if there is none."""
    from PIL import Image

    count = min(most, len(clips))
    shown = [clips[i * len(clips) // count] for i in range(count)]
    columns = [
        np.concatenate([_visible(modality, clip.images[0]), _visible(modality, clip.decoded[0])])
        for clip in shown
    ]
    sheet = np.concatenate(columns, axis=1) if columns else np.full((1, 1, 3), 128, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return buffer.getvalue()


def _visible(modality: str, image: np.ndarray) -> np.ndarray:
    """float [C, H, W] in -1..1 -> uint8 [H, W, 3], coloured as in the report."""
    from nano4m_audio.report import media

    if modality == "depth":
        return media.colour_depth(image[0])
    return media.picture_of(image) if modality == "rgb" else media.colour_normals(image)
