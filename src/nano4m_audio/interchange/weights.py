"""Weights of a trained model in other forms, by the name of the file or folder:

- ``*.pth`` or ``*.pt``: what run_training.py of nano4M-Audio saves, ``{"model": state_dict}``, with
  the arguments of the training in a form that both its loader and a plain ``torch.load`` take;
- ``*.safetensors``: the same state with its config as metadata, in the reference's form or ours;
- a folder: config.json and model.safetensors, as on the Hugging Face hub.

Each also says how the model was trained, under a name that the reference passes over; of the
checkpoint of a run its run.json does.

No code in a file is ever run: torch files are read with ``weights_only``, and whatever class an
optimiser or an argument was pickled with is replaced by a stand-in that holds nothing.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from nano4m_audio.backends.gpt2 import PAD
from nano4m_audio.config.parsing import parse
from nano4m_audio.errors import UserError
from nano4m_audio.files import atomic_path, read_json, sha256, write_bytes, write_json
from nano4m_audio.modalities import PUBLISHED_NAMES
from nano4m_audio.nano4m.checkpoint import load_model, save_model
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import (
    MaskingConfig,
    Modality,
    ModelConfig,
    ObjectiveConfig,
    TrainSettings,
)
from nano4m_audio.tables import content_key
from nano4m_audio.training.stage import RUN, WEIGHTS

State = dict[str, torch.Tensor]
CONFIG_FILE, MODEL_FILE = "config.json", "model.safetensors"
#: Where each form holds the sections of the settings that decide what a model's scores mean.
_TRAINING, _SECTIONS = "training", ("masking", "objective")
#: Beside them in the reference's forms: what its config has no place for, by modality.
_MODALITIES, _ROLES = "modalities", ("span_stride", "pad_id")
#: The tokenizers of the paper (Table 1), for a file that does not say.
PAPER_MODALITIES = (
    Modality("rgb", 16_384, 196),
    Modality("audio", 2_048, 512, span_stride=2),
    Modality("depth", 8_192, 196),
    Modality("normals", 8_192, 196),
    Modality("caption", 50_304, 64, pad_id=PAD),
)
_OUR_NAMES = {theirs: ours for ours, theirs in PUBLISHED_NAMES.items()}
#: Our names of a model's sizes -> the reference's.
_SIZES = {
    "dim": "dim",
    "encoder_depth": "enc_depth",
    "decoder_depth": "dec_depth",
    "head_dim": "head_dim",
    "mlp_ratio": "mlp_ratio",
}
_READ_KEYS = (
    "enc_tokens", "dec_tokens", "enc_modalities", "dec_modalities", "enc_positions",
    "dec_positions", "enc_pad_mask", "dec_pad_mask",
)  # fmt: skip


class _Inert:
    """Takes the place of any class that a torch file names, and keeps nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


@dataclass(frozen=True)
class _Found:
    """What one of the forms holds; ``training`` is what it says under ``_TRAINING``, if anything,
    and ``steps`` how long the model was trained, where it says so."""

    state: State
    config: ModelConfig
    training: dict[str, Any]
    steps: int | None = None


def read_model(path: Path) -> tuple[FourM, int | None]:
    """Rebuild a model from any of the forms; with its number of steps, where the file says so.

    Raises UserError for a file that is none of them, or whose tensors do not fit its config.
    """
    found = _read(path)
    return _build(found, path), found.steps


def _read(path: Path) -> _Found:
    if path.is_dir():
        values = _json(path / CONFIG_FILE)
        config = _ours(values, path / CONFIG_FILE)
        return _Found(_safetensors(path / MODEL_FILE)[0], config, _dict(values.get(_TRAINING)))
    if path.suffix == ".safetensors":
        state, metadata = _safetensors(path)
        if "config" in metadata:
            return _Found(state, _own_config(metadata, path), _told_beside(path))
        values = {key: _literal(text) for key, text in metadata.items()}
        theirs, steps = values if "vocab_sizes" in values else {}, None
    else:
        state, values, steps = _torch_file(path)
        theirs = _dict(values.get("model_config"))
    training = _dict(values.get(_TRAINING))
    roles = _dict(training.get(_MODALITIES))
    config = _reference_config(theirs, roles, path) if theirs else _guessed_config(state, path)
    return _Found(state, config, training, steps)


def _build(found: _Found, path: Path) -> FourM:
    try:
        model = FourM(found.config)
        model.load_state_dict(found.state, strict=True)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit its config: {' '.join(str(error).split())}") from None
    return model


def import_model(source: Path, run_dir: Path) -> None:
    """Write weights of any form as a run, which ``nano4m-audio evaluate`` can probe.

    Its masking and objective are those that ``source`` says; where it does not, the paper's, and a
    line on stderr says so. Raises UserError for a folder that holds anything but an earlier import.
    """
    replaceable = (run_dir / RUN).is_file() and "imported_from" in _json(run_dir / RUN)
    if not replaceable and run_dir.exists() and any(run_dir.iterdir()):
        raise UserError(f"{run_dir} is not empty: name a new folder for the run")
    found = _read(source)
    model, settings = _build(found, source), _settings(found, source)
    run_dir.mkdir(parents=True, exist_ok=True)
    save_model(run_dir / WEIGHTS, model)
    digest, identity = sha256(run_dir / WEIGHTS), settings.identity()
    run = {
        "experiment": run_dir.name,
        "settings": identity,
        "key": content_key("imported", digest, identity),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": found.steps,
        "sha256": {WEIGHTS: digest},
        "imported_from": source.name,
    }
    write_json(run_dir / RUN, run)


def _settings(found: _Found, source: Path) -> TrainSettings:
    """What the training of a model was told: by its file, or else what the paper's was."""
    told = {key: found.training[key] for key in _SECTIONS if key in found.training}
    if len(told) < len(_SECTIONS):
        print(
            f"{source} does not say how its model was trained: taken as the paper's, which scores "
            "the ids of all modalities together and the padding of captions",
            file=sys.stderr,
        )
    padded = any(m.pad_id is not None for m in found.config.modalities)
    settings = TrainSettings(
        model=found.config,
        masking=MaskingConfig(padded_captions=padded),
        objective=ObjectiveConfig(per_modality_vocab=False),
    )
    values = {**settings.model_dump(), **told}
    return parse(TrainSettings, values, f"{source}: {_TRAINING}")


def _told(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a run.json says of how its model was trained."""
    settings = _dict(run.get("settings"))
    return {key: settings[key] for key in _SECTIONS if key in settings}


def _told_beside(path: Path) -> dict[str, Any]:
    """What the run.json beside a checkpoint says of how it was trained, if it is about this file:
    others may have been copied there."""
    if not (path.parent / RUN).is_file():
        return {}
    run = _json(path.parent / RUN)
    return _told(run) if sha256(path) in _dict(run.get("sha256")).values() else {}


def _dict(value: Any) -> dict[str, Any]:
    """The value if it is a dict, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def export_model(run_dir: Path, out: Path) -> None:
    """Write the weights of a finished run in the form that the name of ``out`` says.

    Raises UserError when there is no finished run.
    """
    try:
        model = load_model(run_dir / WEIGHTS)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{error}: train the experiment first") from None
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    run, theirs = _json(run_dir / RUN), reference_config(model.config)
    training = _told(run)
    roles = {m.name: {role: getattr(m, role) for role in _ROLES} for m in model.config.modalities}
    beside = {_TRAINING: {**training, _MODALITIES: roles}}
    if out.suffix in (".pth", ".pt"):
        content = {
            "model": state,
            "iteration": int(run.get("steps") or 0),
            "args": _arguments({"model_config": theirs, **beside}),
        }
        with atomic_path(out) as temp:
            torch.save(content, temp)
    elif out.suffix == ".safetensors":
        metadata = {key: str(value) for key, value in {**theirs, **beside}.items()}
        write_bytes(out, safetensors_bytes(state, metadata=metadata))
    else:
        config = model.config.model_dump(mode="json")
        head = {"architectures": ["FourM"], "model_type": "nano4m"}
        write_json(out / CONFIG_FILE, {**head, **config, _TRAINING: training})
        write_bytes(out / MODEL_FILE, safetensors_bytes(state, metadata={"format": "pt"}))


def _arguments(values: dict[str, Any]) -> OrderedDict[str, Any]:
    """What the reference saves as an argparse.Namespace, ``args.model_config``, as the one kind of
    object with attributes that torch reads with ``weights_only``; also to be read as a mapping."""
    arguments: OrderedDict[str, Any] = OrderedDict(values)
    vars(arguments).update(arguments)
    return arguments


def reference_config(config: ModelConfig) -> dict[str, Any]:
    """The ``model_config`` with which the reference builds the same model."""
    return {
        "_target_": "nanofm.models.fourm.FourM",
        **{f"{key}_read_key": key for key in _READ_KEYS},
        "modalities": [PUBLISHED_NAMES.get(m.name, m.name) for m in config.modalities],
        "vocab_sizes": [m.vocab_size for m in config.modalities],
        "max_seq_lens": [m.max_tokens for m in config.modalities],
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "per_modality_loss_avg": True,
    }


def _json(path: Path) -> dict[str, Any]:
    values = read_json(path, "export or fetch it again")
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a JSON object")
    return values


def _safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as handle:
            keys, metadata = handle.keys(), handle.metadata() or {}
            return {key: handle.get_tensor(key) for key in keys}, metadata
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from None


def _torch_file(path: Path) -> tuple[State, dict[str, Any], int | None]:
    """State, arguments and step of a torch file."""
    content = _load_weights_only(path)
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"{path}: holds no state dict, neither as 'model' nor by itself")
    state = {str(key).removeprefix("module."): tensor for key, tensor in state.items()}
    args, steps = content.get("args"), content.get("iteration")
    known = args if isinstance(args, dict) else getattr(args, "__dict__", {})
    return state, known, steps if isinstance(steps, int) else None


def _load_weights_only(path: Path) -> Any:
    """torch.load with every class that the file names, but a plain namespace, replaced.

    What torch blocks even then (modules that reach the system) makes the file refused.
    """
    names: list[str] = []
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [(_Inert, name) for name in names if name != "argparse.Namespace"]
        with (
            warnings.catch_warnings(),  # of the pickle's protocol: what is wrong is said below
            torch.serialization.safe_globals([argparse.Namespace, *stand_ins]),
        ):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except Exception as error:  # a damaged pickle may raise anything
        if names:
            asked = ", ".join(name for name in names if name.isprintable())[:300]
            raise UserError(f"{path}: refused, it asks for {asked}") from error
        raise UserError(f"{path}: not a torch checkpoint") from error


def _own_config(metadata: Mapping[str, str], path: Path) -> ModelConfig:
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its config is not JSON ({error})") from None
    return _ours(config, path)


def _literal(text: str) -> Any:
    """The value that ``str`` made this text from; text that is no literal is itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _ours(values: Any, path: Path) -> ModelConfig:
    if not isinstance(values, dict):
        raise UserError(f"{path}: its config is no JSON object")
    known = {key: value for key, value in values.items() if key in ModelConfig.model_fields}
    return parse(ModelConfig, known, f"{path}: not the config of a nano4M model")


def _reference_config(
    values: Mapping[str, Any], roles: Mapping[str, Any], path: Path
) -> ModelConfig:
    """Of the reference's ``model_config``, and what is said beside it of our modalities."""
    if values.get("use_bias"):
        raise UserError(f"{path}: a model with biases; nano4M has none")
    try:
        columns = zip(
            values["modalities"], values["vocab_sizes"], values["max_seq_lens"], strict=True
        )
        modalities = [{**(row := _modality(*c)), **roles.get(row["name"], {})} for c in columns]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not the config of a nano4M model ({error!r})") from None
    sizes = {ours: values[theirs] for ours, theirs in _SIZES.items() if theirs in values}
    return _ours({"modalities": modalities, **sizes}, path)


def _modality(theirs: str, vocab_size: int, max_tokens: int) -> dict[str, Any]:
    """A modality as in the paper: sound is masked in pairs; captions are filled up, when the
    vocabulary has room for it."""
    name = _OUR_NAMES.get(theirs, theirs)
    return {
        "name": name,
        "vocab_size": vocab_size,
        "max_tokens": max_tokens,
        "span_stride": 2 if name == "audio" else None,
        "pad_id": PAD if name == "caption" and vocab_size > PAD else None,
    }


def _guessed_config(state: State, path: Path) -> ModelConfig:
    """Sizes from the shapes of the tensors; modalities and head width of the paper."""
    try:
        vocab_size, dim = state["enc_tok_emb.weight"].shape
        hidden = state["encoder.blocks.0.mlp.fc1.weight"].shape[0]
        n_modalities, n_positions = len(state["enc_mod_emb.weight"]), len(state["pos_emb"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not the weights of a nano4M model ({error!r})") from None
    longest = max(m.max_tokens for m in PAPER_MODALITIES)
    wanted = len(PAPER_MODALITIES), max(m.vocab_size for m in PAPER_MODALITIES), longest
    if (n_modalities, vocab_size, n_positions) != wanted:
        raise UserError(
            f"{path}: {n_modalities} modalities, {vocab_size} ids and {n_positions} positions, yet "
            "no config; without one only the paper's five modalities are assumed"
        )
    return ModelConfig(
        modalities=PAPER_MODALITIES,
        dim=dim,
        encoder_depth=_depth(state, "encoder"),
        decoder_depth=_depth(state, "decoder"),
        mlp_ratio=hidden / dim,
    )


def _depth(state: State, part: str) -> int:
    names: Sequence[str] = [key for key in state if key.startswith(f"{part}.blocks.")]
    return 1 + max((int(key.split(".")[2]) for key in names), default=0)
