"""One wish of a user: what is given, what shall be made of it, by which model; and its files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.evaluate.models import Models
from nano4m_audio.files import sha256, write_bytes, write_json
from nano4m_audio.generation import given, make
from nano4m_audio.modalities import MODALITIES, WINDOW_S
from nano4m_audio.nano4m.generate import (
    NOTHING,
    Marks,
    generate_chain,
    with_ids,
)
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import Results
from nano4m_audio.progress import track

#: Longest part of a file name that comes from the id of a clip.
_MOST_NAME = 80
#: What a folder with generated files says of them.
_RECORD = "generated.json"


@dataclass(frozen=True)
class Request:
    """What is given: modalities of clips, and a user's own inputs (path or text) for all of them.

    ``targets`` are made one after the other, each from what is given and was made before it.
    ``keep`` is the share of a target's own tokens that stays, where it is given as well.
    ``variants`` of each clip are made, with different draws. ``start_s`` is where the window of a
    user's sound starts.
    """

    clips: Sequence[str]
    sources: Sequence[str]
    inputs: Mapping[str, str]
    targets: Sequence[str]
    keep: float | None = None
    keyframe: int = 5
    variants: int = 1
    start_s: float = 0.0

    def check(self, known: Sequence[str]) -> None:
        """Raise UserError for a request that makes no sense for a model of ``known`` modalities."""
        for option, names in (("--from", self.sources), ("--to", self.targets)):
            for name in names:
                if name not in known:
                    hint = did_you_mean(name, known) or f" (it knows {', '.join(known)})"
                    raise UserError(f"{option} {name}: the model does not know it{hint}")
        for name in self.inputs:
            if name not in known:
                raise UserError(f"--{name}: the model does not know it ({', '.join(known)})")
        if not self.targets:
            raise UserError("--to: name what shall be made, such as caption,rgb")
        if len(set(self.targets)) < len(self.targets):
            raise UserError("--to: every modality can be made once")
        if self.clips and not self.sources and not self.inputs:
            raise UserError("--from: name what is given of the clips, such as audio")
        if self.sources and not self.clips:
            raise UserError("--from is about clips, and none is named")
        if not self.clips and not self.inputs:
            raise UserError("nothing is given: name clips, or use --audio, --rgb or --caption")
        both = [name for name in self.targets if name in self.sources or name in self.inputs]
        if both and self.keep is None:
            raise UserError(
                f"{both[0]} is given and shall be made: --keep says which share of it stays"
            )
        if self.keep is not None and not both:
            raise UserError("--keep is for a modality that is given and is made, too")


@dataclass(frozen=True)
class Maker:
    """A model and the tokenizers of its run. ``identity`` says where the model is from."""

    model: FourM
    identity: Mapping[str, Any]
    results: Results
    models: Models
    _checked: set[str] = field(default_factory=set)

    @cached_property
    def modalities(self) -> dict[str, Modality]:
        return {m.name: m for m in self.model.config.modalities}

    def tokenizer(self, name: str) -> Any:
        """The tokenizer of a modality. Raises UserError for one that the model does not fit."""
        tokenizer = self.models.load(f"tokenize.{name}")
        if name not in self._checked:
            self._check(name, tokenizer)
            self._checked.add(name)
        return tokenizer

    def _check(self, name: str, tokenizer: Any) -> None:
        modality, kind = self.modalities[name], MODALITIES[name].kind
        if kind == "audio":
            ids = tokenizer.n_codebooks * tokenizer.codebook_size
            fits = modality.max_tokens % tokenizer.n_codebooks == 0
        else:
            ids = tokenizer.vocab_size
            fits = kind == "text" or tokenizer.n_tokens == modality.max_tokens
        if ids != modality.vocab_size or not fits:
            raise UserError(
                f"{name}: the model has {modality.vocab_size} ids in {modality.max_tokens} places, "
                f"and tokenize.{name} makes others ({ids} ids): name the config file with the "
                "tokenizers that it was trained with, --config"
            )

    def marks(self, targets: Sequence[str]) -> dict[int, Marks]:
        """How texts among ``targets`` begin and end."""
        texts = [name for name in targets if MODALITIES[name].kind == "text"]
        return {self.index(name): make.marks_of(self.tokenizer(name)) for name in texts}

    def index(self, name: str) -> int:
        return list(self.modalities).index(name)


def sample_number(clip: str, variant: int = 0) -> int:
    """The number under which a sample draws: it depends on its clip and variant alone."""
    text = f"{clip}\0{variant}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest())


def file_stem(clip: str) -> str:
    """A clip's id as part of a file name: letters, digits, - and _; others as =hex."""
    stem = re.sub(
        r"[^A-Za-z0-9_-]",
        lambda m: "".join(f"={byte:02x}" for byte in m[0].encode("utf-8", "surrogatepass")),
        clip,
    )
    if len(stem) > _MOST_NAME:
        digest = hashlib.blake2b(clip.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        stem = f"{stem[:_MOST_NAME]}={digest}"
    return stem


def answer(request: Request, maker: Maker, sampling: Sampling, out: Path) -> list[dict[str, Any]]:
    """Make what is asked for: a file per sample and target in ``out``, and generated.json about all
    of them, in place of those of an earlier call. Returns its samples. Raises UserError."""
    request.check(list(maker.modalities))
    marks = maker.marks(request.targets)
    tokenizers = {name: maker.tokenizer(name) for name in request.targets}
    clips = list(dict.fromkeys(request.clips)) or ["given"]
    rows = [(clip, v) for clip in clips for v in range(request.variants)]
    inputs = {
        name: np.repeat(ids, request.variants, axis=0)
        for name, ids in _inputs(request, maker, len(clips)).items()
    }
    nothing = np.zeros(0, np.int64)
    packed = Packed(nothing, nothing, nothing, np.zeros(len(rows), np.int64))
    for name, ids in inputs.items():
        packed = with_ids(packed, maker.index(name), ids)
    made = generate_chain(
        maker.model,
        packed,
        [maker.index(name) for name in request.targets],
        sampling,
        np.array([sample_number(*row) for row in rows], np.int64),
        marks=marks,
        track=lambda items, total, label: track(items, total, f"{label} [passes]"),
    )
    samples: list[dict[str, Any]] = [
        {
            "name": clip if request.clips else None,
            "variant": v,
            "number": sample_number(clip, v),
            "given": {name: _ids(ids[i]) for name, ids in inputs.items()},
            "made": {},
        }
        for i, (clip, v) in enumerate(rows)
    ]
    files = _given_files(request)  # before one of them may be written over
    _remove_earlier(out, files)
    for name in request.targets:
        ids = made[maker.index(name)]
        decoded = make.decode(name, ids, tokenizers[name])
        for i, (clip, v) in enumerate(rows):
            variant = f"_{v}" if request.variants > 1 else ""
            file = f"{file_stem(clip)}{variant}_{name}{make.SUFFIXES[MODALITIES[name].kind]}"
            data = make.file_bytes(name, decoded[i], tokenizers[name])
            write_bytes(out / file, data)
            text = {"text": decoded[i]} if MODALITIES[name].kind == "text" else {}
            digest = hashlib.sha256(data).hexdigest()
            samples[i]["made"][name] = {"file": file, "sha256": digest, "ids": _ids(ids[i]), **text}
    write_json(out / _RECORD, _record(request, files, maker, sampling, samples))
    return samples


def _remove_earlier(out: Path, given_files: Mapping[str, Mapping[str, Any]]) -> None:
    """Remove the files that the record in ``out`` names, but those that are given, and then it."""
    try:
        samples = json.loads((out / _RECORD).read_text("utf-8"))["samples"]
        names = [str(one["file"]) for sample in samples for one in sample["made"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    digests = {one["sha256"] for one in given_files.values()}
    for path in (out / name for name in names if Path(name).name == name):
        if path.is_file() and sha256(path) not in digests:
            path.unlink()
    (out / _RECORD).unlink()


def _ids(row: np.ndarray) -> list[int | None]:
    """Ids by position, null for those that are not there; nothing after the last one."""
    known = np.flatnonzero(row != NOTHING)
    return [None if i == NOTHING else i for i in row[: known.max(initial=-1) + 1].tolist()]


def _inputs(request: Request, maker: Maker, n_clips: int) -> dict[str, np.ndarray]:
    """Ids of everything that is given: int64 [n_clips, max_tokens] by modality."""
    encode: dict[str, Callable[[str, Any], np.ndarray]] = {
        "image": lambda path, tokenizer: given.picture_ids(Path(path), tokenizer),
        "audio": lambda path, tokenizer: given.sound_ids(Path(path), tokenizer, request.start_s),
        "text": given.text_ids,
    }
    inputs = {}
    for name, modality in maker.modalities.items():
        if name in request.inputs:
            ids = encode[MODALITIES[name].kind](request.inputs[name], maker.tokenizer(name))
            found = np.tile(given.fitted(ids, modality, f"--{name}"), (n_clips, 1))
        elif name in request.sources:
            clips = list(dict.fromkeys(request.clips))
            found = given.clip_ids(maker.results, clips, modality, request.keyframe)
        else:
            continue
        if name in request.targets:
            assert request.keep is not None
            found = given.kept(found, modality, request.keep)
        inputs[name] = found
    return inputs


def _given_files(request: Request) -> dict[str, dict[str, Any]]:
    """What the record says of every file that is given."""
    files: dict[str, dict[str, Any]] = {
        name: {"file": os.fsencode(text).decode("utf-8", "replace"), "sha256": sha256(Path(text))}
        for name, text in request.inputs.items()
        if MODALITIES[name].kind != "text"
    }
    heard = {"start_s": request.start_s, "seconds": round(WINDOW_S, 3)}
    for name in files:
        if MODALITIES[name].kind == "audio":
            files[name] |= heard
    return files


def _record(
    request: Request,
    files: Mapping[str, Mapping[str, Any]],
    maker: Maker,
    sampling: Sampling,
    samples: list[dict[str, Any]],
) -> dict[str, Any]:
    used = dict.fromkeys([*request.inputs, *request.targets])
    return {
        "model": dict(maker.identity),
        "tokenizers": {name: maker.models.identity(f"tokenize.{name}") for name in used},
        "sampling": sampling.model_dump(),
        "from": list(request.sources),
        "inputs": {**request.inputs, **files},
        "to": list(request.targets),
        "keep": request.keep,
        "keyframe": request.keyframe,
        "samples": samples,
    }
