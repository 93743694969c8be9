"""Picture-text similarity: an image and a bag-of-words tower in one space of 48 dimensions."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.mini.layers import Conv, Residual
from nano4m_audio.backends.mini.runtime import MiniBackend, as_image, read_notes, run_each

EMBEDDING_SIZE = 48
WORD_BUCKETS = 2048


def word_buckets(text: str) -> list[int]:
    """The hash bucket of every lower-case word; no vocabulary, so any text can be embedded."""
    words = re.findall(r"[a-z]+", text.lower())
    digests = (hashlib.blake2b(word.encode(), digest_size=8).digest() for word in words)
    return [int.from_bytes(digest, "little") % WORD_BUCKETS for digest in digests]


class ScorerNet(nn.Module):
    """Two towers; both give unit vectors [*, EMBEDDING_SIZE] whose product is the score."""

    def __init__(self) -> None:
        super().__init__()
        self.image_trunk = nn.Sequential(
            nn.PixelUnshuffle(4),
            Conv(48, 32),
            Conv(32, 64, stride=2),
            Residual(64),
            Conv(64, 80, stride=2),
            Residual(80),
            Conv(80, 112, stride=2),
        )
        self.image_head = nn.Linear(2 * 112, EMBEDDING_SIZE)
        self.words = nn.Embedding(WORD_BUCKETS, EMBEDDING_SIZE)
        self.text_head = nn.Linear(EMBEDDING_SIZE, EMBEDDING_SIZE)
        # Words never seen in training then add nothing to a text.
        nn.init.zeros_(self.words.weight)

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, 224, 224] in -1..1 -> [B, EMBEDDING_SIZE]."""
        maps = self.image_trunk(images.contiguous(memory_format=torch.channels_last))
        pooled = torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1)
        return nn.functional.normalize(self.image_head(pooled).float(), dim=1)

    def embed_text(self, buckets: torch.Tensor) -> torch.Tensor:
        """int64 [W] word buckets of one text -> [EMBEDDING_SIZE]."""
        summed = self.words(buckets).sum(0)
        return nn.functional.normalize(self.text_head(summed).float(), dim=0)


class MiniImageTextScorer(MiniBackend):
    """ImageTextScorer: the product of an image row and a text row is their cosine.

    Other words than those of the barnyard say nothing to it.
    """

    net: ScorerNet
    network = ScorerNet
    member = "scorer"

    def __init__(self, compute: Compute, folder: Path) -> None:
        super().__init__(compute, folder)
        self._family = folder / "tagger.safetensors"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(read_notes(self._family)["labels"])

    def embed_images(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, D] unit rows."""
        return run_each(lambda x: self.net.embed_images(as_image(x)), rgb, self.threads)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """T texts -> float32 [T, D] unit rows."""
        with torch.inference_mode():
            buckets = [torch.tensor(word_buckets(text), dtype=torch.int64) for text in texts]
            return torch.stack([self.net.embed_text(b) for b in buckets]).numpy()
