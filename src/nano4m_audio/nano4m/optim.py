"""Learning rate and optimisers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from nano4m_audio.nano4m.settings import OptimConfig, TrainSettings

BETAS = (0.9, 0.95)


def learning_rate(step: int, config: OptimConfig) -> float:
    """Linear warm-up to ``lr``, then a cosine down to ``min_lr`` at the last step."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    return config.min_lr + (config.lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizers(model: nn.Module, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices of the blocks and AdamW for the rest.

    Weight decay is on every matrix, embeddings included, and not on norm weights and biases
    (nanofm/utils/optim_factory.py). Muon's updates are scaled to AdamW's size, so that one learning
    rate serves both; the tables of logits and of tokens have their own (``lr_scale``). Fast mode
    uses the fused AdamW, which computes the same.
    """
    config, fused = settings.optim, settings.numerics.mode == "fast"
    hidden, matrices, vectors, head, embedding = [], [], [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif name.endswith("to_logits.weight"):
            head.append(parameter)
        elif name.endswith("enc_tok_emb.weight"):
            embedding.append(parameter)
        elif config.optimizer == "muon" and ".blocks." in name:
            hidden.append(parameter)
        else:
            matrices.append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
        _scaled(head, config.weight_decay, config.head_lr_scale),
        _scaled(embedding, config.weight_decay, config.embedding_lr_scale),
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.lr, betas=BETAS, fused=fused)
    ]
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                hidden,
                lr=config.lr,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers


def _scaled(parameters: list[nn.Parameter], weight_decay: float, scale: float) -> dict[str, Any]:
    """A parameter group with a learning rate of its own and the decay of the others: AdamW
    multiplies the decay by the learning rate, and rare ids would fade between two sightings."""
    return {"params": parameters, "weight_decay": weight_decay / scale, "lr_scale": scale}


def set_learning_rate(optimizers: list[torch.optim.Optimizer], lr: float) -> None:
    """Give all parameter groups a learning rate, times their own scale."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
