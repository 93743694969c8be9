"""The registry that maps config names to models behind the Protocols of protocols.py.

A loader is imported and its weights are read only when a stage has rows to compute; the identity
of a backend (what goes into content keys) is read from its files alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, overload

from nano4m_audio.backends import protocols, weights
from nano4m_audio.backends.compute import Compute, emulated, resolve_device
from nano4m_audio.code_digest import code_digest
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.files import data_yaml, sha256


@dataclass(frozen=True)
class BackendSpec:
    """Where a backend lives (``module:attribute`` with a ``load``), what it loads, and why it may
    be used.

    ``weights`` is an id of weights.yaml: its folder goes to ``load(compute, folder)``. ``member``
    is the stem of a committed weights file, ``package`` a distribution that carries its weights:
    both mean ``load(compute)``. ``gpu`` says that it uses the device it is given; the others run on
    the CPU. ``dtypes`` are those in which its output stays close to float32: others are not used.

    Of a tokenizer: ``vocab_size`` ids, and ``n_tokens`` of them for an image, for an audio window
    (of all its ``n_codebooks``) or for the longest text. ``rate_hz`` is how many moments of a
    second features of sound tell of.
    """

    target: str
    weights: str = ""
    member: str = ""
    package: str = ""
    note: str = ""
    vocab_size: int = 0
    n_tokens: int = 0
    n_codebooks: int = 1
    rate_hz: float = 0
    gpu: bool = False
    dtypes: Sequence[str] = ("float32",)

    def dtype(self, wanted: str) -> str:
        """The dtype that the backend runs in when ``wanted`` is asked for."""
        return wanted if wanted in self.dtypes else "float32"

    @property
    def code(self) -> str:
        """The digest of the backend's own code; other packages are not followed."""
        package, _, target = self.target.partition(".")
        return code_digest(target) if package == "nano4m_audio" else ""


_WEIGHTS = Path(__file__).parent / "mini" / "weights"

#: Kinds of tokenizers for images: those that can be trained on a run's own frames.
_IMAGES = ("rgb_tokenizer", "depth_tokenizer", "normal_tokenizer")

_LISTED = data_yaml(Path(__file__).with_name("registry.yaml").read_text("utf-8"))
#: kind -> name -> spec.
REGISTRY: dict[str, dict[str, BackendSpec]] = {
    kind: {name: BackendSpec(**spec) for name, spec in specs.items()}
    for kind, specs in _LISTED.items()
}

#: ``trained:FOLDER`` is an image tokenizer of the mini architecture, or clusters of sounds, with
#: its weights in FOLDER.
TRAINED = "trained:"
TRAINED_WEIGHTS = "tokenizer.safetensors"
_TRAINED_SPEC = BackendSpec(
    "nano4m_audio.backends.mini.image_tokenizer:TrainedImageTokenizer",
    note="trained on this run's own frames",
    n_tokens=14 * 14,
)
_SEMANTIC_SPEC = BackendSpec(
    "nano4m_audio.backends.semantic:SemanticTokenizer",
    note="clusters of this run's own sounds",
)
_TRAINED_SPECS = {**dict.fromkeys(_IMAGES, _TRAINED_SPEC), "semantic_tokenizer": _SEMANTIC_SPEC}
#: Token tables hold ids of 16 bits.
MAX_VOCAB = 1 << 16


def get_spec(kind: str, name: str, key: str = "") -> BackendSpec:
    """Return the spec of a backend. Raises UserError, naming the ``key``, if it is unknown or has
    more ids than the token tables hold."""
    known = REGISTRY[kind]
    if name.startswith(TRAINED) and kind in _TRAINED_SPECS:
        return _TRAINED_SPECS[kind]
    if name not in known:
        raise UserError(
            f"{key or kind}: unknown backend {name!r}{did_you_mean(name, known)} "
            f"(known: {', '.join(known) or 'trained:NAME'})"
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


def shares_network(backend: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two backends (kind, name) of different kinds are the same network of the mini family:
    each is a protocols.SharedEstimator."""
    members = [get_spec(kind, name).member for kind, name in (backend, other)]
    return backend[0] != other[0] and members[0] != "" and members[0] == members[1]


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
