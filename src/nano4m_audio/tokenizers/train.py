"""Train an image tokenizer of the mini architecture on the training clips of a run, never twice.

Like a training run, a tokenizer is identified by a key: the digest of its images, its settings
and the stage version. ``store/tokenizers/<key>/`` holds the state of an unfinished one, which goes
on at its last checkpoint, and the files of a finished one, which is published again at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends.registry import TRAINED_WEIGHTS
from nano4m_audio.config.tokenizers import Tokenizer
from nano4m_audio.errors import UserError
from nano4m_audio.files import copy_file, write_json
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.seals import kept, publish_json
from nano4m_audio.store import locked
from nano4m_audio.tables import content_key
from nano4m_audio.tokenize.keyframes import Pick, content_of, list_clips, read_all, spread
from nano4m_audio.versions import stage_version

RUN = "run.json"
_STATES = "states"


def train_tokenizer(
    results: Results, name: str, settings: Tokenizer, threads: int | None = None
) -> None:
    """Train, or find the finished tokenizer, and publish it in ``results.tokenizer(name)``.

    Only keyframes of the train split are seen. The bytes of the weights depend on images,
    settings and processor; ``threads`` stand for those of the settings. Raises UserError when there
    is nothing to train on.
    """
    picks = spread(list_clips(results, settings.modality, "train"), settings.frames)
    if not picks:
        raise UserError(
            f"tokenizers.{name}: no clip of the train split has {settings.modality} images"
        )
    if threads is not None:
        settings = settings.model_copy(update={"threads": threads})
    values = settings.model_dump(mode="json")
    key = content_key("tokenizers", stage_version("tokenizers"), values, content_of(picks))
    folder = results.store / "tokenizers" / key
    with locked(folder):
        facts = {"key": key, "settings": values, "clips": len(picks)}
        train = partial(_train, name, settings, results.store, picks, folder, facts)
        if kept([folder / TRAINED_WEIGHTS, folder / RUN], train, f"tokenizer {name}"):
            shutil.rmtree(folder / _STATES, ignore_errors=True)
        out = results.tokenizer(name)
        copy_file(folder / TRAINED_WEIGHTS, out / TRAINED_WEIGHTS)
        publish_json(folder / RUN, out / RUN, name=name)


def _train(
    name: str,
    settings: Tokenizer,
    store: Path,
    picks: Sequence[Pick],
    folder: Path,
    facts: dict[str, Any],
) -> None:
    """Write weights and run.json into ``folder``."""
    import torch

    from nano4m_audio.backends.mini.image_tokenizer import ImageTokenizerNet
    from nano4m_audio.backends.mini.layers import fold_norms
    from nano4m_audio.backends.mini.runtime import save_weights
    from nano4m_audio.minitrain.losses import ImageTokenizerLoss, StoredImages
    from nano4m_audio.minitrain.trainer import Recipe, fit
    from nano4m_audio.nano4m.checkpoint import SaveError

    images = _gather(name, settings.modality, store, picks)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    net = ImageTokenizerNet(images.shape[1], settings.levels, settings.width)
    recipe = Recipe(settings.steps, settings.batch_size, settings.lr)
    loss = ImageTokenizerLoss(StoredImages(torch.from_numpy(images)), settings.batch_size)
    try:
        losses = fit(net, loss, recipe, seed=settings.seed, name=name, state=folder / _STATES)
    except SaveError as error:
        raise UserError(f"{error}: put that right and run again, it goes on") from None
    except FloatingPointError as error:
        raise UserError(f"tokenizers.{error}: lower its lr, {settings.lr:g}") from None
    notes = {
        "channels": images.shape[1],
        "levels": list(settings.levels),
        "width": settings.width,
        "recipe": recipe.notes(),
        "seed": settings.seed,
    }
    save_weights(fold_norms(net), folder / TRAINED_WEIGHTS, notes)
    measured = {
        "frames": len(images),
        "vocab_size": settings.vocab_size,
        "parameters": sum(p.numel() for p in net.parameters()),
        "losses": losses,
        "torch": torch.__version__,
    }
    write_json(folder / RUN, {**facts, **measured})


def _gather(name: str, modality: str, store: Path, picks: Sequence[Pick]) -> np.ndarray:
    """All images, float16 [N, channels, 224, 224]: exact to a sixteenth of an 8-bit level."""
    read = track(read_all(store, modality, picks), len(picks), f"read {name} [clips]")
    return np.concatenate([images.astype(np.float16) for _, images in read])
