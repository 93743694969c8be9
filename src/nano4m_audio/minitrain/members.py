"""The members of the mini family: how each is built and trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
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

RECIPES = {
    "tagger": Recipe(steps=800, batch=32, learning_rate=2e-3),
    "scorer": Recipe(steps=1200, batch=32, learning_rate=2e-3),
    "dense": Recipe(steps=3200, batch=8, learning_rate=3e-3),
    "rgb_tokenizer": Recipe(steps=2000, batch=16, learning_rate=3e-3),
    "depth_tokenizer": Recipe(steps=1500, batch=16, learning_rate=3e-3),
    "normal_tokenizer": Recipe(steps=1800, batch=16, learning_rate=3e-3),
    "codec": Recipe(steps=3000, batch=32, learning_rate=4e-3),
}

# Shape of each image tokenizer: channels, FSQ levels (their product is the vocabulary), width.
_IMAGE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "rgb": {"channels": 3, "levels": [8, 8, 8, 8], "width": 40},
    "depth": {"channels": 1, "levels": [4, 4, 4, 4, 4], "width": 25},
    "normal": {"channels": 3, "levels": [4, 4, 4, 4, 4], "width": 30},
}


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
        recipe = Recipe(steps, recipe.batch, recipe.learning_rate, recipe.weight_decay)
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
    modality = name.removesuffix("_tokenizer")
    shape = _IMAGE_TOKENIZERS[modality]
    net = ImageTokenizerNet(shape["channels"], tuple(shape["levels"]), shape["width"])
    images = losses.ViewImages(load_views(data), modality)
    return net, losses.ImageTokenizerLoss(images, batch), dict(shape)
