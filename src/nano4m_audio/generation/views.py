"""One modality of some clips as people see it: the true one, its tokens' round trip, what a model
wrote, and the files of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nano4m_audio.files import write_bytes
from nano4m_audio.generation.tasks import NOTHING
from nano4m_audio.label.maps import visible
from nano4m_audio.media import playable, windows
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.tokenize.keyframes import Pick, read_images
from nano4m_audio.tokenize.originals import decode, encode, read_sounds

#: One thing per clip: texts, or pictures [clips, C, H, W], or waveforms [clips, samples].
Things: TypeAlias = list[str] | np.ndarray


@dataclass(frozen=True)
class View:
    """One modality of the shown clips as people see it: pictures and waveforms as ``decode`` makes
    them, or texts. ``true`` is what the tokens were made from, ``ceiling`` what they decode to
    (None for texts, of which tokens lose nothing), and ``kept`` the share of tokens that come back
    when the ceiling is encoded again."""

    name: str
    tokenizer: Any
    true: Things
    ceiling: Things | None
    kept: float | None

    @property
    def kind(self) -> str:
        return MODALITIES[self.name].kind

    @property
    def frame(self) -> int:
        """Tokens of a moment."""
        return self.tokenizer.n_codebooks if self.kind == "audio" else 1

    def seen(self, ids: np.ndarray) -> Things:
        """What ids [clips, width] decode to. A model that is free to write ids of another codebook
        than a position's is read as if it had meant the same code of the right one."""
        if self.kind == "text":
            from nano4m_audio.generation.make import printable

            texts = (self.tokenizer.decode([int(i) for i in row if i != NOTHING]) for row in ids)
            return [printable(text) for text in texts]
        if self.kind == "audio":
            size = self.tokenizer.codebook_size
            ids = ids % size + np.arange(ids.shape[1]) % self.frame * size
        return decode(self.name, self.tokenizer, ids)

    def part(self, given: np.ndarray) -> Things:
        """The true ones with only what is ``given``, bool [clips, width]: the rest is grey, or
        silent."""
        out = np.array(self.true)
        for thing, tokens in zip(out, given, strict=True):
            if self.kind == "audio":
                thing[int(len(thing) * tokens.mean()) :] = 0
            else:
                side = isqrt(len(tokens))
                patch = np.ones((thing.shape[1] // side, thing.shape[2] // side))
                thing[:, np.kron(tokens.reshape(side, side), patch) == 0] = 0
        return out


def view_of(
    name: str, tokens: np.ndarray, picks: Sequence[Pick], store: Path, tokenizer: Any
) -> View:
    """How clips look in one modality: their ``tokens`` [clips, width], and where to read what these
    were made from (nowhere for texts)."""
    view = View(name, tokenizer, [], None, None)
    seen = view.seen(tokens)
    if view.kind == "text":
        return View(name, tokenizer, seen, None, None)
    ceiling = np.asarray(seen)
    if view.kind == "image":
        true = np.stack([read_images(store, name, [pick])[0][0] for pick in picks])
        whole = True
    else:  # a model may know the beginning of the window alone
        sounds = read_sounds(store, picks, tokenizer.sample_rate_hz)
        whole = ceiling.shape[1] == windows.window_samples(tokenizer.sample_rate_hz)
        true = windows.fit_length(sounds, ceiling.shape[1])
    kept = float((encode(name, tokenizer, ceiling) == tokens).mean()) if whole else None
    return View(name, tokenizer, true, ceiling, kept)


def write(folder: Path, view: View, stem: str, things: Things) -> list[dict[str, str]]:
    """Write one thing per clip; returns for each what the page shows: the names of its files by
    their kind, or its text."""
    cells = []
    for i, thing in enumerate(things):
        name = f"clip{i:02d}_{stem}"
        if view.kind == "text":
            cells.append({"text": thing})
        elif view.kind == "image":
            write_bytes(folder / f"{name}.jpg", playable.jpeg(visible(view.name, thing)))
            cells.append({"picture": f"{name}.jpg"})
        else:
            rate_hz = view.tokenizer.sample_rate_hz
            heard = playable.jpeg(playable.spectrogram(thing, rate_hz), 75)
            write_bytes(folder / f"{name}.jpg", heard)
            write_bytes(folder / f"{name}.mp3", playable.mp3(thing, rate_hz))
            cells.append({"sound": f"{name}.mp3", "spectrogram": f"{name}.jpg"})
    return cells
