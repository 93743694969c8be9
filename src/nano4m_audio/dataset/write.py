"""A dataset as files that others read: Parquet, a Hugging Face folder, tar shards, .npy."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nano4m_audio.backends import registry
from nano4m_audio.dataset.card import write_card
from nano4m_audio.dataset.clips import TokenDataset, open_dataset
from nano4m_audio.dataset.columns import DESCRIBED
from nano4m_audio.dataset.media import Media, last_config
from nano4m_audio.errors import UserError
from nano4m_audio.files import user_errors
from nano4m_audio.generation.request import file_stem
from nano4m_audio.interchange import layout
from nano4m_audio.media.stored import encode_flac, encode_jpeg
from nano4m_audio.media.windows import SAMPLE_RATE_HZ
from nano4m_audio.modalities import KEYFRAMES, MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.tables import STR, Column, nested_lists
from nano4m_audio.training.token_sets import SPLITS

FORMS = ("parquet", "hf", "webdataset", "npy")
#: The names that users of Hugging Face know the splits by.
_HF_SPLITS = {"train": "train", "val": "validation", "test": "test"}
#: Clips of a file of a Hugging Face folder (about 100 MB; with media about 600 MB), of a tar shard,
#: and of what is held in memory at once.
_HF_CLIPS, _HF_CLIPS_WITH_MEDIA, _TAR_CLIPS, _CHUNK = 20_000, 2_000, 1_000, 64
_QUALITY = 95
#: How Hugging Face keeps a picture or a sound.
_FILE = pa.struct([("bytes", pa.binary()), ("path", STR)])
_IDS = pa.list_(pa.uint16())


def export_dataset(
    results: Results, form: str, out: Path, frames: bool = False, sound: bool = False
) -> int:
    """Write the complete clips to a new folder, in one of ``FORMS``, with a card; return how many.

    ``frames`` adds the ten keyframes (224 x 224, JPEG), ``sound`` the audio window (32 kHz, FLAC).
    The folder appears whole or not at all. Raises UserError for one that is not empty, and for
    results without a finished dataset.
    """
    if form == "npy" and (frames or sound):
        raise UserError("--frames and --sound: the npy layout has tokens only; use another --to")
    with new_folder(out) as folder:
        clips = _Clips(results, frames, sound)
        if form == "npy":
            layout.export_tokens(results, folder)
            files: dict[str, str] = {}
        else:
            files = _WRITERS[form](clips, folder)
        extra = {"form": form, "frames": frames, "sound": sound, "data_files": files}
        described = clips.whole.table().select(["class_name", "source", "split"]).to_pylist()
        write_card(results, folder, described, {**extra, "columns": clips.columns})
    return len(described)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` if all goes well, and is removed if not.

    Raises UserError where ``path`` is anything but an empty folder.
    """
    path = Path(os.path.abspath(path))
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UserError(f"{path} is there and is no folder: name a new one")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path} is not empty: name a new folder")
    temp = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with user_errors(path):
        try:
            shutil.rmtree(temp, ignore_errors=True)
            temp.mkdir(parents=True)
            yield temp
            os.replace(temp, path)
        finally:
            shutil.rmtree(temp, ignore_errors=True)


@dataclass(frozen=True)
class _Clips:
    """The clips of a results folder as columns of a table."""

    results: Results
    frames: bool
    sound: bool

    @cached_property
    def whole(self) -> TokenDataset:
        return open_dataset(self.results, keyframes="all")

    def split(self, name: str) -> TokenDataset:
        return open_dataset(self.results, name, keyframes="all")

    @cached_property
    def _media(self) -> Media:
        return Media(self.results)

    @cached_property
    def _text(self) -> Any:
        config = last_config(self.results)
        name = (config and config.backend("tokenize.caption")) or "gpt2"
        return registry.load("text_tokenizer", name)

    @property
    def columns(self) -> list[Column]:
        """Name, type and meaning."""
        found = list(DESCRIBED)
        for name in self.results.modalities:
            row = MODALITIES[name]
            kind = pa.list_(_IDS) if row.kind == "image" else _IDS
            rows = ", one row per keyframe" if row.kind == "image" else ""
            found.append((name, kind, f"token ids of its {row.about}{rows}"))
        found.append(("caption_text", STR, "the caption in words"))
        if self.frames:
            about = f"its {KEYFRAMES} keyframes as the tokenizer sees them, JPEG"
            found.append(("frames", pa.list_(_FILE), about))
        if self.sound:
            found.append(("sound", _FILE, "its audio window, 32 kHz mono, FLAC"))
        return found

    @property
    def schema(self) -> pa.Schema:
        fields = pa.schema([(name, kind) for name, kind, _ in self.columns])
        if not (self.frames or self.sound):
            return fields
        features = {field.name: _feature(field.type) for field in fields}
        if self.frames:
            features["frames"] = {"feature": {"_type": "Image"}, "length": -1, "_type": "Sequence"}
        if self.sound:
            features["sound"] = {"sampling_rate": SAMPLE_RATE_HZ, "_type": "Audio"}
        told = {"huggingface": json.dumps({"info": {"features": features}})}
        return fields.with_metadata(told)

    def chunks(self, clips: TokenDataset, start: int, stop: int) -> Iterator[pa.Table]:
        """The rows of clips ``start:stop`` of a split, some at a time."""
        described = clips.table()
        for first in range(start, stop, _CHUNK):
            places = range(first, min(first + _CHUNK, stop))
            own = described[first : places.stop]
            columns: dict[str, Any] = {name: own[name] for name in own.column_names}
            for name in self.results.modalities:
                ids = [clips.tokens(i, name) for i in places]
                kind = self.schema.field(name).type
                columns[name] = nested_lists([i.astype(np.uint16) for i in ids], kind)
                if MODALITIES[name].kind == "text":
                    columns["caption_text"] = [self._text.decode(i.tolist()) for i in ids]
            clip_ids = own["clip_id"].to_pylist()
            if self.frames:
                columns["frames"] = [self.pictures(clip) for clip in clip_ids]
            if self.sound:
                columns["sound"] = [self.heard(clip) for clip in clip_ids]
            yield pa.table(columns, schema=self.schema)

    def pictures(self, clip: str) -> list[dict[str, Any]]:
        """The keyframes of a clip as JPEG."""
        found = self._media.frames(clip, tuple(range(KEYFRAMES)), "rgb")
        jpegs = (encode_jpeg(picture, _QUALITY) for picture in found)
        return [{"bytes": jpeg, "path": f"{i}.jpg"} for i, jpeg in enumerate(jpegs)]

    def heard(self, clip: str) -> dict[str, Any]:
        """The audio window of a clip as FLAC."""
        samples = self._media.sound(clip, SAMPLE_RATE_HZ)
        return {"bytes": encode_flac(samples, SAMPLE_RATE_HZ), "path": "sound.flac"}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """What Hugging Face calls a type; older and newer releases both know ``Sequence``."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "length": -1, "_type": "Sequence"}
    names = {"double": "float64", "float": "float32"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


def _write_parquet(clips: _Clips, folder: Path) -> dict[str, str]:
    """One file per split that has clips."""
    written = {}
    for split in SPLITS:
        if len(found := clips.split(split)):
            path = folder / f"{split}.parquet"
            _write_file(clips, split, found, 0, len(found), path)
            written[_HF_SPLITS[split]] = path.name
    return written


def _write_hf(clips: _Clips, folder: Path) -> dict[str, str]:
    """data/SPLIT-00000-of-0000N.parquet, as the Hub has them."""
    most = _HF_CLIPS_WITH_MEDIA if clips.frames or clips.sound else _HF_CLIPS
    patterns = {}
    (folder / "data").mkdir()
    for split, name in _HF_SPLITS.items():
        found = clips.split(split)
        starts = range(0, len(found), most)
        for i, start in enumerate(starts):
            path = folder / "data" / f"{name}-{i:05d}-of-{len(starts):05d}.parquet"
            _write_file(clips, split, found, start, min(start + most, len(found)), path)
            # Not those of another number of files, which an earlier upload left there.
            patterns[name] = f"data/{name}-*-of-{len(starts):05d}.parquet"
    return patterns


def _write_file(
    clips: _Clips, split: str, found: TokenDataset, start: int, stop: int, path: Path
) -> None:
    chunks = clips.chunks(found, start, stop)
    with pq.ParquetWriter(path, clips.schema, compression="zstd") as writer:
        for table in track(chunks, -(-(stop - start) // _CHUNK), f"{split} [{_CHUNK} clips]"):
            writer.write_table(table)


def _write_tars(clips: _Clips, folder: Path) -> dict[str, str]:
    """SPLIT-000000.tar and so on."""
    patterns = {}
    for split in SPLITS:
        found = clips.split(split)
        starts = range(0, len(found), _TAR_CLIPS)
        for i, start in enumerate(track(starts, len(starts), f"{split} [shards]")):
            stop = min(start + _TAR_CLIPS, len(found))
            with tarfile.open(
                folder / f"{split}-{i:06d}.tar", "w", format=tarfile.GNU_FORMAT
            ) as tar:
                for table in clips.chunks(found, start, stop):
                    for row in table.to_pylist():
                        _add_sample(tar, row)
            patterns[_HF_SPLITS[split]] = f"{split}-*.tar"
    return patterns


def _add_sample(tar: tarfile.TarFile, row: dict[str, Any]) -> None:
    """The members of one clip, one after the other; equal rows give equal bytes."""
    members: dict[str, bytes] = {}
    for name in [name for name in MODALITIES if name in row]:
        buffer = io.BytesIO()
        np.save(buffer, np.array(row.pop(name), np.uint16))
        members[f"{name}.npy"] = buffer.getvalue()
    for picture in row.pop("frames", []):
        members[picture["path"]] = picture["bytes"]
    if sound := row.pop("sound", None):
        members["flac"] = sound["bytes"]
    key = file_stem(row["clip_id"])
    for name, data in {"json": json.dumps(row, allow_nan=False).encode(), **members}.items():
        info = tarfile.TarInfo(f"{key}.{name}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


_WRITERS = {"parquet": _write_parquet, "hf": _write_hf, "webdataset": _write_tars}
