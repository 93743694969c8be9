"""Pictures and sounds of clips, read from the store, and what tokens decode to."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.parsing import parse
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.evaluate.models import Models
from nano4m_audio.generation import make
from nano4m_audio.label.maps import visible
from nano4m_audio.modalities import IMAGES, MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.settings_files import last_settings
from nano4m_audio.tokenize.keyframes import Pick, list_clips, read_images
from nano4m_audio.tokenize.originals import read_sounds
from nano4m_audio.training.token_sets import SPLITS


def last_config(results: Results) -> Config | None:
    """The config of the last run in a results folder; None where no workflow ran."""
    path = last_settings(results.settings, "config")
    if path is None or not path.is_file():
        return None
    return parse(Config, json.loads(path.read_text("utf-8")), str(path))


class Media:
    """The originals of a results folder, and the tokenizers of its last run; both are read when
    they are first asked for."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._picks: dict[str, dict[str, Pick]] = {}

    @cached_property
    def _models(self) -> Models:
        config = last_config(self._results)
        if config is None:
            raise UserError(
                f"{self._results.settings}: no run of the workflow left its config here, so nobody "
                "knows which tokenizers made the tokens"
            )
        return Models(self._results, config.backends(), Compute())

    def tokenizer(self, modality: str) -> Any:
        """The tokenizer that made the tokens of a modality."""
        return self._models.load(f"tokenize.{modality}")

    def pick(self, clip_id: str, modality: str) -> Pick:
        """Where the originals of a clip lie. Raises UserError where they are not known."""
        if modality not in self._picks:
            found = (
                pick for split in SPLITS for pick in list_clips(self._results, modality, split)
            )
            self._picks[modality] = {pick.clip_id: pick for pick in found}
        if clip_id not in self._picks[modality]:
            raise UserError(f"{self._results}: clip {clip_id!r} has no {modality} there: run again")
        return self._picks[modality][clip_id]

    def frame(self, clip_id: str, keyframe: int, modality: str = "rgb") -> np.ndarray:
        """One keyframe of a clip as its tokenizer sees it: uint8 [224, 224, 3]."""
        return self.frames(clip_id, (keyframe,), modality)[0]

    def frames(self, clip_id: str, keyframes: tuple[int, ...], modality: str) -> list[np.ndarray]:
        """Some keyframes of a clip: uint8 [224, 224, 3] each."""
        if modality not in IMAGES:
            raise UserError(f"modality {modality[:100]!r} has no pictures: {', '.join(IMAGES)} do")
        pick = replace(self.pick(clip_id, modality), keyframes=keyframes)
        images = read_images(self._results.store, modality, [pick])[0]
        return [visible(modality, image) for image in images]

    def sound(self, clip_id: str, rate_hz: int) -> np.ndarray:
        """The audio window of a clip: float32 [samples]."""
        return read_sounds(self._results.store, [self.pick(clip_id, "rgb")], rate_hz)[0]

    def decode(self, modality: str, tokens: np.ndarray) -> Any:
        """See TokenDataset.decode."""
        kind, tokenizer = MODALITIES[modality].kind, self.tokenizer(modality)
        most = 2 if kind == "image" else 1
        if tokens.dtype.kind not in "iu" or not 1 <= tokens.ndim <= most or not tokens.size:
            shape = f"{tokens.dtype} {list(tokens.shape)}"
            raise UserError(f"{modality}: tokens are {shape}, not whole numbers of one clip")
        self._check(modality, tokenizer, tokens)
        made = make.decode(modality, np.atleast_2d(tokens).astype(np.int64), tokenizer)
        if kind == "audio":
            return made[0], tokenizer.sample_rate_hz
        return np.stack(made) if tokens.ndim == 2 else made[0]

    def _check(self, modality: str, tokenizer: Any, tokens: np.ndarray) -> None:
        """Raise UserError for ids or lengths that the tokenizer does not make."""
        kind = MODALITIES[modality].kind
        wide = getattr(tokenizer, "n_tokens", None) if kind == "image" else None
        if wide and tokens.shape[-1] != wide:
            raise UserError(f"{modality}: {tokens.shape[-1]} tokens in a row, not {wide}")
        frame = tokenizer.n_codebooks if kind == "audio" else 1
        if tokens.shape[-1] % frame:
            raise UserError(f"{modality}: {tokens.shape[-1]} tokens, not a multiple of {frame}")
        size = frame * tokenizer.codebook_size if kind == "audio" else tokenizer.vocab_size
        if tokens.min() < 0 or tokens.max() >= size:
            found = f"{tokens.min()} to {tokens.max()}"
            raise UserError(f"{modality}: ids {found} are not all within 0..{size - 1}")
