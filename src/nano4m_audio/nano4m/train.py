"""The training loop: resumable to the bit on the same CPU, thread count and torch version."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nano4m_audio.nano4m.attention import IGNORED, Tokens, on_device
from nano4m_audio.nano4m.checkpoint import load_state
from nano4m_audio.nano4m.data import Batch, TokenData
from nano4m_audio.nano4m.distributed import (
    Ranks,
    clip_gradients,
    full_state,
    full_weights,
    join,
    set_full_state,
    spread,
)
from nano4m_audio.nano4m.graphs import CudaRecorder, GraphedModel
from nano4m_audio.nano4m.hardware import compiles, records, warn_of_emulation
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.objective import Objective, loss_weights
from nano4m_audio.nano4m.optim import learning_rate, make_optimizers, set_learning_rate
from nano4m_audio.nano4m.progress import Meter, showing
from nano4m_audio.nano4m.saving import Saver
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.nano4m.vocabulary import SharedRows, Vocabulary, starting_model

#: Columns of a metrics row: loss is the mean over ``tokens`` targets, in nats.
METRIC_COLUMNS = ("step", "split", "modality", "loss", "lr", "tokens")
MetricRow = tuple[Any, ...]
#: Called after every step: how many are done, what makes the model as it then is, and the metrics
#: rows that the step added.
Watch = Callable[[int, Callable[[], FourM], Sequence[MetricRow]], None]
#: The folder of the states of an unfinished run, within its state folder.
STATES = "train_state"
#: Batches that are drawn ahead.
PREFETCH = 2


class NonFiniteGradientError(RuntimeError):
    """The gradient holds inf or NaN; the batch was written beside the train state."""


@dataclass
class TrainResult:
    """A finished run. ``best_weights`` are those of the step with the lowest mean validation loss
    over the modalities (without validation, the last ones). ``elapsed_s`` covers all sessions; it
    is the only value that is not determined by settings, data and seed."""

    model: FourM
    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    best_step: int
    metrics: list[MetricRow]
    elapsed_s: float
    resumed_from_step: int


@dataclass(frozen=True)
class Share:
    """This process's part of a batch, on its device, and what is known of the whole batch:
    targets per modality int64 [M], the weight of a target of each, and the number of tokens."""

    inputs: Tokens
    targets: Tokens
    counts: np.ndarray
    weights: list[float]
    n_tokens: int


@dataclass
class Run:
    """Everything that changes from step to step, and who computes it. ``settings`` are those that
    were ``given``, in terms of the rows of the ``vocabulary`` if there is one."""

    ranks: Ranks
    given: TrainSettings
    vocabulary: Vocabulary | None
    shared: SharedRows | None
    settings: TrainSettings
    sharded: bool
    model: FourM
    objective: nn.Module
    optimizers: list[torch.optim.Optimizer]
    loss_sums: Tensor
    bad_step: Tensor
    counts: np.ndarray
    step: int = 0
    metrics: list[MetricRow] = field(default_factory=list)
    best_loss: float = math.inf
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    elapsed_s: float = 0.0

    def state(self) -> dict[str, Any]:
        return {
            **full_state(self.model, self.optimizers, self.sharded),
            "step": self.step,
            "metrics": [list(row) for row in self.metrics],
            "loss_sums": self.ranks.total(self.loss_sums.clone()).tolist(),
            "counts": self.counts.tolist(),
            "best": [self.best_loss, self.best_step, self.best_weights],
            "elapsed_s": self.elapsed_s,
        }

    def whole_model(self, weights: dict[str, Tensor] | None = None) -> FourM:
        """The model with a row for every id; ``weights`` of this run stand for the present ones."""
        if self.vocabulary is None:
            return self.model
        return self.vocabulary.whole_model(self.given, weights or self.model.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        set_full_state(self.model, self.optimizers, self.sharded, state)
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self.metrics = [tuple(row) for row in state["metrics"]]
        if self.ranks.rank == 0:  # the sums of the others start again at 0
            self.loss_sums.copy_(torch.tensor(state["loss_sums"], dtype=torch.float64))
        self.counts = np.array(state["counts"], np.int64)
        self.best_loss, self.best_step, self.best_weights = state["best"]


def train(
    settings: TrainSettings,
    data: TokenData,
    val_data: TokenData,
    state_dir: Path,
    *,
    progress: bool = False,
    watch: Watch | None = None,
) -> TrainResult:
    """Train to ``settings.optim.steps``, going on from ``state_dir`` when a state is there.

    ``val_data`` may be empty. Under torchrun every process calls this, and all return the same;
    the first one writes. Raises NonFiniteGradientError, SaveError, ValueError for data without a
    clip.
    """
    ranks = join(settings.hardware.device)
    vocabulary = Vocabulary.of_run(settings, data, val_data)
    run = start_run(settings, ranks, vocabulary)
    if vocabulary is not None:
        data, val_data = vocabulary.rows(data), vocabulary.rows(val_data)
    if (state := load_state(state_dir / STATES)) is not None:
        run.restore(state)
    resumed, steps = run.step, settings.optim.steps
    validation = validation_shares(run.settings, val_data, ranks)
    meter = Meter(steps, run.step)
    clock = time.monotonic()
    size = 3 * sum(p.numel() * p.element_size() for p in run.model.parameters())
    shares = _prefetched(lambda step: draw_share(step, run.settings, data, ranks), run.step, steps)
    with (
        Saver(state_dir / STATES, settings.hardware.checkpoint_every_s, size) as saver,
        showing(meter, progress and ranks.rank == 0) as show,
    ):
        for share in shares:
            take_step(run, share)
            known = len(run.metrics)
            if _due(run, settings.optim.log_every) or ranks.device.type == "cpu":
                _check_finite(run, data, state_dir)
            _record(run, validation)
            if watch and ranks.rank == 0:
                watch(run.step, run.whole_model, run.metrics[known:])
            now = time.monotonic()
            run.elapsed_s, clock = run.elapsed_s + now - clock, now
            last = run.step == steps
            if last or _agreed(ranks, ranks.rank == 0 and saver.due(), run.step):
                _check_finite(run, data, state_dir)
                _save(run, saver, wait=last)
            meter.update(run.step, share.n_tokens, _last_losses(run))
            show()
    model, weights = run.whole_model(), full_weights(run.model, run.sharded)
    best, best_step = run.best_weights or weights, run.best_step or run.step
    if vocabulary is not None:
        weights, best = model.state_dict(), run.whole_model(best).state_dict()
    return TrainResult(model, weights, best, best_step, run.metrics, run.elapsed_s, resumed)


def start_run(settings: TrainSettings, ranks: Ranks, vocabulary: Vocabulary | None = None) -> Run:
    """A run before its first step. Every process gets its share of the CPU threads. With a
    ``vocabulary``, the run is one over its rows, and so are its settings."""
    given, hardware = settings, settings.hardware
    shared = vocabulary.shared_rows().to(ranks.device) if vocabulary else None
    torch.set_num_threads(max(1, settings.numerics.threads // hardware.devices))
    sharded = hardware.shard_weights and ranks.world > 1
    warn_of_emulation(settings, ranks)
    model = vocabulary.short_model(settings) if vocabulary else starting_model(settings)
    model = model.to(ranks.device)
    settings = vocabulary.settings(settings) if vocabulary else settings
    if compiled := compiles(settings, ranks):
        for block in (*model.encoder.blocks, *model.decoder.blocks):
            block.compile(dynamic=True)
    scored = Objective(model, settings, shared, compiled)
    if records(settings, ranks):
        cast = partial(autocast, settings, ranks.device)
        scored.passes = GraphedModel(model, cast, CudaRecorder())
    objective = spread(scored, ranks, sharded)
    n_modalities = len(settings.model.modalities)
    return Run(
        ranks,
        given,
        vocabulary,
        shared,
        settings,
        sharded,
        model,
        objective,
        make_optimizers(model, settings),
        loss_sums=torch.zeros(n_modalities, dtype=torch.float64, device=ranks.device),
        bad_step=torch.tensor(-1, device=ranks.device),
        counts=np.zeros(n_modalities, np.int64),
    )


def _prefetched(draw: Callable[[int], Share], first: int, last: int) -> Iterator[Share]:
    """``draw(first)`` to ``draw(last - 1)``, drawn ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        pending = [pool.submit(draw, k) for k in range(first, min(first + PREFETCH, last))]
        for step in range(first, last):
            if step + PREFETCH < last:
                pending.append(pool.submit(draw, step + PREFETCH))
            yield pending.pop(0).result()


def draw_share(step: int, settings: TrainSettings, data: TokenData, ranks: Ranks) -> Share:
    """This process's part of training batch ``step``."""
    optim = settings.optim
    batch = data.batch(step, optim.batch_size, settings.masking.at(step / optim.steps), optim.seed)
    return share_of(batch, settings, ranks)


def share_of(batch: Batch, settings: TrainSettings, ranks: Ranks) -> Share:
    """This process's part of a batch, ready to be computed."""
    n_modalities = len(settings.model.modalities)
    counts = np.bincount(batch.targets.modalities, minlength=n_modalities)
    start, stop = ranks.share(len(batch.clips))
    own = (side.samples(start, stop) for side in (batch.inputs, batch.targets))
    if settings.numerics.mode == "reference":
        widths = settings.masking.input_tokens[1], settings.masking.target_tokens[1]
        sides = list(map(Tokens.padded, own, widths, (0, IGNORED)))
    else:
        sides = list(map(Tokens.filled if records(settings, ranks) else Tokens.of, own))
    average = settings.objective.average
    weights = [w * ranks.world for w in loss_weights(counts.tolist(), average)]
    inputs, targets = on_device(sides, ranks.device)
    return Share(
        inputs,
        targets,
        counts=counts,
        weights=weights,
        n_tokens=len(batch.inputs.tokens) + len(batch.targets.tokens),
    )


def autocast(settings: TrainSettings, device: torch.device) -> torch.autocast:
    """Matrix products in the settings' precision on a device. Casted weights are not kept: each is
    used once in a pass, and a recorded pass would go on with those of the step it is from."""
    dtype = settings.dtype_name(device.type)
    return torch.autocast(
        device.type, getattr(torch, dtype), enabled=dtype != "float32", cache_enabled=False
    )


def take_step(run: Run, share: Share) -> Tensor:
    """One update; returns the loss, without gradient. Nothing here waits for the device."""
    optim = run.settings.optim
    with autocast(run.settings, run.ranks.device):
        loss, sums = run.objective(share.inputs, share.targets, share.weights)
    loss.backward()
    norm = clip_gradients(run.model, optim.clip_norm, run.shared)
    first_bad = ~torch.isfinite(norm) & (run.bad_step < 0)
    run.bad_step = torch.where(first_bad, run.step, run.bad_step)
    set_learning_rate(run.optimizers, learning_rate(run.step, optim))
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    run.loss_sums += sums
    run.counts += share.counts
    run.step += 1
    return loss.detach()


def _due(run: Run, every: int) -> bool:
    return run.step % every == 0 or run.step == run.settings.optim.steps


def _agreed(ranks: Ranks, due: bool, step: int) -> bool:
    """Whether to save now: the first process decides, every ten steps."""
    if ranks.world == 1:
        return due
    if step % 10:
        return False
    flag = torch.tensor([int(due)], device=ranks.device)
    return bool(ranks.total(flag).item())


def _save(run: Run, saver: Saver, wait: bool) -> None:
    began = time.monotonic()
    state = run.state()
    if run.ranks.rank == 0:
        saver.save(run.step, state, began, wait)


def validation_shares(settings: TrainSettings, data: TokenData, ranks: Ranks) -> list[Share]:
    """Fixed validation batches. Every process has as many; one with none left repeats the last
    one and counts nothing, since sharded weights are gathered by all together."""
    if not len(data):
        return []
    optim = settings.optim
    batches = data.fixed_batches(optim.batch_size, settings.masking, optim.seed)
    alone = Ranks(ranks.device)
    shares = []
    for first in range(0, len(batches), ranks.world):
        mine = first + ranks.rank
        share = share_of(batches[min(mine, len(batches) - 1)], settings, alone)
        if mine >= len(batches):
            share = Share(share.inputs, share.targets, share.counts * 0, share.weights, 0)
        shares.append(share)
    return shares


@torch.no_grad()
def validate(run: Run, shares: list[Share]) -> tuple[np.ndarray, np.ndarray]:
    """Summed cross-entropy and number of targets per modality: float64 [M], int64 [M]."""
    sums = torch.zeros_like(run.loss_sums)
    counts = torch.zeros(len(run.counts), dtype=torch.int64, device=sums.device)
    for share in shares:
        with autocast(run.settings, run.ranks.device):
            part = run.objective(share.inputs, share.targets, share.weights)[1]
        if share.counts.any():
            sums += part
        counts += torch.from_numpy(share.counts).to(counts.device)
    return run.ranks.total(sums).cpu().numpy(), run.ranks.total(counts).cpu().numpy()


def _record(run: Run, validation: list[Share]) -> None:
    optim = run.settings.optim
    if _due(run, optim.log_every):
        sums = run.ranks.total(run.loss_sums.clone()).cpu().numpy()
        _add_rows(run, "train", sums, run.counts)
        run.loss_sums.zero_()
        run.counts[:] = 0
    if validation and _due(run, optim.validate_every):
        sums, counts = validate(run, validation)
        _add_rows(run, "val", sums, counts)
        loss = float((sums / np.maximum(counts, 1)).mean())
        if loss < run.best_loss:
            run.best_loss, run.best_step = loss, run.step
            run.best_weights = full_weights(run.model, run.sharded)


def _add_rows(run: Run, split: str, sums: np.ndarray, counts: np.ndarray) -> None:
    lr = learning_rate(run.step - 1, run.settings.optim)
    for modality, total, count in zip(run.settings.model.modalities, sums, counts, strict=True):
        if count:
            loss = float(total / count)
            run.metrics.append((run.step, split, modality.name, loss, lr, int(count)))


def _last_losses(run: Run) -> dict[str, float]:
    recent = run.metrics[-4 * len(run.counts) :]
    return {name: loss for _, split, name, loss, *_ in recent if split == "train"}


def _check_finite(run: Run, data: TokenData, state_dir: Path) -> None:
    """Stop at a gradient that is not finite. Its batch is drawn again from its number, so that no
    step needs to wait for the answer of the device."""
    step = int(run.bad_step.item())
    if step < 0:
        return
    path = state_dir / f"nonfinite_step{step}.npz"
    if run.ranks.rank == 0:
        settings, optim = run.settings, run.settings.optim
        batch = data.batch(
            step, optim.batch_size, settings.masking.at(step / optim.steps), optim.seed
        )
        arrays = {
            f"{side}_{name}": getattr(getattr(batch, side), name)
            for side in ("inputs", "targets")
            for name in ("tokens", "positions", "modalities", "lengths")
        }
        if run.vocabulary is not None:
            for side in ("inputs", "targets"):
                arrays[f"{side}_tokens"] = run.vocabulary.ids[arrays[f"{side}_tokens"]]
        np.savez(path, clips=batch.clips, **arrays)
    losses = " ".join(f"{name} {loss:.3f}" for name, loss in _last_losses(run).items())
    raise NonFiniteGradientError(
        f"the gradient at step {step} is not finite (last losses: {losses or 'none yet'}); the "
        f"batch is in {path}: lower lr or lengthen warmup_steps"
    )
