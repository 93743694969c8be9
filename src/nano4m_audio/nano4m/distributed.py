"""Several processes, one device each, training one model: started by torchrun or Slurm.

Every process draws the whole batch (it is a function of the step) and computes its own slice of it.
The numbers of targets of the whole batch are thus known everywhere without communication, and the
averaged gradient is that of the whole batch's loss.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.objective import Objective
from nano4m_audio.nano4m.vocabulary import SharedRows


@dataclass(frozen=True)
class Ranks:
    """This process among the ``world`` processes of a run, and its device."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def share(self, n_samples: int) -> tuple[int, int]:
        """First and last (excluded) sample of this process. ValueError where a process has none."""
        if n_samples < self.world:
            raise ValueError(f"batch_size {n_samples} is below the number of devices {self.world}")
        return n_samples * self.rank // self.world, n_samples * (self.rank + 1) // self.world

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
        return values


def join(device: str) -> Ranks:
    """Pick this process's device (auto, cpu or cuda) and join the other processes, as the
    environment of torchrun says."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if world == 1:
        return Ranks(place)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return Ranks(place, dist.get_rank(), world)


def leave() -> None:
    """Leave the group, if there is one; the last thing that a process does."""
    if dist.is_initialized():
        dist.destroy_process_group()


def agree(value: bool, device: str) -> bool:
    """Broadcast rank 0's value to all ranks."""
    ranks = join(device)
    if ranks.world == 1:
        return value
    answer = torch.tensor([int(value)], device=ranks.device)
    dist.broadcast(answer, src=0)
    return bool(answer.item())


def spread(objective: Objective, ranks: Ranks, sharded: bool) -> nn.Module:
    """Wrap the objective so that gradients are averaged over ranks: DDP, or FSDP2 when weights,
    gradients and optimiser state are ``sharded`` as well."""
    if ranks.world == 1:
        return objective
    if not sharded:
        return nn.parallel.DistributedDataParallel(
            objective, gradient_as_bucket_view=True, broadcast_buffers=False
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    for stack in (objective.model.encoder, objective.model.decoder):
        for block in stack.blocks:
            fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    return objective


def clip_gradients(model: FourM, limit: float, shared: SharedRows | None = None) -> Tensor:
    """Scale the gradients to a norm of at most ``limit``; returns the norm before, that of the
    whole table where rows of it are ``shared``."""
    if shared is None:
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if model.to_logits.weight.grad is not None:
        norm = (norm.square() + shared.missing_square(model.to_logits.weight.grad)).sqrt()
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm)
    return norm


def full_state(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], sharded: bool
) -> dict[str, Any]:
    """Whole weights and optimiser states; to be called by all processes when sharded."""
    if not sharded:
        return {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, optimizer_state = get_state_dict(model, optimizers, options=options)
    return {"model": weights, "optimizers": optimizer_state}


def set_full_state(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], sharded: bool, state: dict[str, Any]
) -> None:
    """Put what ``full_state`` gave into place."""
    if not sharded:
        model.load_state_dict(state["model"])
        for optimizer, values in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    set_state_dict(
        model,
        optimizers,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizers"],
        options=StateDictOptions(full_state_dict=True),
    )


def full_weights(model: nn.Module, sharded: bool) -> dict[str, Tensor]:
    """A copy of the whole weights, on their device, or on the host when sharded."""
    if sharded:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return dict(get_model_state_dict(model, options=options))  # type: ignore[arg-type]
    return {key: value.detach().clone() for key, value in model.state_dict().items()}
