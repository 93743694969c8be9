"""The members of the mini family: how each is built and trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from nano4m_audio.backends.mini.codec import CodecNet
from nano4m_audio.backends.mini.dense import DenseNet
from nano4m_audio.backends.mini.image_tokenizer import ImageTokenizerNet
from nano4m_audio.backends.mini.layers import fold_norms
from nano4m_audio.backends.mini.runtime import save_weights
from nano4m_audio.backends.mini.scorer import ScorerNet
from nano4m_audio.backends.mini.tagger import TaggerNet
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.minitrain import losses
from nano4m_audio.minitrain.data import load_sounds, load_views
from nano4m_audio.minitrain.trainer import Recipe, StepLoss, fit

_MEMBERS: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("members.yaml").read_text("utf-8")
)
#: The shape of each image tokenizer.
_SHAPES = {name: row.pop("shape") for name, row in _MEMBERS.items() if "shape" in row}
RECIPES = {name: Recipe(**row) for name, row in _MEMBERS.items()}


def train_member(
    name: str, out: Path, *, data: Path, seed: int, steps: int | None = None, threads: int = 1
) -> None:
    """Train one member of ``RECIPES`` on the data in folder ``data``; write its weights to ``out``.

    ``steps`` overrides the recipe's. The result depends on seed, data, thread count and processor.
    """
    if name not in RECIPES:
        raise UserError(
            f"no mini member {name!r}{did_you_mean(name, RECIPES)}; known: {', '.join(RECIPES)}"
        )
    recipe = RECIPES[name]
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    net, loss, notes = _prepare(name, data, recipe.batch)
    fit(net, loss, recipe, seed=seed, name=name)
    save_weights(fold_norms(net), out, notes | {"recipe": recipe.notes(), "seed": seed})


def _prepare(name: str, data: Path, batch: int) -> tuple[nn.Module, StepLoss, dict[str, Any]]:
    """A fresh network, its loss, and the notes from which a backend rebuilds it."""
    from nano4m_audio.barnyard.streams import CLASSES

    if name == "tagger":
        sounds = load_sounds(data)
        loss = losses.TaggerLoss(sounds, len(CLASSES), batch)
        return TaggerNet(len(CLASSES)), loss, {"labels": list(CLASSES)}
    if name == "scorer":
        return ScorerNet(), losses.ScorerLoss(load_views(data), CLASSES, batch), {}
    if name == "dense":
        return DenseNet(), losses.DenseLoss(load_views(data), batch), {}
    if name == "codec":
        return CodecNet(), losses.CodecLoss(losses.codec_windows(load_sounds(data)), batch), {}
    shape = _SHAPES[name]
    net = ImageTokenizerNet(shape["channels"], tuple(shape["levels"]), shape["width"])
    images = losses.ViewImages(load_views(data), name.removesuffix("_tokenizer"))
    return net, losses.ImageTokenizerLoss(images, batch), dict(shape)
