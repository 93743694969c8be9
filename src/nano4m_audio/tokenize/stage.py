"""The token stage: five modalities, one published Parquet shard each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.tokenizers import Captions
from nano4m_audio.errors import UserError
from nano4m_audio.media import windows
from nano4m_audio.media.crop import keyframe_crops
from nano4m_audio.media.stored import read_audio
from nano4m_audio.progress import chunks, track
from nano4m_audio.reasons import Reason
from nano4m_audio.store import Item, RowStore, opened, publish
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.taxonomy import unknown_class
from nano4m_audio.tokenize.keyframes import map_images, rgb_image
from nano4m_audio.versions import stage_version

#: Clips at once: ten pictures of each, or one window of sound, or a caption.
_CHUNKS = {"rgb": 8, "depth": 8, "normals": 8, "audio": 64, "caption": 64}
KINDS = {
    "rgb": "rgb_tokenizer",
    "depth": "depth_tokenizer",
    "normals": "normal_tokenizer",
    "audio": "audio_tokenizer",
    "caption": "text_tokenizer",
}
Rows = Sequence[Any]


@dataclass(frozen=True)
class Sources:
    """Where the inputs of the tokenizers lie: the selected clips, the table that the modality is
    made from (labels for depth and normals, else clips), the store, and what captions are."""

    selected: Path
    source: Path
    store: Path
    shard: str
    captions: Captions = Captions()


def tokenize_clips(
    modality: str, sources: Sources, out: Path, backend: str, compute: Compute = Compute()
) -> None:
    """Publish the tokens of ``modality`` for every selected clip."""
    name = f"tokens/{modality}"
    identity = registry.identity(KINDS[modality], backend, compute.dtype)
    items = [
        Item(row["clip_id"], content_key(name, stage_version(name), identity, *parts), row)
        for row, parts in _key_parts(modality, sources)
    ]

    def compute_rows(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        tokenizer = registry.load(KINDS[modality], backend, compute)
        make = _MAKERS[modality]

        def rows() -> Iterator[dict[str, Any]]:
            usable = [item for item in todo if _usable(item)]
            for item in todo:
                if not _usable(item):
                    yield {"key": item.key, **_failed(Reason.LABEL_FAILED, "there is no map")}
            for chunk in chunks(usable, _CHUNKS[modality]):
                tokens = make(tokenizer, sources, [item.inputs for item in chunk])
                for item, ids in zip(chunk, tokens, strict=True):
                    yield {"key": item.key, **_checked(ids, tokenizer)}

        yield from track(rows(), len(todo), f"{name} {sources.shard}")

    publish(RowStore(sources.store, name, sources.shard), items, compute_rows, out)


def _usable(item: Item) -> bool:
    return item.inputs.get("label_status", "ok") == "ok"


def _key_parts(modality: str, sources: Sources) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """Each selected row with what its tokens depend on besides the tokenizer."""
    rows = read_rows(sources.selected, "selected")
    if modality in ("depth", "normals"):
        columns = ["clip_id", "key", "status"]
        labels = {r["clip_id"]: r for r in read_rows(sources.source, f"labels/{modality}", columns)}
        for row in rows:
            found = labels[row["clip_id"]]
            extra = {"label_key": found["key"], "label_status": found["status"]}
            yield {**row, **extra}, [found["key"]]
    elif modality == "rgb":
        yield from ((row, [row["clip_key"], row["keyframes"]]) for row in rows)
    elif modality == "audio":
        yield from ((row, [row["clip_key"], row["window_start_s"]]) for row in rows)
    else:
        yield from ((row, [caption_of(row["class_name"], sources)]) for row in rows)


def caption_of(class_name: str, sources: Sources) -> str:
    """The caption of a clip of this class, from the template. Raises UserError if it is unknown."""
    classes = sources.captions.classes
    if class_name not in classes:
        raise UserError(unknown_class(class_name, tuple(classes)))
    fields = {"caption": classes[class_name].caption, "class": class_name}
    return sources.captions.caption_template.format_map(fields)


def interleave(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    """Flatten residual codes in time order with disjoint ids per codebook.

    int [B, Q, T] -> int32 [B, T * Q]: c1[0], c2[0] + size, c1[1], c2[1] + size, ... (paper
    Sec. 3.2).
    """
    offsets = np.arange(codes.shape[1])[None, :, None] * codebook_size
    return (codes + offsets).transpose(0, 2, 1).reshape(len(codes), -1).astype(np.int32)


def deinterleave(ids: np.ndarray, n_codebooks: int, codebook_size: int) -> np.ndarray:
    """The exact inverse of interleave. Raises ValueError for an id of the wrong codebook."""
    codes = ids.reshape(len(ids), -1, n_codebooks).transpose(0, 2, 1).astype(np.int32)
    codes = codes - np.arange(n_codebooks)[None, :, None] * codebook_size
    if codes.min(initial=0) < 0 or codes.max(initial=0) >= codebook_size:
        raise ValueError("an audio id is outside the range of its codebook")
    return codes


def _rgb(tokenizer: Any, sources: Sources, rows: Rows) -> list[np.ndarray]:
    crops = keyframe_crops(opened(sources.store, "clips", sources.shard), rows)
    return _image_tokens(tokenizer, [rgb_image(c) for c in crops])


def _maps(modality: str) -> Callable[[Any, Sources, Rows], list[np.ndarray]]:
    def make(tokenizer: Any, sources: Sources, rows: Rows) -> list[np.ndarray]:
        stored = opened(sources.store, f"labels/{modality}", sources.shard)
        found = stored.read([row["label_key"] for row in rows])
        return _image_tokens(tokenizer, [map_images(modality, row) for row in found.to_pylist()])

    return make


def _image_tokens(tokenizer: Any, images: list[np.ndarray]) -> list[np.ndarray]:
    tokens = tokenizer.tokenize(np.concatenate(images))
    return np.split(tokens, np.cumsum([len(i) for i in images])[:-1])


def _audio(tokenizer: Any, sources: Sources, rows: Rows) -> list[np.ndarray]:
    stored = opened(sources.store, "clips", sources.shard)
    found = stored.read([row["clip_key"] for row in rows], ["audio_flac"])
    pieces = [
        windows.cut(read_audio(flac), row["window_start_s"])
        for row, flac in zip(rows, found["audio_flac"].to_pylist(), strict=True)
    ]
    waveforms = windows.resample(np.stack(pieces), tokenizer.sample_rate_hz)
    codes = tokenizer.encode(fit_length(waveforms, 81_920))
    return [ids[None] for ids in interleave(codes, tokenizer.codebook_size)]


def fit_length(waveforms: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-pad the last axis to ``samples``."""
    kept = waveforms[:, :samples]
    return np.pad(kept, ((0, 0), (0, samples - kept.shape[1])))


def _captions(tokenizer: Any, sources: Sources, rows: Rows) -> list[np.ndarray]:
    return [np.array(tokenizer.encode(caption_of(row["class_name"], sources))) for row in rows]


_MAKERS: dict[str, Callable[[Any, Sources, Rows], list[np.ndarray]]] = {
    "rgb": _rgb,
    "depth": _maps("depth"),
    "normals": _maps("normals"),
    "audio": _audio,
    "caption": _captions,
}


def _checked(ids: np.ndarray, tokenizer: Any) -> dict[str, Any]:
    """A row of tokens; an id outside the vocabulary makes it a failed row."""
    size = getattr(tokenizer, "vocab_size", None)
    size = size or tokenizer.n_codebooks * tokenizer.codebook_size
    if ids.min() < 0 or ids.max() >= size:
        message = f"ids {ids.min()} ... {ids.max()} do not fit the vocabulary of {size}"
        return _failed(Reason.TOKENIZE_FAILED, message)
    return {"status": "ok", "reason": "", "message": "", "tokens": ids.tolist()}


def _failed(reason: Reason, message: str) -> dict[str, Any]:
    return {"status": "failed", "reason": str(reason), "message": message, "tokens": None}
