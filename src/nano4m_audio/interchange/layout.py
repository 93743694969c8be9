"""The published token layout: ``{root}/{split}/{modality}/{stem}.npy`` and ``scene_desc/*.json``.

As nanofm/data/multimodal/simple_multimodal_dataset.py of nano4M-Audio reads it: int32 [10, 196] for
images, int32 [10, 512] for audio (one row, ten times), a JSON list of ten captions (one, ten
times). Audio interleaves two codebooks and the second has 1,024 added (v5_merge_and_split.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nano4m_audio.backends import registry
from nano4m_audio.backends.gpt2 import MAX_TOKENS as CAPTION_TOKENS
from nano4m_audio.errors import UserError
from nano4m_audio.files import read_json, user_errors
from nano4m_audio.modalities import KEYFRAMES, MODALITIES, PUBLISHED_NAMES
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import Results, shard_names
from nano4m_audio.tables import (
    content_key,
    nested_lists,
    published_schema,
    read_batches,
    shard_of,
    write_rows,
    write_table,
)
from nano4m_audio.taxonomy import known_classes
from nano4m_audio.training.token_sets import SPLITS, read_token_sets

_CODEBOOK = 1024
#: Tokens in a row of the published files, as their folders say.
_WIDTHS = {
    name: int(folder.partition("@")[2]) for name, folder in PUBLISHED_NAMES.items() if "@" in folder
}
_MAX_ID = np.iinfo(np.uint16).max
#: Sources and starts in the published names: as_<video>_<tenths of a second>.
_STEM = re.compile(r"(?P<source>as|vgg)_(?P<video>.+)_(?P<start>\d{6})")
_SOURCES = {"as": "audioset", "vgg": "vggsound"}


@dataclass(frozen=True)
class _Clip:
    stem: str
    split: str
    video_id: str
    source: str
    caption: str


def check_name(stem: str) -> str:
    """Return ``stem`` if it is one plain file name. Raises UserError for anything else."""
    plain = stem and stem == Path(stem).name and "\\" not in stem and not stem.startswith(".")
    if not plain or not stem.isprintable() or len(stem.encode("utf-8", "replace")) > 200:
        raise UserError(f"clip {stem!r} cannot be a file name: letters, digits, - _ @ # . only")
    return stem


def export_tokens(results: Results, root: Path) -> int:
    """Write the complete clips of all splits; return how many.

    Raises UserError for a clip whose name is no file name, or a caption that is not GPT-2's.
    """
    files = results.token_files()
    wide = widest(files)
    sets = read_token_sets(results.split, files, wide, results.store)
    text = registry.load("text_tokenizer", "gpt2")
    for found in sets.values():
        for clip in found.clip_ids:
            check_name(clip)
    for split, found in sets.items():
        for row, clip in enumerate(found.clip_ids):
            for m, modality in enumerate(wide):
                tokens = found.data.arrays[m][row]
                place = root / split / _folder(modality) / clip
                if modality.name == "caption":
                    ids = tokens[0, : found.data.lengths[row, m]].tolist()
                    captions = [_caption_text(text, ids, clip)] * KEYFRAMES
                    _write(place, ".json", json.dumps(captions).encode())
                else:
                    _write(place, ".npy", _npy(tokens))
    return sum(map(len, sets.values()))


def widest(files: Mapping[str, Sequence[Path]]) -> list[Modality]:
    """The modalities of tables of tokens (by modality) whose tokenizers are not known: as many
    tokens as the rows have, and every id that the tables can hold."""
    return [Modality(name, _MAX_ID + 1, _width(name, files[name])) for name in files]


def _width(name: str, files: Sequence[Path]) -> int:
    """Tokens in a row of these tables; the published number where they are empty."""
    if MODALITIES[name].kind == "text":
        return CAPTION_TOKENS
    for path in files:
        for batch in read_batches(path, f"tokens/{name}", ["tokens"]):
            lengths = batch["tokens"].flatten().value_lengths().drop_null()
            if len(lengths):
                return lengths[0].as_py()
    return _WIDTHS[name]


def _folder(modality: Modality) -> str:
    """Where the tokens of a modality lie; the name of the folder says how many a row has."""
    stem, at, _ = PUBLISHED_NAMES[modality.name].partition("@")
    return f"{stem}@{modality.max_tokens}" if at else stem


def _caption_text(tokenizer: Any, ids: list[int], clip: str) -> str:
    caption = tokenizer.decode(ids)
    if tokenizer.encode(caption) != ids:
        raise UserError(f"clip {clip!r}: its caption ids are not what GPT-2 makes of {caption!r}")
    return caption


def _npy(tokens: np.ndarray) -> bytes:
    """int32 [10, tokens] in C order; what is there once is repeated."""
    buffer = io.BytesIO()
    rows = np.broadcast_to(tokens, (KEYFRAMES, tokens.shape[1]))
    np.save(buffer, rows.astype(np.int32, order="C"))
    return buffer.getvalue()


def _write(place: Path, suffix: str, data: bytes) -> None:
    """Appears at once, but is not forced to the disk: there are 46,000 of these files."""
    temp = place.with_name(f".{place.name}.tmp")
    try:
        with user_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            temp.write_bytes(data)
            os.replace(temp, place.with_name(place.name + suffix))
    except UserError:
        temp.unlink(missing_ok=True)
        raise


def import_tokens(root: Path, results: Path, n_shards: int) -> int:
    """Write ``split.parquet`` and the token tables of a published data set; return its clips.

    Every clip must be there in all modalities. Raises UserError naming a wrong or missing file.
    """
    clips = list(_find_clips(root))
    if not clips:
        places = [f"{split}/{PUBLISHED_NAMES['caption']}" for split in SPLITS]
        raise UserError(f"{root}: no captions in {', '.join(places)}")
    shards: dict[int, list[_Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda c: c.stem):
        shards[shard_of(clip.video_id, n_shards)].append(clip)
    tokenizer = registry.load("text_tokenizer", "gpt2")
    for i, shard in enumerate(shard_names(n_shards)):
        for name, folder in PUBLISHED_NAMES.items():
            if MODALITIES[name].optional:
                continue  # the published data set has none
            if name == "caption":
                tokens = [np.array(tokenizer.encode(c.caption), np.uint16) for c in shards[i]]
            else:
                files = [root / c.split / folder / f"{c.stem}.npy" for c in shards[i]]
                tokens = [_read_npy(path, name) for path in files]
            out = results / "tokens" / name / f"{shard}.parquet"
            write_table(out, _token_table(name, [c.stem for c in shards[i]], tokens))
    write_rows(results / "split.parquet", "split", _split_rows(clips))
    return len(clips)


def _find_clips(root: Path) -> Iterator[_Clip]:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for path in sorted((root / split / PUBLISHED_NAMES["caption"]).glob("*.json")):
            stem = check_name(path.stem)
            if seen.setdefault(stem, split) != split:
                raise UserError(f"{root}: clip {stem!r} is in {seen[stem]} and in {split}")
            known = _STEM.fullmatch(stem)
            yield _Clip(
                stem=stem,
                split=split,
                video_id=known["video"] if known else stem,
                source=_SOURCES[known["source"]] if known else "imported",
                caption=_read_caption(path),
            )


def _read_caption(path: Path) -> str:
    captions = read_json(path, "export it again")
    if not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
        raise UserError(f"{path}: not a list of captions")
    if len(set(captions)) != 1:
        raise UserError(f"{path}: {len(set(captions))} different captions, this project keeps one")
    return captions[0]


def _read_npy(path: Path, modality: str) -> np.ndarray:
    """uint16 [10, 196] or [1, 512]; no code is run, and no more is read than the shape says."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: the clip is not complete") from None
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not an array of tokens ({error})") from None
    if array.shape != (KEYFRAMES, _WIDTHS[modality]) or array.dtype.kind not in "iu":
        raise UserError(
            f"{path}: {array.dtype} {list(array.shape)}, not whole numbers "
            f"[{KEYFRAMES}, {_WIDTHS[modality]}]"
        )
    if array.min() < 0:
        raise UserError(f"{path}: ids below 0; written as {array.dtype}, large ids wrapped around")
    if array.max() > _MAX_ID:
        raise UserError(f"{path}: id {array.max()} does not fit into the tables (0..{_MAX_ID})")
    return _one_window(path, array) if modality == "audio" else array.astype(np.uint16)


def _one_window(path: Path, array: np.ndarray) -> np.ndarray:
    if (array != array[0]).any():
        raise UserError(f"{path}: its rows differ; the sound of a clip is one row, ten times")
    first, second = array[0, ::2], array[0, 1::2]
    if first.max() >= _CODEBOOK or second.min() < _CODEBOOK:
        raise UserError(
            f"{path}: not two interleaved codebooks, the second with {_CODEBOOK} added "
            "(v5_merge_and_split.py adds it)"
        )
    return array[:1].astype(np.uint16)


def _token_table(name: str, stems: Sequence[str], tokens: Sequence[np.ndarray]) -> pa.Table:
    schema = published_schema(f"tokens/{name}")
    digests = [hashlib.sha256(t.tobytes()).hexdigest() for t in tokens]
    columns = {
        "clip_id": list(stems),
        "key": [content_key("imported", name, digest) for digest in digests],
        "status": ["ok"] * len(stems),
        "reason": [""] * len(stems),
        "message": [""] * len(stems),
        "tokens": nested_lists(tokens, schema.field("tokens").type),
    }
    return pa.table(columns, schema=schema)


def _split_rows(clips: Sequence[_Clip]) -> list[dict[str, Any]]:
    by_caption = {c.caption: name for name, c in known_classes().items()}
    return [
        {
            "clip_id": clip.stem,
            "video_id": clip.video_id,
            "class_name": by_caption.get(clip.caption, clip.caption),
            "source": clip.source,
            "group": clip.video_id,
            "duplicate_of": "",
            "split": clip.split,
            "nearest_train": "",
        }
        for clip in sorted(clips, key=lambda c: c.stem)
    ]
