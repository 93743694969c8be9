"""The training objective: cross-entropy per modality, computed in one of two equal ways.

``reference`` scores every row, padding included, in one matrix, as the paper's code does. ``fast``
scores real targets only, a few rows at a time, and derives the gradients in the same pass: the
full matrix of scores (400 MB at paper size and batch 8) never exists.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nano4m_audio.nano4m.attention import IGNORED, Tokens
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import ObjectiveConfig, TrainSettings
from nano4m_audio.nano4m.vocabulary import SharedRows

#: Rows scored at once: large enough for the matrix units, small enough for memory.
ROWS_CPU, ROWS_GPU = 256, 4096


def table_sizes(model: FourM, objective: ObjectiveConfig) -> list[int]:
    """How many rows of ``to_logits``, from the first on, compete for a target of each modality."""
    own = [m.vocab_size for m in model.config.modalities]
    return own if objective.per_modality_vocab else [max(own)] * len(own)


def own_table(model: FourM, m: int) -> Tensor:
    """The rows of ``to_logits`` of modality ``m``'s ids, [vocab_size, dim]."""
    return model.to_logits.weight[: model.config.modalities[m].vocab_size]


def token_losses(
    model: FourM, features: Tensor, targets: Tokens, objective: ObjectiveConfig
) -> list[Tensor]:
    """Cross-entropy in nats of every real target, float32 by modality, in packed order."""
    rows = features.index_select(0, targets.order)
    ids = targets.tokens.index_select(0, targets.order)
    losses = []
    for start, stop, size in _groups(targets, table_sizes(model, objective)):
        logits = F.linear(rows[start:stop], model.to_logits.weight[:size])
        losses.append(F.cross_entropy(logits.float(), ids[start:stop], reduction="none"))
    return losses


def loss_weights(counts: Sequence[int], average: str) -> list[float]:
    """What a target of each modality weighs in the loss, given all targets of the batch.

    ``modality``: the mean over modalities of their mean; one without a target counts as 0 and
    still divides, as in the paper. ``token``: the mean over targets.
    """
    total = sum(counts)
    if average == "token":
        return [1 / max(total, 1)] * len(counts)
    return [1 / (n * len(counts)) if n else 0.0 for n in counts]


class Objective(nn.Module):
    """A batch in, its loss out. This is the module that DDP and FSDP wrap.

    ``shared`` rows of the output table, if any, stand for ids that are never a target.
    ``compiled``: on a GPU, softmax and gradients of scores are one compiled kernel. ``passes``, if
    set, computes what the model does."""

    def __init__(
        self,
        model: FourM,
        settings: TrainSettings,
        shared: SharedRows | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.compiled = model, compiled
        self.passes: Callable[[Tokens, Tokens], Tensor] | None = None
        self.padded = settings.numerics.mode == "reference"
        self.sizes = table_sizes(model, settings.objective)
        self.shared = shared

    def forward(
        self, inputs: Tokens, targets: Tokens, weights: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """The weighted sum of all targets' losses (float32, with gradient), and the plain sum of
        each modality (float32 [M], without)."""
        features, table = (self.passes or self.model)(inputs, targets), self.model.to_logits.weight
        if self.padded:
            return self._of_all_rows(features, table, targets, weights)
        groups = _groups(targets, self.sizes)
        rows = features.index_select(0, targets.order)  # [n, dim], by modality
        ids = targets.tokens.index_select(0, targets.order)
        loss, losses = _LinearCrossEntropy.apply(
            rows, table, ids, groups, list(weights), self.shared, self.compiled
        )
        sums = [losses[start:stop].sum() for start, stop, _ in groups]
        return loss, torch.stack(sums)

    def _of_all_rows(
        self, features: Tensor, table: Tensor, targets: Tokens, weights: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        logits = F.linear(features, table).float()  # [n, ids]
        if len(set(self.sizes)) > 1:
            own = torch.tensor(self.sizes, device=table.device)[targets.modalities]
            foreign = torch.arange(len(table), device=table.device) >= own[:, None]  # [n, ids]
            logits = logits.masked_fill(foreign, -torch.inf)
        losses = F.cross_entropy(logits, targets.tokens, reduction="none", ignore_index=IGNORED)
        parts = losses.index_select(0, targets.order).split(_padded_counts(targets, self.sizes))
        sums = torch.stack([part.sum() for part in parts])
        return (sums * torch.tensor(weights, device=sums.device)).sum(), sums.detach()


def _padded_counts(targets: Tokens, sizes: Sequence[int]) -> list[int]:
    """Numbers of targets of all modalities; the last ones may not occur in the batch."""
    return targets.counts + [0] * (len(sizes) - len(targets.counts))


def _groups(targets: Tokens, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """First and last row (excluded) of each modality in modality order, and its table size."""
    groups, start = [], 0
    for count, size in zip(_padded_counts(targets, sizes), sizes, strict=True):
        groups.append((start, start + count, size))
        start += count
    return groups


def _pieces(groups: Sequence[tuple[int, int, int]], rows: int) -> Iterator[tuple[int, slice, int]]:
    for m, (start, stop, size) in enumerate(groups):
        for first in range(start, stop, rows):
            yield m, slice(first, min(first + rows, stop)), size


def log_scores(x: Tensor, table: Tensor, shared: SharedRows | None = None) -> Tensor:
    """log p of the ids of ``table`` [size, dim] for rows ``x`` [n, dim]: float32 [n, size]."""
    scores = (x @ table.T).float()
    if shared is not None:
        shared.raise_scores(scores)
    return scores.log_softmax(dim=1)


def score_gradient(scores: Tensor, ids: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cross-entropy of ``ids`` [n] and its gradient by ``scores`` [n, size], in their dtype; all
    between is float32. ``shift`` [size] is added to all scores. For torch.compile: a pass to sum
    and one to write, where single operations take ten."""
    log_p = scores.float() if shift is None else scores.float() + shift
    log_p = log_p.log_softmax(dim=1)
    chosen = ids[:, None] == torch.arange(scores.shape[1], device=scores.device)
    losses = -log_p.gather(1, ids[:, None])[:, 0]
    return losses, (log_p.exp() - chosen.float()).to(scores.dtype)


@cache
def fused_gradient() -> Callable[..., tuple[Tensor, Tensor]]:
    """``score_gradient``, compiled for any number of rows and ids."""
    # Said where there are few rows: the kernel reads scores once more than it would have to.
    warnings.filterwarnings("ignore", r"\s*Online softmax is disabled")
    return torch.compile(score_gradient, dynamic=True)


class _Scores:
    """``log_scores`` for a CPU, the same to the bit, always in the same memory: a fresh matrix of
    50 MB costs more than the softmax in it. A result is overwritten by the next one."""

    def __init__(self, x: Tensor, most_ids: int) -> None:
        n = min(ROWS_CPU, len(x)) * most_ids
        self._products = x.new_empty(n)
        self._result = self._products if x.dtype == torch.float32 else torch.empty(n)

    def __call__(self, x: Tensor, table: Tensor, shared: SharedRows | None = None) -> Tensor:
        shape = len(x), len(table)
        products, result = (
            room[: shape[0] * shape[1]].view(shape) for room in (self._products, self._result)
        )
        torch.mm(x, table.T, out=products)
        if shared is not None:
            products = products if products.dtype == torch.float32 else result.copy_(products)
            shared.raise_scores(products)
        return torch.log_softmax(products, 1, torch.float32, out=result)


class _LinearCrossEntropy(torch.autograd.Function):
    """Scores, softmax and both gradients of a piece of rows while its scores are at hand.

    Softmax and sums are float32 whatever the type of the matrix products.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        table: Tensor,
        ids: Tensor,
        groups: Sequence[tuple[int, int, int]],
        weights: Sequence[float],
        shared: SharedRows | None,
        compiled: bool,
    ) -> tuple[Tensor, Tensor]:
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        x, rows_of = features.to(dtype or features.dtype), table.to(dtype or table.dtype)
        losses = torch.empty(len(x), dtype=torch.float32, device=x.device)
        d_features = torch.empty_like(x)
        d_table = torch.zeros_like(table) if ctx.needs_input_grad[0] else torch.empty(0)
        loss = losses.new_zeros(())
        scores = _Scores(x, max(size for *_, size in groups)) if device == "cpu" else log_scores
        with torch.autocast(device, enabled=False):
            for m, piece, size in _pieces(groups, ROWS_CPU if device == "cpu" else ROWS_GPU):
                own = rows_of[:size]
                if compiled and ctx.needs_input_grad[0]:
                    shift = None if shared is None else shared.below(size).shift(size)
                    found, grad_logits = fused_gradient()(x[piece] @ own.T, ids[piece], shift)
                    losses[piece] = found
                    loss += found.sum() * weights[m]
                    d_features[piece] = (grad_logits @ own).mul_(weights[m])
                    d_table[:size].add_(grad_logits.T @ x[piece], alpha=weights[m])
                    continue
                log_p = scores(x[piece], own, shared and shared.below(size))  # [rows, size]
                indices = ids[piece, None]  # [rows, 1]
                losses[piece] = -log_p.gather(1, indices)[:, 0]
                loss += losses[piece].sum() * weights[m]
                if not ctx.needs_input_grad[0]:
                    continue
                minus_one = log_p.new_full(indices.shape, -1)
                grad_logits = log_p.exp_().scatter_add_(1, indices, minus_one).mul_(weights[m])
                grad_logits = grad_logits.to(x.dtype)  # [rows, size]
                torch.mm(grad_logits, own, out=d_features[piece])  # [rows, dim]
                if x.dtype == d_table.dtype:
                    d_table[:size].addmm_(grad_logits.T, x[piece])  # [size, dim]
                else:
                    d_table[:size] += grad_logits.T @ x[piece]
        if shared is not None and ctx.needs_input_grad[0]:
            shared.part_gradient(d_table)
        ctx.gradients = d_features.to(features.dtype), d_table
        ctx.mark_non_differentiable(losses)
        return loss, losses

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        d_features, d_table = ctx.gradients
        del ctx.gradients  # so that the table's gradient is taken over, not copied
        return d_features.mul_(d_loss), d_table.mul_(d_loss), *[None] * 5
