"""The interface of each kind of model, in NumPy arrays: no stage touches a framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


class AudioTagger(Protocol):
    """Names sounds. ``labels`` are names of AudioSet, or the names of classes."""

    sample_rate_hz: int

    @property
    def labels(self) -> tuple[str, ...]: ...

    def tag(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] in -1..1 -> float32 [B, len(labels)] in 0..1."""


class ImageTextScorer(Protocol):
    """Embeds pictures and texts into one space; the score of a pair is their cosine.

    ``classes`` are the only ones that it knows, or None where any text has a meaning for it.
    """

    @property
    def classes(self) -> tuple[str, ...] | None: ...

    def embed_images(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, D], unit length."""

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """T strings -> float32 [T, D], unit length."""


class SpeechDetector(Protocol):
    """Finds human speech."""

    sample_rate_hz: int

    def segments(self, waveforms: list[np.ndarray]) -> list[list[tuple[float, float]]]:
        """float32 [samples] each -> per waveform the (start_s, end_s) of every speech segment."""


class DepthEstimator(Protocol):
    """Predicts relative inverse depth (larger is nearer), as Depth-Anything-V2 does."""

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, 224, 224]."""


class SharedEstimator(Protocol):
    """An estimator of depth or normals whose network gives what another one needs too: the maps of
    both are made of the same outputs (see registry.shares_network)."""

    def outputs(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, ...], one row per picture."""

    def maps(self, outputs: np.ndarray) -> np.ndarray:
        """Those outputs -> what ``estimate`` gives."""


class NormalEstimator(Protocol):
    """Predicts surface normals: unit vectors that point out of the surface, in camera coordinates
    (x right, y down, z forward).

    So every visible surface has a normal against its ray: a wall that faces the camera (0, 0, -1),
    the ground y < 0, a plane that faces left x < 0. The barnyard renders in this frame and the mini
    family predicts and tokenizes in it. DSINE, the 4M normal tokenizer as the paper feeds it, and
    the colours of stored maps use the same vectors with all signs turned: DsineNormals,
    FourmNormalTokenizer and label.normal_colours do that, nothing else needs to.

    Known doubt: 4M trained its normal tokenizer on Omnidata's normals, whose authors describe them
    as x right, y down, z to the camera, where DSINE's are x left, y up, z to the camera. The paper
    did not convert one into the other, so neither does this code.
    """

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, 224, 224, 3], unit length."""


class ImageTokenizer(Protocol):
    """Turns a picture into 14 x 14 codes and back."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def channels(self) -> int: ...

    def tokenize(self, images: np.ndarray) -> np.ndarray:
        """float32 [B, channels, 224, 224] in -1..1 -> int32 [B, n_tokens]."""

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """int [B, n_tokens] -> float32 [B, channels, 224, 224] in -1..1."""


class AudioTokenizer(Protocol):
    """Turns a waveform into codebook indices and back, as EnCodec does.

    The audio window has ``samples = round(81920 / 24000 * sample_rate_hz)``. Where that is no whole
    number of frames, the last frame is filled up, and decoding gives up to a frame more.
    """

    sample_rate_hz: int

    @property
    def n_codebooks(self) -> int: ...
    @property
    def codebook_size(self) -> int: ...

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] in -1..1 -> int32 [B, n_codebooks, frames]."""

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int [B, n_codebooks, frames] -> float32 [B, samples or more]."""


class ImageClassifier(Protocol):
    """Names what a picture shows, by ImageNet-1k classes."""

    n_classes: int

    def classify(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, n_classes] probabilities."""


class AudioEmbedder(Protocol):
    """Describes sounds by vectors whose distributions are compared, as long as their makers compare
    them: of unit length for CLAP, as they come for taggers."""

    sample_rate_hz: int

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] in -1..1, at most 10 s -> float32 [B, D]."""


class SoundFeatures(Protocol):
    """Describes every moment of a sound by a vector: what semantic tokens are clusters of."""

    sample_rate_hz: int

    def moments(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] in -1..1, one audio window each -> float32 [B, T, D], T moments
        evenly spread over the window."""


class TextTokenizer(Protocol):
    """Turns a caption into ids with start and end marks."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """``[SOS] ids [EOS]``, unpadded."""

    def decode(self, ids: list[int]) -> str:
        """The text without special ids."""
