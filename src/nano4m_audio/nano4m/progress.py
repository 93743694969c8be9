"""Training progress: a live bar, or periodic log lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

LOG_EVERY_S = 10.0


@dataclass
class Meter:
    """Speed of this session, and the last losses. ``update`` once per step."""

    total_steps: int
    step: int
    losses: Mapping[str, float] = field(default_factory=dict)
    tokens: int = 0
    _first: int = field(init=False)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._first = self.step

    def update(self, step: int, tokens: int, losses: Mapping[str, float]) -> None:
        """``tokens``: input and target tokens of the step; ``losses``: the last ones known."""
        self.step, self.losses = step, losses
        self.tokens += tokens

    @property
    def steps_per_s(self) -> float:
        return (self.step - self._first) / max(time.monotonic() - self._started, 1e-9)

    def describe_speed(self) -> str:
        tokens_per_s = self.tokens / max(time.monotonic() - self._started, 1e-9)
        return f"{tokens_per_s:,.0f} tokens/s, {self.steps_per_s:.2f} steps/s"

    def describe_losses(self) -> str:
        return " ".join(f"{name} {loss:.2f}" for name, loss in self.losses.items())


@contextmanager
def showing(meter: Meter, enabled: bool) -> Iterator[Callable[[], None]]:
    """Yield a function that shows the meter; to be called after every update."""
    if not enabled:
        yield lambda: None
        return
    if not sys.stderr.isatty():
        yield _log(meter)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    steps, left = MofNCompleteColumn(), TimeRemainingColumn()
    speed, losses = "{task.fields[speed]}", "{task.fields[losses]}"
    columns = "train", BarColumn(bar_width=20), steps, speed, left, losses
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        total, done = meter.total_steps, meter.step
        task = bar.add_task("train", total=total, completed=done, speed="", losses="")

        def show() -> None:
            speed, losses = meter.describe_speed(), meter.describe_losses()
            bar.update(task, completed=meter.step, speed=speed, losses=losses)

        yield show


def _log(meter: Meter) -> Callable[[], None]:
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        if time.monotonic() - last > LOG_EVERY_S or meter.step == meter.total_steps:
            last = time.monotonic()
            left_s = (meter.total_steps - meter.step) / max(meter.steps_per_s, 1e-9)
            print(
                f"train: {meter.step}/{meter.total_steps}, {meter.describe_speed()}, "
                f"{left_s:.0f} s left, {meter.describe_losses()}",
                file=sys.stderr,
                flush=True,
            )

    return show
