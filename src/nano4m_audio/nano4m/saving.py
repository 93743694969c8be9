"""States of a run, written while it goes on, as often as a hundredth of its time allows."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from nano4m_audio.nano4m.checkpoint import save_state

#: The share of a run's time that its states may take.
COST_SHARE = 0.01
#: What a state is taken to cost before the first one was measured [bytes/s].
BYTES_PER_S = 4e8


class Saver:
    """Writes the states of a run into ``folder`` while it goes on, and says when one is due.

    Not before ``every_s`` seconds after the last one, and not before all states of this session,
    the next one included, have cost less than COST_SHARE of it; the cost of a state is the time
    for which the run stands still while its tensors are copied, and the CPU time of the thread
    that writes the copy. With ``every_s`` 0 a state is always due, and is written at once. A copy
    takes as much host memory as weights and optimiser state, until it is written.
    """

    def __init__(self, folder: Path, every_s: float, size_bytes: int = 0) -> None:
        self._folder, self._every_s = folder, every_s
        self._began = self._last = time.monotonic()
        self.spent_s, self._next_s = 0.0, size_bytes / BYTES_PER_S
        self._thread = ThreadPoolExecutor(1, "save")
        self._writing: Future[float] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            self._settle()

    def due(self) -> bool:
        """Whether it is time for the next state. Raises SaveError if the last one failed."""
        if self._writing is not None and not self._writing.done():
            return False
        self._settle()
        now = time.monotonic()
        affordable = self.spent_s + self._next_s <= COST_SHARE * (now - self._began)
        return self._every_s == 0 or (now - self._last >= self._every_s and affordable)

    def save(self, step: int, state: dict[str, Any], began: float, wait: bool = False) -> None:
        """Copy ``state`` and have it written. ``began`` is the time.monotonic() at which the run
        stopped for it, ``wait`` makes it whole before this returns. Raises SaveError."""
        self._settle()
        frozen = _frozen(state)
        self._last = time.monotonic()
        self._next_s = self._last - began
        self._writing = self._thread.submit(self._write, step, frozen)
        if wait or self._every_s == 0:
            self._settle()

    def _write(self, step: int, state: dict[str, Any]) -> float:
        before = time.thread_time()
        save_state(self._folder, step, state)
        return time.thread_time() - before

    def _settle(self) -> None:
        """Wait for the state that is being written and account for it."""
        if (writing := self._writing) is not None:
            self._writing = None
            self._next_s += writing.result()
            self.spent_s += self._next_s


def _frozen(state: dict[str, Any]) -> dict[str, Any]:
    """A state on the host that no later step changes. Weights and optimiser states are copied; all
    else in a state was made for it, or is never changed in place."""
    copied = {key: _on_host(state[key], copy=True) for key in ("model", "optimizers")}
    return {**state, **copied, "best": _on_host(state["best"], copy=False)}


def _on_host(value: Any, copy: bool) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=copy)
    if isinstance(value, dict):
        return {key: _on_host(inner, copy) for key, inner in value.items()}
    if isinstance(value, list):
        return [_on_host(inner, copy) for inner in value]
    return value
