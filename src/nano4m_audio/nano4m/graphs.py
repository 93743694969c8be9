"""The model's forward and backward pass as CUDA graphs, recorded once for each shape of a batch.

A step of a small model is a thousand kernels, and a host needs longer to launch them one by one
than a GPU to compute them. The objective between the two passes is no part of the graphs: it has
other numbers of rows per modality in every batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.model import FourM

#: Shapes that are recorded at most. Sizes of batches scatter about their means, and few shapes
#: (attention.ROWS_UNIT) are nearly all that occur.
MOST_SHAPES = 64
Shape = tuple[int, ...]


class Recorder(Protocol):
    """What turns work on tensors into a call that does it again, on the same memory."""

    def rehearse(self, work: Callable[[], None]) -> None:
        """Do it once, where it may still compile, allocate and choose kernels."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]: ...


class CudaRecorder:
    """Records what a function launches on the current GPU. All graphs share the memory of what
    lives no longer than a step, as one step is replayed at a time."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream()

    def rehearse(self, work: Callable[[], None]) -> None:
        with self._on_own_stream():
            work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with self._on_own_stream():
            # Another thread draws the next batches and sends them, which is allowed to go on.
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            work()
            graph.capture_end()
        return graph.replay

    @contextmanager
    def _on_own_stream(self) -> Iterator[None]:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # what is kept for one stream is of no use to another
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.synchronize()


class GraphedModel:
    """Calls a model as it is, and from the second batch of a shape on by the graphs of this shape.

    ``autocast`` makes the context of its passes, which must not keep casted weights: a graph would
    go on with those of the step in which it was recorded.
    """

    def __init__(
        self,
        model: FourM,
        autocast: Callable[[], AbstractContextManager[Any]],
        recorder: Recorder,
    ) -> None:
        self.model, self.autocast, self.recorder = model, autocast, recorder
        self.parameters = [p for p in model.parameters() if p is not model.to_logits.weight]
        self.gradients: list[Tensor] = []
        self.seen: Counter[Shape] = Counter()
        self.passes: dict[Shape, _Passes] = {}

    def __call__(self, inputs: Tokens, targets: Tokens) -> Tensor:
        """Decoder features [n_targets, dim]. The same memory is written by the next call."""
        if not torch.is_grad_enabled():
            return self.model(inputs, targets)
        shape = inputs.shape + targets.shape
        self.seen[shape] += 1
        if shape not in self.passes and self.seen[shape] > 1 and len(self.passes) < MOST_SHAPES:
            self.passes[shape] = _Passes(self, inputs, targets)
        if shape not in self.passes:
            return self.model(inputs, targets)
        passes = self.passes[shape]
        passes.inputs.copy_(inputs)
        passes.targets.copy_(targets)
        features: Tensor = _Replay.apply(passes, *self.parameters)
        return features


class _Passes:
    """Both passes over batches of one shape, from and to memory of their own."""

    def __init__(self, owner: GraphedModel, inputs: Tokens, targets: Tokens) -> None:
        self.owner = owner
        self.inputs, self.targets = inputs.clone(), targets.clone()
        self.features = self.d_features = torch.empty(0)
        owner.recorder.rehearse(self._both)
        self.forward = owner.recorder.record(self._forward)
        self.backward = owner.recorder.record(self._backward)
        self.features = self.features.detach()  # what the backward pass needed is free again

    def _both(self) -> None:
        self._forward()
        self.d_features = torch.zeros_like(self.features)
        self._backward()

    def _forward(self) -> None:
        with torch.enable_grad(), self.owner.autocast():
            self.features = self.owner.model(self.inputs, self.targets)

    def _backward(self) -> None:
        found = torch.autograd.grad(self.features, self.owner.parameters, self.d_features)
        if not self.owner.gradients:
            self.owner.gradients = [torch.empty_like(x) for x in found]
        torch._foreach_copy_(self.owner.gradients, found)


class _Replay(torch.autograd.Function):
    """The passes as one operation, whose gradients are those of the model's parameters."""

    @staticmethod
    def forward(ctx: Any, passes: _Passes, *_: Tensor) -> Tensor:
        ctx.passes = passes
        passes.forward()
        return passes.features.detach()

    @staticmethod
    def backward(ctx: Any, d_features: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        ctx.passes.d_features.copy_(d_features)
        ctx.passes.backward()
        return None, *(x.detach() for x in ctx.passes.owner.gradients)
