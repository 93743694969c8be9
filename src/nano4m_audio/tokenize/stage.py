"""The token stage: one published Parquet shard per modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.tokenizers import TokenizeSettings
from nano4m_audio.errors import UserError
from nano4m_audio.media import windows
from nano4m_audio.media.stored import read_audio
from nano4m_audio.modalities import MODALITIES, ModalitySpec
from nano4m_audio.paths import Results
from nano4m_audio.progress import chunks
from nano4m_audio.reasons import Reason
from nano4m_audio.store import Item, opened, publish_shard
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.taxonomy import unknown_class
from nano4m_audio.tokenize.interleave import interleave
from nano4m_audio.tokenize.keyframes import Pick, label_keys, read_images
from nano4m_audio.tokenize.names import backend_name
from nano4m_audio.versions import stage_version

Rows = Sequence[Any]


@dataclass(frozen=True)
class Source:
    """Where the inputs of a tokenizer come from."""

    modality: ModalitySpec
    store: Path
    shard: str


def tokenize_clips(
    results: Results, shard: str, settings: TokenizeSettings, compute: Compute = Compute()
) -> None:
    """Publish the tokens of one modality for every selected clip of a shard."""
    modality = MODALITIES[settings.modality]
    name, kind = f"tokens/{modality.name}", modality.tokenizer
    backend = backend_name(settings.backend, results)
    spec = registry.get_spec(kind, backend)
    identity = registry.identity(kind, backend, compute.dtype)
    source = Source(modality, results.store, shard)
    items = [
        Item(row["clip_id"], content_key(name, stage_version(name), identity, *parts), row)
        for row, parts in _key_parts(results, source, settings)
    ]

    def compute_rows(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        tokenizer = registry.load(kind, backend, compute)
        chunk_size, make = _MAKERS[modality.kind]
        usable = [item for item in todo if item.inputs["input"] is not None]
        for item in todo:
            if item.inputs["input"] is None:
                yield {"key": item.key, **_failed(Reason.LABEL_FAILED, "there is no map")}
        for chunk in chunks(usable, chunk_size):
            tokens = make(tokenizer, source, [item.inputs for item in chunk])
            for item, ids in zip(chunk, tokens, strict=True):
                wanted = modality.rows, spec.n_tokens or tokenizer.n_tokens
                if modality.kind != "text" and ids.shape != wanted:
                    raise UserError(
                        f"{name}: {settings.backend} makes tokens {list(ids.shape)} of a clip, "
                        f"not the {list(wanted)} of its row in the registry"
                    )
                yield {"key": item.key, **_checked(ids, tokenizer)}

    publish_shard(results, name, shard, items, compute_rows)


def _key_parts(
    results: Results, source: Source, settings: TokenizeSettings
) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """Each selected row with ``input``, which says what is read or encoded (None: there is no map),
    and what its tokens depend on besides the tokenizer."""
    modality = source.modality
    rows = read_rows(results.table("selected", source.shard), "selected")
    if modality.estimator:
        labels = label_keys(results, source.shard, modality.name)
        for row in rows:
            key, usable = labels[row["clip_id"]]
            yield {**row, "input": key if usable else None}, [key]
    elif modality.kind == "text":
        for row in rows:
            caption = caption_of(row["class_name"], settings)
            yield {**row, "input": caption}, [caption]
    else:
        column = "keyframes" if modality.kind == "image" else "window_start_s"
        for row in rows:
            yield {**row, "input": row["clip_key"]}, [row["clip_key"], row[column]]


def caption_of(class_name: str, settings: TokenizeSettings) -> str:
    """The caption of a clip of this class, from the template. Raises UserError if it is unknown."""
    classes = settings.classes
    if class_name not in classes:
        raise UserError(unknown_class(class_name, tuple(classes)))
    fields = {"caption": classes[class_name].caption, "class": class_name}
    return settings.caption_template.format_map(fields)


def _image_tokens(tokenizer: Any, source: Source, rows: Rows) -> list[np.ndarray]:
    picks = [Pick.whole(row, source.shard, row["input"]) for row in rows]
    images = read_images(source.store, source.modality.name, picks)
    tokens = tokenizer.tokenize(np.concatenate(images))
    return np.split(tokens, np.cumsum([len(i) for i in images])[:-1])


def _audio_tokens(tokenizer: Any, source: Source, rows: Rows) -> list[np.ndarray]:
    stored = opened(source.store, "clips", source.shard)
    found = stored.read([row["input"] for row in rows], ["audio_flac"])
    pieces = [
        windows.cut(read_audio(flac), row["window_start_s"])
        for row, flac in zip(rows, found["audio_flac"].to_pylist(), strict=True)
    ]
    waveforms = windows.resample(np.stack(pieces), tokenizer.sample_rate_hz)
    samples = windows.window_samples(tokenizer.sample_rate_hz)
    codes = tokenizer.encode(windows.fit_length(waveforms, samples))
    return [ids[None] for ids in interleave(codes, tokenizer.codebook_size)]


def _text_tokens(tokenizer: Any, source: Source, rows: Rows) -> list[np.ndarray]:
    return [np.array(tokenizer.encode(row["input"])) for row in rows]


#: Kind of modality -> clips at once, and what makes their tokens.
_MAKERS: dict[str, tuple[int, Callable[[Any, Source, Rows], list[np.ndarray]]]] = {
    "image": (8, _image_tokens),
    "audio": (64, _audio_tokens),
    "text": (64, _text_tokens),
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
