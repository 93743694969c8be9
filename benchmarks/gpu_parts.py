"""What the check of a GPU measures of training: attention, compiling, precision, resuming, speed.

A part is a function of ``Scale`` and ``Notes``: it computes the same at any scale on any device,
and says "needs a GPU" where a number would mean nothing without one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.train import PAPER, PAPER_STEPS, card_of, flops_of, processor, synthetic
from nano4m_audio.files import write_json
from nano4m_audio.nano4m import attention, model
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.distributed import Ranks, join
from nano4m_audio.nano4m.hardware import RECORDED_STEPS
from nano4m_audio.nano4m.self_test import TOLERANCE, compare_precisions
from nano4m_audio.nano4m.settings import (
    Hardware,
    MaskingConfig,
    Modality,
    ModelConfig,
    Numerics,
    ObjectiveConfig,
    OptimConfig,
    TrainSettings,
)
from nano4m_audio.nano4m.train import Run, Share, autocast, draw_share, start_run, take_step, train
from nano4m_audio.nano4m.vocabulary import Vocabulary

NEEDS_GPU = "needs a GPU"
#: How much farther from float32 the packed kernel may be than the padded one, both in bfloat16.
_KERNEL_FACTOR, _KERNEL_SLACK = 1.5, 1e-3


@dataclass(frozen=True)
class Scale:
    """How much is computed, and where. ``size`` None is a model of toy size."""

    device: str
    size: str | None
    batch: int
    clips: int
    matmul: int
    repeats: int
    steps: int
    precision_steps: int
    resume_steps: int
    long_steps: int
    reference_s: float
    backend_s: float

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


FULL = Scale("cuda", "d6w512", 64, 1024, 8192, 20, 30, 100, 12, 1000, 30.0, 0.7)
QUICK = dataclasses.replace(
    FULL, repeats=3, steps=8, precision_steps=10, long_steps=60, reference_s=5.0, backend_s=0.05
)
TOY = Scale("cpu", None, 4, 16, 128, 2, 4, 10, 6, 20, 5.0, 0.05)
SCALES = {"full": FULL, "quick": QUICK, "toy": TOY}


@dataclass
class Notes:
    """The rows of one part, written to a file one by one: a part that is stopped keeps what it
    had. ``problems`` are what was measured and is wrong."""

    path: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def row(self, what: str, result: str, **numbers: Any) -> None:
        self.rows.append({"what": what, "result": result})
        self.numbers |= numbers
        self._write()

    def check(self, holds: bool, what: str, result: str, **numbers: Any) -> None:
        """A row that is a failure unless ``holds``."""
        if not holds:
            self.problems.append(f"{what}: {result}")
        self.row(what, result if holds else f"failed: {result}", **numbers)

    def _write(self) -> None:
        plain = {key: value for key, value in vars(self).items() if key != "path"}
        write_json(self.path, json.loads(json.dumps(plain)))


def modalities_of(scale: Scale) -> tuple[Modality, ...]:
    """The paper's, or small ones with its captions."""
    if scale.size:
        return PAPER
    small = (dataclasses.replace(m, vocab_size=64, max_tokens=16) for m in PAPER[:-1])
    return (*small, PAPER[-1])


def settings_of(
    scale: Scale,
    steps: int,
    mode: str = "fast",
    precision: str = "auto",
    compiled: bool | str = False,
    checkpoint_every_s: float = 86_400,
) -> TrainSettings:
    """The paper's training (configs/paper.yaml) in ``steps`` steps, or one of toy size."""
    sizes: dict[str, Any] = {"size": scale.size}
    tokens = (16, 256)
    if not scale.size:
        sizes = {"dim": 32, "encoder_depth": 1, "decoder_depth": 1, "head_dim": 16}
        tokens = (4, 16)
    return TrainSettings(
        model=ModelConfig(modalities=modalities_of(scale), **sizes),
        masking=MaskingConfig(input_tokens=tokens, target_tokens=tokens, padded_captions=True),
        objective=ObjectiveConfig(per_modality_vocab=False),
        optim=OptimConfig(steps=steps, batch_size=scale.batch, warmup_steps=steps // 20),
        numerics=Numerics.model_validate({"mode": mode, "precision": precision, "threads": 1}),
        hardware=Hardware.model_validate(
            {
                "device": scale.device,
                "compile": compiled,
                "checkpoint_every_s": checkpoint_every_s,
            }
        ),
    )


def data_of(scale: Scale) -> TokenData:
    return synthetic(modalities_of(scale), scale.clips, noise=0.1)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """The median time of ``work``, after one turn that warms up."""
    spent = []
    for _ in range(repeats + 1):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def matmul_rate(scale: Scale, device: torch.device) -> float:
    """FLOP/s of one large product of matrices, in bfloat16 on a GPU."""
    dtype = torch.bfloat16 if scale.on_gpu else torch.float32
    a, b = (torch.randn(scale.matmul, scale.matmul, device=device).to(dtype) for _ in range(2))
    return 2 * scale.matmul**3 / seconds(lambda: a @ b, scale.repeats, device)


def machine(scale: Scale, notes: Notes) -> None:
    """What it runs on, and how fast a large product of matrices is."""
    ranks = join(scale.device)
    rate = matmul_rate(scale, ranks.device)
    if not scale.on_gpu:
        notes.row("device", f"{NEEDS_GPU}; {processor()}, torch {torch.__version__}")
    else:
        found = torch.cuda.get_device_properties(ranks.device)
        memory = found.total_memory / 2**30
        notes.row(
            "device",
            f"{found.name}, {memory:.0f} GiB, torch {torch.__version__}, CUDA {torch.version.cuda}",
            device=found.name,
        )
    card = card_of(torch.cuda.get_device_name(ranks.device)) if scale.on_gpu else None
    share = f", {rate / card[0]:.0%} of the data sheet's {card[0] / 1e12:.0f}" if card else ""
    notes.row(
        f"product of matrices of {scale.matmul}", f"{rate / 1e12:.3g} TFLOP/s{share}", matmul=rate
    )


@contextmanager
def attending(way: Callable[..., Any] | None) -> Iterator[None]:
    """The model attends in ``way``; None: as it chooses."""
    before = model.attend
    model.attend = way or before  # type: ignore[assignment]
    try:
        yield
    finally:
        model.attend = before


def ready_to_learn(settings: TrainSettings, ranks: Ranks) -> Run:
    """A run whose output table is not zero: only then do the blocks have gradients."""
    run = start_run(settings, ranks)
    generator = torch.Generator().manual_seed(1)
    table = run.model.to_logits.weight
    with torch.no_grad():
        table.copy_(0.02 * torch.randn(table.shape, generator=generator))
    return run


def loss_and_gradient(run: Run, share: Share) -> tuple[float, torch.Tensor]:
    """The loss of a batch and its gradient, all in one vector."""
    run.model.zero_grad()
    with autocast(run.settings, run.ranks.device):
        loss, _ = run.objective(share.inputs, share.targets, share.weights)
    loss.backward()
    every = [p.grad.float().ravel() for p in run.model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(every)


def varlen(scale: Scale, notes: Notes) -> None:
    """Attention without padding against attention over padding: the same numbers, and speed."""
    ranks, data = join(scale.device), data_of(scale)
    exact = settings_of(scale, 100, precision="float32")
    half = settings_of(scale, 100, precision="bfloat16")
    share = draw_share(0, exact, data, ranks)
    own = "packed (varlen)" if scale.on_gpu else "sample by sample"
    ways: dict[str, tuple[TrainSettings, Callable[..., Any] | None]] = {
        "padded, float32": (exact, attention.attend_filled),
        "padded, bfloat16": (half, attention.attend_filled),
        f"{own}, bfloat16": (half, None),
    }
    found, times = {}, {}
    for name, (settings, way) in ways.items():
        run = ready_to_learn(settings, ranks)
        with attending(way):
            found[name] = loss_and_gradient(run, share)
            work = lambda run=run: loss_and_gradient(run, share)  # noqa: E731
            times[name] = seconds(work, scale.repeats, ranks.device)
    true_loss, true_gradient = found.pop("padded, float32")
    off = {
        name: (
            abs(loss - true_loss) / true_loss,
            float((gradient - true_gradient).norm() / true_gradient.norm()),
        )
        for name, (loss, gradient) in found.items()
    }
    padded, packed = off.values()
    for name, (loss, gradient) in off.items():
        near = all(
            mine <= _KERNEL_FACTOR * theirs + _KERNEL_SLACK
            for mine, theirs in zip((loss, gradient), padded, strict=True)
        )
        result = f"loss {loss:.1e}, gradient {gradient:.1e} from padded float32"
        notes.check(near and loss == loss, name, result)
    slow, fast = (times[name] for name in found)
    speed = f"{slow / fast:.2f} times as fast ({slow * 1e3:.1f} and {fast * 1e3:.1f} ms)"
    notes.row(
        f"forward and backward, {own} against padded",
        speed if scale.on_gpu else NEEDS_GPU,
        packed_s=fast,
        padded_s=slow,
        packed_off=packed,
        padded_off=padded,
    )


def timed_steps(run: Run, shares: Sequence[Share]) -> tuple[list[float], float, float]:
    """Losses of three rounds over ``shares``; seconds until the third; and of a step of it, which
    meets nothing new: a first round compiles, a second one records."""
    device, times = run.ranks.device, []
    losses: list[torch.Tensor] = []
    for _ in range(3):
        began = time.perf_counter()
        losses += [take_step(run, share) for share in shares]
        wait(device)
        times.append(time.perf_counter() - began)
    *before, last = times
    return torch.stack(losses).tolist(), sum(before), last / len(shares)


def worst_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest relative difference of two curves; inf when one is not finite."""
    each = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    return max(each) if each and all(x == x for x in each) else float("inf")


def compiling(scale: Scale, notes: Notes) -> None:
    """All kernels launched one by one, passes replayed as CUDA graphs, and blocks compiled as well:
    the same losses, speed, and after how many steps each way has won back its time."""
    ranks, data = join(scale.device), data_of(scale)
    ways: dict[str, bool | str] = {
        "launched": False,
        "replayed": "auto",
        "compiled and replayed": True,
    }
    found = {}
    for way, compiled in ways.items():
        settings = settings_of(scale, RECORDED_STEPS, compiled=compiled)
        shares = [draw_share(step, settings, data, ranks) for step in range(scale.steps)]
        run = start_run(settings, ranks)
        found[way] = timed_steps(run, shares)
        objective: Any = run.objective
    (losses, plain_before, slow), *others = found.values()
    worst = max(worst_difference(same, losses) for same, _, _ in others)
    what = f"losses of {len(losses)} steps"
    notes.check(worst <= TOLERANCE, what, f"differ by at most {worst:.2%}")
    if not scale.on_gpu:
        notes.row("speed-up and time to compile", NEEDS_GPU)
        return
    for way, (_, before, quick) in list(found.items())[1:]:
        first_s = before - plain_before + 2 * scale.steps * (slow - quick)
        key = way.split()[0]
        result = f"{slow / quick:.2f} times as fast ({slow * 1e3:.1f} and {quick * 1e3:.1f} ms)"
        notes.row(f"a step {way} against launched", result, launched_s=slow, **{f"{key}_s": quick})
        pays = f"{first_s / (slow - quick):,.0f} steps" if quick < slow else "never"
        took = f"{first_s:.1f} s, won back after {pays}"
        notes.row(f"what is {way} before", took, **{f"{key}_first_s": first_s})
    notes.row("recorded", f"{len(objective.passes.passes)} shapes of batches")


def precision(scale: Scale, notes: Notes) -> None:
    """The self-test of bfloat16: losses on the same batches in both precisions."""
    found = compare_precisions(
        settings_of(scale, scale.precision_steps), data_of(scale), scale.precision_steps
    )
    (first, _), (full, half) = found.losses[0], found.losses[-1]
    notes.check(
        found.accepted,
        f"{scale.precision_steps} steps in float32 and bfloat16",
        f"{first:.3f} to {full:.3f} and {half:.3f}; losses differ by at most {found.worst:.2%} "
        f"({TOLERANCE:.0%} allowed), weights by {found.weights:.1%} of their way",
        curve=found.losses,
    )


class _Enough(Exception):
    """A training is left here."""


def weights_after(
    settings: TrainSettings, data: TokenData, folder: Path, leave_at: int | None = None
) -> dict[str, torch.Tensor]:
    """Train to the end, or leave at a step and go on from the state that is then in ``folder``."""
    nothing = synthetic(settings.model.modalities, 0)

    def watch(step: int, *_: object) -> None:
        if step == leave_at:
            raise _Enough

    if leave_at is not None:
        at_every_step = settings.hardware.model_copy(update={"checkpoint_every_s": 0.0})
        saving = settings.model_copy(update={"hardware": at_every_step})
        with suppress(_Enough):
            train(saving, data, nothing, folder, watch=watch)
    done = train(settings, data, nothing, folder)
    if leave_at is not None and not done.resumed_from_step:
        raise RuntimeError("the training did not go on from its state")
    return {name: value.cpu() for name, value in done.weights.items()}


def resume(scale: Scale, notes: Notes) -> None:
    """A training that is left and goes on ends in the bits of one that was not left."""
    data, steps = data_of(scale), scale.resume_steps
    settings = settings_of(scale, steps)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    for deterministic in (True, False):
        torch.use_deterministic_algorithms(deterministic)
        ended = []
        for leave_at in (None, steps // 2):
            with tempfile.TemporaryDirectory() as folder:
                ended.append(weights_after(settings, data, Path(folder), leave_at))
        straight, resumed = ended
        different = sum(not torch.equal(straight[name], resumed[name]) for name in straight)
        what = f"{steps} steps against {steps // 2}, saved and resumed"
        if deterministic:
            result = f"{len(straight) - different} of {len(straight)} tensors bit-identical"
            notes.check(not different, f"{what}, deterministic algorithms", result)
        else:
            result = "bit-identical" if not different else f"{different} tensors differ by rounding"
            notes.row(f"{what}, as a run does", result, plain_different=different)


@dataclass
class Pace:
    """What was seen of a training: seconds and losses (mean over modalities) by step."""

    seconds: dict[int, float] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)


def follow(settings: TrainSettings, data: TokenData, limit_s: float) -> Pace:
    """Train for at most ``limit_s``. Losses are read every ten steps, and that waits for the
    device, so the times of these steps are true ones."""
    pace, began = Pace(), time.perf_counter()

    def watch(step: int, _: object, rows: Sequence[Any]) -> None:
        if not rows:
            return
        pace.seconds[step] = time.perf_counter() - began
        pace.losses[step] = statistics.mean(row[3] for row in rows)
        if pace.seconds[step] > limit_s or step == settings.optim.steps:
            raise _Enough  # before the last state is written, which a run does once

    nothing = synthetic(settings.model.modalities, 0)
    with tempfile.TemporaryDirectory() as folder, suppress(_Enough):
        train(settings, data, nothing, Path(folder), watch=watch)
    return pace


def paper(scale: Scale, notes: Notes) -> None:
    """The paper's training: a timed beginning beside the published computation, at equal loss."""
    ranks, data = join(scale.device), data_of(scale)
    fast = settings_of(scale, scale.long_steps, compiled=scale.on_gpu)
    ours = follow(fast, data, 86_400)
    memory = torch.cuda.max_memory_reserved(ranks.device) / 2**30 if scale.on_gpu else 0.0
    slow = settings_of(scale, scale.long_steps, mode="reference", precision="float32")
    theirs = follow(slow, data, scale.reference_s)
    both = sorted(ours.losses.keys() & theirs.losses.keys())
    worst = worst_difference([ours.losses[k] for k in both], [theirs.losses[k] for k in both])
    last, base, start = max(ours.seconds), max(theirs.seconds), min(ours.seconds)
    notes.check(
        worst <= TOLERANCE,
        f"cross-entropy over {both[-1]} steps against the published computation in float32",
        f"{ours.losses[both[-1]]:.3f} and {theirs.losses[both[-1]]:.3f}, at most {worst:.2%} apart",
        losses=ours.losses,
        reference_losses=theirs.losses,
    )
    warm = max(k for k in ours.seconds if k <= max(start, last // 4))
    step_s = (ours.seconds[last] - ours.seconds[warm]) / (last - warm)
    reference_s = (theirs.seconds[base] - theirs.seconds[min(theirs.seconds)]) / max(
        base - min(theirs.seconds), 1
    )
    whole_s = ours.seconds[warm] + (PAPER_STEPS - warm) * step_s
    speak = scale.on_gpu
    notes.row(
        f"{last:,} steps, batch {scale.batch}",
        f"{ours.seconds[last]:.0f} s, compiling included, {memory:.0f} GiB of its memory; then "
        f"{step_s * 1e3:.1f} ms a step, the published computation {reference_s * 1e3:.1f} ms "
        f"({reference_s / step_s:.1f} times)"
        if speak else NEEDS_GPU,
        step_s=step_s, reference_s=reference_s, memory=memory,
    )  # fmt: skip
    notes.row(
        f"the paper's {PAPER_STEPS:,} steps", f"{whole_s / 60:.1f} min" if speak else NEEDS_GPU
    )
    counted = settings_of(scale, scale.long_steps)
    if vocabulary := Vocabulary.of_run(counted, data):
        counted, data = vocabulary.settings(counted), vocabulary.rows(data)
    shares = [draw_share(step, counted, data, ranks) for step in range(scale.repeats)]
    flops = statistics.mean(flops_of(share, counted) for share in shares)
    card = card_of(torch.cuda.get_device_name(ranks.device)) if scale.on_gpu else None
    peak = card[0] if card else matmul_rate(scale, ranks.device)
    of = f"{peak / 1e12:.0f} TFLOP/s ({'data sheet' if card else 'measured product'})"
    rate = flops / step_s
    notes.row(
        f"model FLOPs used, {counted.model.vocab_size:,} rows of ids",
        f"{flops / 1e12:.2f} TFLOP a step, {rate / 1e12:.0f} TFLOP/s, {rate / peak:.1%} of {of}"
        if speak else NEEDS_GPU,
        flops=flops, utilisation=rate / peak,
    )  # fmt: skip
    tokens = statistics.mean(share.n_tokens for share in shares)
    notes.row("tokens", f"{tokens / step_s:,.0f} a second" if speak else NEEDS_GPU)
