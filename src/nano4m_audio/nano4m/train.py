"""The training loop: resumable to the bit on the same CPU, thread count and torch version."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nano4m_audio.nano4m.checkpoint import load_state, save_state
from nano4m_audio.nano4m.data import Batch, TokenData
from nano4m_audio.nano4m.model import FourM, Tokens, mean_loss, token_losses
from nano4m_audio.nano4m.settings import OptimConfig, TrainSettings

#: Columns of a metrics row: loss is the mean over ``tokens`` targets, in nats.
METRIC_COLUMNS = ("step", "split", "modality", "loss", "lr", "tokens")
MetricRow = tuple[Any, ...]
#: Called after every step: how many are done, the model, and the metrics rows that the step added.
Watch = Callable[[int, FourM, Sequence[MetricRow]], None]
STATE_FILE = "state.pt"
LOG_EVERY_S = 10.0


class NonFiniteGradientError(RuntimeError):
    """The gradient holds inf or NaN; the batch was written beside the train state."""


@dataclass
class TrainResult:
    """A finished run. ``elapsed_s`` covers all sittings; it is the only value that is not
    determined by settings, data and seed."""

    model: FourM
    metrics: list[tuple[Any, ...]]
    elapsed_s: float
    resumed_from_step: int


@dataclass
class _Run:
    """Everything that changes from step to step."""

    model: FourM
    optimizer: torch.optim.Optimizer
    step: int = 0
    metrics: list[tuple[Any, ...]] = field(default_factory=list)
    loss_sums: np.ndarray = field(default_factory=lambda: np.zeros(0))
    token_counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    elapsed_s: float = 0.0

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "metrics": [list(row) for row in self.metrics],
            "loss_sums": self.loss_sums.tolist(),
            "token_counts": self.token_counts.tolist(),
            "elapsed_s": self.elapsed_s,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self.metrics = [tuple(row) for row in state["metrics"]]
        self.loss_sums = np.array(state["loss_sums"], np.float64)
        self.token_counts = np.array(state["token_counts"], np.int64)


def learning_rate(step: int, config: OptimConfig) -> float:
    """Linear warm-up to ``lr``, then a cosine down to ``min_lr`` at the last step."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    return config.min_lr + (config.lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: FourM, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on the matrices of linear layers only, not on embeddings and vectors."""
    embeddings = {"enc_tok_emb.weight", "enc_mod_emb.weight", "dec_mod_emb.weight"}
    decayed: list[torch.Tensor] = []
    kept: list[torch.Tensor] = []
    for name, parameter in model.named_parameters():
        (kept if parameter.ndim < 2 or name in embeddings else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)


@torch.inference_mode()
def evaluate(model: FourM, batches: list[Batch], mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Summed cross-entropy and number of targets per modality: float64 [M], int64 [M]."""
    n_modalities = len(model.config.modalities)
    sums, counts = np.zeros(n_modalities), np.zeros(n_modalities, np.int64)
    for batch in batches:
        targets = Tokens.of(batch.targets)
        losses = token_losses(model, model(Tokens.of(batch.inputs), targets), targets, mode)
        sums += [float(loss.double().sum()) for loss in losses]
        counts += [len(loss) for loss in losses]
    return sums, counts


def train(
    settings: TrainSettings,
    data: TokenData,
    val_data: TokenData,
    state_dir: Path,
    *,
    threads: int = 1,
    progress: bool = False,
    watch: Watch | None = None,
    checkpoint_every_steps: int = 200,
    checkpoint_every_s: float = 30.0,
) -> TrainResult:
    """Train to ``settings.optim.steps``, going on from ``state_dir`` when a state is there.

    ``val_data`` may be empty. Raises NonFiniteGradientError, ValueError for data without a clip.
    """
    torch.set_num_threads(threads)
    config = settings.optim
    model = FourM(settings.model, config.seed)
    n_modalities = len(settings.model.modalities)
    run = _Run(model, make_optimizer(model, config))
    run.loss_sums, run.token_counts = np.zeros(n_modalities), np.zeros(n_modalities, np.int64)
    state_path = state_dir / STATE_FILE
    if state_path.exists():
        run.restore(load_state(state_path))
    resumed, saved_step = run.step, run.step
    fixed = val_data.fixed_batches(config.batch_size, settings.masking, config.seed)
    clock = saved_at = time.monotonic()
    with _progress(config.steps, run.step, progress) as show:
        while run.step < config.steps:
            _step(run, settings, data, state_dir)
            known = len(run.metrics)
            _record(run, settings, fixed)
            if watch:
                watch(run.step, run.model, run.metrics[known:])
            now = time.monotonic()
            run.elapsed_s, clock = run.elapsed_s + now - clock, now
            due = run.step - saved_step >= checkpoint_every_steps
            if due or now - saved_at > checkpoint_every_s:
                save_state(state_path, run.state())
                saved_step, saved_at = run.step, now
            show(run)
    save_state(state_path, run.state())
    return TrainResult(model, run.metrics, run.elapsed_s, resumed)


def _step(run: _Run, settings: TrainSettings, data: TokenData, state_dir: Path) -> None:
    config = settings.optim
    batch = data.batch(run.step, config.batch_size, settings.masking, config.seed)
    targets = Tokens.of(batch.targets)
    losses = token_losses(
        run.model, run.model(Tokens.of(batch.inputs), targets), targets, settings.loss
    )
    run.optimizer.zero_grad(set_to_none=True)
    mean_loss(losses).backward()
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm)
    if not torch.isfinite(norm):
        raise _dump(run.step, batch, losses, state_dir)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, config)
    run.optimizer.step()
    run.loss_sums += [float(loss.detach().double().sum()) for loss in losses]
    run.token_counts += [len(loss) for loss in losses]
    run.step += 1


def _record(run: _Run, settings: TrainSettings, fixed: list[Batch]) -> None:
    config = settings.optim
    last = run.step == config.steps
    if run.step % config.log_every == 0 or last:
        _add_rows(run, settings, "train", run.loss_sums, run.token_counts)
        run.loss_sums, run.token_counts = run.loss_sums * 0, run.token_counts * 0
    if fixed and (run.step % config.eval_every == 0 or last):
        _add_rows(run, settings, "val", *evaluate(run.model, fixed, settings.loss))


def _add_rows(
    run: _Run, settings: TrainSettings, split: str, sums: np.ndarray, counts: np.ndarray
) -> None:
    lr = learning_rate(run.step - 1, settings.optim)
    for modality, total, count in zip(settings.model.modalities, sums, counts, strict=True):
        if count:
            loss = float(total / count)
            run.metrics.append((run.step, split, modality.name, loss, lr, int(count)))


def _dump(step: int, batch: Batch, losses: list[Tensor], state_dir: Path) -> NonFiniteGradientError:
    path = state_dir / f"nonfinite_step{step}.npz"
    arrays = {
        f"{side}_{name}": getattr(getattr(batch, side), name)
        for side in ("inputs", "targets")
        for name in ("tokens", "positions", "modalities", "lengths")
    }
    np.savez(path, clips=batch.clips, **arrays)
    values = [round(float(loss.detach().mean()), 4) if len(loss) else None for loss in losses]
    return NonFiniteGradientError(
        f"the gradient at step {step} is not finite (loss per modality {values}); the batch is in "
        f"{path}: lower lr or lengthen warmup_steps"
    )


@contextmanager
def _progress(total: int, done: int, enabled: bool) -> Iterator[Callable[[_Run], None]]:
    """Yield a function that shows speed, time left and losses: a bar, or lines in a log file."""
    started = time.monotonic()

    def status(run: _Run) -> tuple[float, str]:
        rate = (run.step - done) / (time.monotonic() - started)
        latest = {m: loss for _, split, m, loss, *_ in run.metrics[-20:] if split == "train"}
        return rate, " ".join(f"{name} {loss:.2f}" for name, loss in latest.items())

    if not enabled:
        yield lambda run: None
    elif sys.stderr.isatty():
        with _rich_bar(total, done, status) as show:
            yield show
    else:
        shown = [started]

        def log(run: _Run) -> None:
            if time.monotonic() - shown[0] > LOG_EVERY_S or run.step == total:
                shown[0] = time.monotonic()
                rate, losses = status(run)
                left_s = (total - run.step) / rate
                speed = f"{rate:.2f} steps/s, {left_s:.0f} s left"
                print(f"train: {run.step}/{total}, {speed}, {losses}", file=sys.stderr, flush=True)

        yield log


@contextmanager
def _rich_bar(
    total: int, done: int, status: Callable[[_Run], tuple[float, str]]
) -> Iterator[Callable[[_Run], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("train"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.2f} steps/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("train", total=total, completed=done, rate=0.0, losses="")

        def show(run: _Run) -> None:
            rate, losses = status(run)
            bar.update(task, completed=run.step, rate=rate, losses=losses)

        yield show
