"""Monitoring: TensorBoard, Weights & Biases, sample predictions.

Watchers get numbers that exist anyway and draw no random numbers, so they change nothing: a run has
the same key, the same losses and the same weights with and without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nano4m_audio.errors import UserError
from nano4m_audio.training.token_sets import TokenSet

if TYPE_CHECKING:
    from nano4m_audio.nano4m.model import FourM
    from nano4m_audio.nano4m.settings import TrainSettings
    from nano4m_audio.nano4m.train import MetricRow, Watch

#: Validation clips whose images are predicted, and the side of an image in the grid [px].
SAMPLE_CLIPS, SAMPLE_PX = 4, 128


@contextmanager
def watching(
    settings: TrainSettings, out_dir: Path, val: TokenSet, facts: Mapping[str, Any], fresh: bool
) -> Iterator[Watch]:
    """Yield the function to be called after every step. ``facts`` are the run's key and settings.

    A ``fresh`` run first deletes events and samples left by a run with other settings. Raises
    UserError when Weights & Biases is wanted and not installed.
    """
    options = settings.watch
    events, samples = out_dir / "tensorboard", out_dir / "samples"
    for folder in (events, samples) if fresh else ():
        shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as stack:
        watchers: list[Watch] = []
        if options.tensorboard:
            watchers.append(stack.enter_context(_tensorboard(events)))
        if options.wandb_project:
            found = _wandb(options.wandb_project, out_dir.name, facts)
            watchers.append(stack.enter_context(found))
        if options.samples_every and len(val):
            watchers.append(_samples(options.samples_every, settings.tokenizers, samples, val))

        def watch(step: int, model: Callable[[], FourM], rows: Sequence[MetricRow]) -> None:
            for watcher in watchers:
                watcher(step, model, rows)

        yield watch


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Watch]:
    """Events ``loss/<split>/<modality>`` and ``lr``; a continued run hides what it does again."""
    from torch.utils.tensorboard import SummaryWriter

    with ExitStack() as stack:
        writers: list[SummaryWriter] = []

        def watch(step: int, model: Callable[[], FourM], rows: Sequence[MetricRow]) -> None:
            if rows and not writers:
                writers.append(stack.enter_context(SummaryWriter(folder, purge_step=step)))
            for name, value in _scalars(rows).items():
                writers[0].add_scalar(name, value, step)

        yield watch


@contextmanager
def _wandb(project: str, name: str, facts: Mapping[str, Any]) -> Iterator[Watch]:
    """A run whose id is the run's key, so that a continued run is one run there too."""
    try:
        import wandb
    except ImportError:
        raise UserError(
            f"wandb_project = {project!r}, but the package wandb is not installed: "
            "pip install wandb, or set wandb_project: null"
        ) from None
    run = wandb.init(
        project=project, name=name, id=facts["key"], resume="allow", config=dict(facts)
    )

    def watch(step: int, model: Callable[[], FourM], rows: Sequence[MetricRow]) -> None:
        if rows:
            run.log(_scalars(rows), step=step)

    try:
        yield watch
    finally:
        run.finish()


def _scalars(rows: Sequence[MetricRow]) -> dict[str, float]:
    """Names and values of metrics rows (step, split, modality, loss, lr, tokens)."""
    out = {f"loss/{split}/{modality}": loss for _, split, modality, loss, *_ in rows}
    return {**out, "lr": rows[-1][4]} if rows else out


def _samples(every: int, tokenizers: Mapping[str, str], folder: Path, val: TokenSet) -> Watch:
    """Every so many steps, the images of a few fixed clips beside what the model predicts for
    them from their other modalities: tokens as .npz, decoded as .png."""
    from nano4m_audio.nano4m.predict import predict_images

    count = min(SAMPLE_CLIPS, len(val))
    clips = np.unique(np.linspace(0, len(val) - 1, count).round().astype(np.int64))

    def watch(step: int, model: Callable[[], FourM], _: Sequence[MetricRow]) -> None:
        if step % every:
            return
        images = predict_images(model(), val.data, clips)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"step_{step:06d}"
        tokens: dict[str, Any] = {"clip_ids": [val.clip_ids[i] for i in clips]}
        for name, (true, predicted) in images.items():
            tokens |= {f"{name}_true": true, f"{name}_predicted": predicted}
        np.savez(path.with_suffix(".npz"), **tokens)
        columns = [(name, ids) for name, pair in images.items() for ids in pair]
        write_grid(path.with_suffix(".png"), columns, tokenizers)

    return watch


def write_grid(
    path: Path, columns: Sequence[tuple[str, np.ndarray]], tokenizers: Mapping[str, str]
) -> None:
    """One row per clip, one column per (modality, ids [clips, positions]), decoded to pictures."""
    from PIL import Image

    from nano4m_audio.backends import registry
    from nano4m_audio.files import atomic_path
    from nano4m_audio.label.maps import visible
    from nano4m_audio.modalities import MODALITIES

    kinds = {name: MODALITIES[name].tokenizer for name, _ in columns}
    loaded = {name: registry.load(kind, tokenizers[name]) for name, kind in kinds.items()}
    sheet = Image.new("RGB", (len(columns) * SAMPLE_PX, len(columns[0][1]) * SAMPLE_PX))
    for x, (name, ids) in enumerate(columns):
        for y, image in enumerate(loaded[name].decode(ids)):
            small = Image.fromarray(visible(name, image)).resize((SAMPLE_PX, SAMPLE_PX))
            sheet.paste(small, (x * SAMPLE_PX, y * SAMPLE_PX))
    with atomic_path(path) as temp:
        sheet.save(temp, "PNG")
