"""Speed of training: what the published code computes beside the packed ``fast`` mode.

``reference`` is this project's own implementation of the published computation: every sample filled
up to the full ranges, every row, padding included, scored over all ids in one matrix. The published
batches also have their captions filled up with [PAD] that is shown and asked for (``padded``);
``plain`` batches have not. Every ratio is over a named base: the reference, with the published
loss, on batches of the same kind, and on batches of the published kind.

All variants take their steps in turns on the same synthetic clips, so that a busy machine slows
all of them alike; the ratio of CPU seconds is the least noisy figure. On CUDA it also prints the
share of the peak that is used, what bounds a step, and what the paper's run would take.

Examples:
  python benchmarks/train.py --threads 2 --batch 8 --steps 6
  python benchmarks/train.py --device cuda --batch 64 --steps 200 --compile
  python benchmarks/train.py --optimizers --steps 300
  python benchmarks/train.py --head --threads 1
  python benchmarks/train.py --tables results --threads 1 --steps 20
  python benchmarks/train.py --beside results --steps 20
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from nano4m_audio.backends.gpt2 import PAD
from nano4m_audio.cli.app import share_cores
from nano4m_audio.files import read_json
from nano4m_audio.nano4m import objective
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.distributed import Ranks, join
from nano4m_audio.nano4m.settings import (
    SIZES,
    Hardware,
    MaskingConfig,
    Modality,
    ModelConfig,
    Numerics,
    ObjectiveConfig,
    OptimConfig,
    TrainSettings,
)
from nano4m_audio.nano4m.train import (
    Run,
    Share,
    draw_share,
    start_run,
    take_step,
    validate,
    validation_shares,
)
from nano4m_audio.nano4m.vocabulary import Vocabulary
from nano4m_audio.paths import Results
from nano4m_audio.processor import native_bfloat16
from nano4m_audio.training.stage import RUN, read_sets

PAPER = (
    Modality("rgb", 16384, 196),
    Modality("audio", 2048, 512, 2),
    Modality("depth", 8192, 196),
    Modality("normals", 8192, 196),
    Modality("caption", 50304, 64, pad_id=PAD),
)
PAPER_STEPS, PAPER_BATCH = 18_311, 64
#: captions, mode, vocabulary (shared, or each modality's own), precision; first the paper's.
VARIANTS = [
    (captions, mode, vocabulary, precision)
    for captions in ("padded", "plain")
    for mode, vocabulary, precision in (
        ("reference", "shared", "float32"),
        ("fast", "shared", "float32"),
        ("fast", "own", "float32"),
        ("fast", "shared", "bfloat16"),
        ("fast", "own", "bfloat16"),
    )
]
Variant = tuple[str, str, str, str]
#: Peak of dense bfloat16 [FLOP/s] and memory bandwidth [B/s] by what CUDA calls the card (data
#: sheets; the PCIe and NVL forms of Hopper are slower and are not in them).
CARDS = {
    "H100 80GB HBM3": (989.4e12, 3.35e12),
    "H200": (989.4e12, 4.8e12),
    "A100": (312e12, 2.0e12),
}


@dataclass
class Times:
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)


def synthetic(
    modalities: tuple[Modality, ...], clips: int, seed: int = 0, noise: float = 0.0
) -> TokenData:
    """Clips with something to learn: a hidden kind decides which ids are likely. A share ``noise``
    of the ids is any at all, so that all of them occur, as in real clips."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 16, clips)

    def tokens(m: int, modality: Modality, frames: int) -> np.ndarray:
        likely = np.random.default_rng([99, m]).integers(0, modality.vocab_size, (16, 64))
        drawn = rng.geometric(0.1, (clips, frames, modality.max_tokens)).clip(max=64) - 1
        ids = likely[kind[:, None, None], drawn]
        if noise:
            other = rng.integers(0, modality.vocab_size, ids.shape)
            ids = np.where(rng.random(ids.shape) < noise, other, ids)
        return ids.astype(np.uint16)

    arrays = {
        x.name: tokens(m, x, 1 if x.name == "audio" else 10)
        for m, x in enumerate(modalities)
        if x.name != "caption"
    }
    captions = [[50258, *range(int(k) * 5, int(k) * 5 + 3), 50259] for k in kind]
    return TokenData(modalities, arrays, captions)


def card_of(name: str) -> tuple[float, float] | None:
    """Peak and bandwidth of a card by what CUDA calls it, if the data sheet is known here."""
    return next((v for k, v in CARDS.items() if k in name and "NVL" not in name), None)


def flops_of(share: Share, settings: TrainSettings) -> float:
    """Floating-point operations that the real tokens of a step need, forward and backward: three
    times those of the forward pass, two for each weight that a token meets and for each product of
    attention. Padding, norms, softmax and the optimiser count nothing."""
    model = settings.model
    d, hidden = model.dim, int(model.mlp_ratio * model.dim)
    n_in = sum(share.inputs.counts)
    n_out = sum(share.targets.counts)
    encoder = model.encoder_depth * n_in * (4 * d * d + 2 * d * hidden)
    decoder = model.decoder_depth * (n_out * (6 * d * d + 2 * d * hidden) + n_in * 2 * d * d)
    own = settings.objective.per_modality_vocab
    ids = [m.vocab_size if own else model.vocab_size for m in model.modalities]
    logits = sum(n * v * d for n, v in zip(share.targets.counts, ids, strict=False))
    mixing = (
        2
        * d
        * (
            model.encoder_depth * sum(a * a for a in share.inputs.lengths)
            + model.decoder_depth
            * sum(
                b * (a + b)
                for a, b in zip(share.inputs.lengths, share.targets.lengths, strict=True)
            )
        )
    )
    return 6.0 * (encoder + decoder + n_in * d * d + logits + mixing)


def settings_of(arguments: argparse.Namespace, variant: Variant) -> TrainSettings:
    captions, mode, vocabulary, precision = variant
    return TrainSettings(
        model=ModelConfig(modalities=PAPER, size=arguments.size),
        masking=MaskingConfig(padded_captions=captions == "padded"),
        objective=ObjectiveConfig(per_modality_vocab=vocabulary == "own"),
        optim=OptimConfig(batch_size=arguments.batch),
        numerics=Numerics.model_validate(
            {"mode": mode, "precision": precision, "threads": arguments.threads}
        ),
        hardware=Hardware(device=arguments.device, compile=arguments.compile),
    )


def bases_of(variant: Variant, chosen: list[Variant]) -> list[Variant]:
    """What a variant is compared with: the reference on batches of its kind, and the first one."""
    alike = [v for v in chosen if v[:2] == (variant[0], "reference")]
    return [v for v in dict.fromkeys([*alike, chosen[0]]) if v != variant]


def processor() -> str:
    """The name of the CPU, and whether it has bfloat16."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    kind = "with" if native_bfloat16() else "without"
    return f"{names[0] if names else platform.processor()}, {kind} bfloat16"


def timed_step(run: Run, data: TokenData, step: int, ranks: Ranks, times: Times) -> None:
    share = draw_share(step, run.settings, data, ranks)
    fast = run.settings.numerics.model_copy(update={"mode": "fast"})
    packed = draw_share(step, run.settings.model_copy(update={"numerics": fast}), data, ranks)
    wall, cpu = time.perf_counter(), time.process_time()
    take_step(run, share)
    if ranks.device.type == "cuda":
        torch.cuda.synchronize()
    times.wall_s.append(time.perf_counter() - wall)
    times.cpu_s.append(time.process_time() - cpu)
    times.tokens.append(share.n_tokens)
    times.flops.append(flops_of(packed, run.settings))


def ratio(slow: list[float], fast: list[float]) -> str:
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(each):5.2f} ({min(each):.2f}-{max(each):.2f})"


def compare_modes(arguments: argparse.Namespace) -> None:
    """Steps of all variants in turns, then one line per variant."""
    ranks = join(arguments.device)
    data = synthetic(PAPER, 256)
    able = ranks.device.type == "cuda" or native_bfloat16()
    wanted = arguments.only or ["-".join(v) for v in VARIANTS if able or v[3] == "float32"]
    chosen = [v for v in VARIANTS if "-".join(v) in wanted]
    runs = {v: start_run(settings_of(arguments, v), ranks) for v in chosen}
    times = {v: Times() for v in chosen}
    for step in range(-arguments.warmup, arguments.steps):
        for variant, run in runs.items():
            spent = times[variant] if step >= 0 else Times()
            timed_step(run, data, step + arguments.warmup, ranks, spent)
    parameters = sum(p.numel() for p in runs[chosen[0]].model.parameters())
    print(
        f"{arguments.size}, {parameters:,} parameters, batch {arguments.batch}, {ranks.device}, "
        f"{arguments.threads} threads, {arguments.steps} steps each in turns; {processor()}"
    )
    for variant, spent in times.items():
        speed = sum(spent.tokens) / sum(spent.wall_s)
        print(f"{'-'.join(variant):30s} {statistics.median(spent.wall_s):7.3f} s/step", end=" ")
        print(f"{speed:10,.0f} tokens/s")
        for base in bases_of(variant, chosen):
            print(f"{'':30s} over {'-'.join(base)}: CPU time", end=" ")
            print(ratio(times[base].cpu_s, spent.cpu_s), end=", wall ")
            print(ratio(times[base].wall_s, spent.wall_s))
        if ranks.device.type == "cuda":
            explain_bound(spent, parameters, data, runs[variant], ranks)


def explain_bound(spent: Times, parameters: int, data: TokenData, run: Run, ranks: Ranks) -> None:
    """Model FLOPs utilisation, the least times of a step's parts, and the paper's run."""
    step_s = statistics.median(spent.wall_s)
    name = torch.cuda.get_device_name(ranks.device)
    card = card_of(name)
    started = time.perf_counter()
    for step in range(20):
        draw_share(step, run.settings, data, ranks)
    drawing = (time.perf_counter() - started) / 20
    print(f"{'':28s} {statistics.mean(spent.flops) / step_s / 1e12:.1f} TFLOP/s", end="")
    if card:
        peak, bandwidth = card
        products = statistics.mean(spent.flops) / peak
        # AdamW reads weight, gradient and two moments, and writes three of them; the gradient is
        # also zeroed, written and read for its norm: float32 throughout.
        updates = parameters * 4 * 10 / bandwidth
        print(
            f", MFU {products / step_s:.1%}; at least {products * 1e3:.1f} ms of matrix products,"
        )
        print(f"{'':28s} {updates * 1e3:.1f} ms of optimiser memory", end="")
        rest = step_s - products - updates
        parts = {"matrix products": products, "optimiser memory": updates, "the rest": rest}
        print(f", {rest * 1e3:.1f} ms of launches and small kernels", end="")
        print(f"; bound by {max(parts, key=lambda k: parts[k])}", end="")
    print(f"; drawing a batch takes {drawing * 1e3:.1f} ms of a host thread beside it")
    if run.settings.optim.batch_size == PAPER_BATCH:
        print(f"{'':28s} the paper's {PAPER_STEPS:,} steps: {PAPER_STEPS * step_s / 60:.1f} min")


def compare_optimizers(arguments: argparse.Namespace) -> None:
    """AdamW and Muon at equal steps on the same batches: validation loss, mean of modalities."""
    ranks = join(arguments.device)
    modalities = tuple(dataclasses.replace(m, vocab_size=min(m.vocab_size, 2048)) for m in PAPER)
    modalities = (*modalities[:-1], PAPER[-1])
    data, held_out = synthetic(modalities, 512), synthetic(modalities, 64, 1)
    print(f"validation loss [nats], dim 128, 2+2 blocks, batch 16, {arguments.steps} steps")
    for lr in arguments.lr:
        line = [f"lr {lr:g}:"]
        for optimizer in ("adamw", "muon"):
            settings = TrainSettings(
                model=ModelConfig(
                    modalities=modalities, dim=128, encoder_depth=2, decoder_depth=2, head_dim=32
                ),
                optim=OptimConfig(
                    steps=arguments.steps,
                    batch_size=16,
                    lr=lr,
                    warmup_steps=arguments.steps // 10,
                    optimizer=optimizer,
                ),
                numerics=Numerics(threads=arguments.threads),
            )
            run = start_run(settings, ranks)
            started = time.process_time()
            for step in range(arguments.steps):
                take_step(run, draw_share(step, settings, data, ranks))
            spent = time.process_time() - started
            sums, counts = validate(run, validation_shares(settings, held_out, ranks))
            line.append(f"{optimizer} {(sums / counts).mean():.4f} ({spent:.0f} CPU s)")
        print("  ".join(line), flush=True)


def compare_heads(arguments: argparse.Namespace) -> None:
    """The head of a step (1,000 targets, 50,304 ids) in reused and in fresh memory, in turns."""
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    rows, dim, ids = 1000, SIZES[arguments.size]["dim"], PAPER[-1].vocab_size
    features = torch.randn(rows, dim, generator=generator, requires_grad=True)
    table = (0.02 * torch.randn(ids, dim, generator=generator)).requires_grad_()
    targets = torch.randint(0, ids, (rows,), generator=generator)
    reusing = objective._Scores
    spent: dict[str, list[float]] = {"fresh": [], "reused": []}
    found = {}
    for _ in range(arguments.steps):
        for name, scores in (("fresh", lambda *_: objective.log_scores), ("reused", reusing)):
            objective._Scores = scores  # type: ignore[assignment, misc]
            features.grad = table.grad = None
            began = time.process_time()
            loss, _ = objective._LinearCrossEntropy.apply(
                features, table, targets, [(0, rows, ids)], [1 / rows], None
            )
            loss.backward()
            spent[name].append(time.process_time() - began)
            found[name] = loss.detach(), features.grad, table.grad
    assert all(torch.equal(a, b) for a, b in zip(*found.values(), strict=True))
    print(f"head, {processor()}: CPU time of fresh over reused memory, the same bits:", end=" ")
    print(ratio(spent["fresh"], spent["reused"]))


def compare_tables(arguments: argparse.Namespace) -> None:
    """Steps of a finished run with a row for every id, and with one for all ids that it never
    meets, in turns."""
    results = Results(arguments.tables)
    record = read_json(results.run(arguments.experiment) / RUN, "make report first")
    settings = TrainSettings.model_validate(record["settings"])
    numerics = settings.numerics.model_copy(update={"threads": arguments.threads})
    settings = settings.model_copy(update={"numerics": numerics})
    sets = read_sets(results, settings)
    vocabulary = Vocabulary.of_run(settings, sets["train"].data, sets["val"].data)
    if vocabulary is None:
        raise SystemExit("error: this run uses most of its ids")
    ranks = join(arguments.device)
    runs = start_run(settings, ranks), start_run(settings, ranks, vocabulary)
    sources = sets["train"].data, vocabulary.rows(sets["train"].data)
    times = Times(), Times()
    for step in range(-arguments.warmup, arguments.steps):
        for run, source, spent in zip(runs, sources, times, strict=True):
            timed_step(run, source, step + arguments.warmup, ranks, spent if step >= 0 else Times())
    if arguments.wall:
        print(statistics.median(times[1].wall_s))
        return
    print(
        f"{len(vocabulary.shared):,} rows for {len(vocabulary.row_of):,} ids, {processor()}: CPU "
        f"time of whole tables over short ones {ratio(times[0].cpu_s, times[1].cpu_s)}"
    )


def compare_waiting(arguments: argparse.Namespace) -> None:
    """Steps of a finished run with two threads beside a busy process for every core but one, in
    turns: threads that wait for each other spin as libgomp has it, or as our commands have it."""
    command = [sys.executable, __file__, "--tables", str(arguments.beside), "--threads", "2"]
    command += ["--experiment", arguments.experiment, "--steps", str(arguments.steps), "--wall"]
    ours: dict[str, str] = {}
    share_cores(ours)
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(max(1, len(os.sched_getaffinity(0)) - 1))
    ]
    spent: dict[str, list[float]] = {"as libgomp has it": [], "as the commands have it": []}
    try:
        for _ in range(arguments.warmup + 2):
            for name, more in zip(spent, ({}, ours), strict=True):
                bare = {k: v for k, v in os.environ.items() if k not in ours}
                said = subprocess.run(
                    command, env={**bare, **more}, check=True, capture_output=True, text=True
                )
                spent[name].append(float(said.stdout.split()[-1]))
    finally:
        for other in others:
            other.kill()
    for name, times in spent.items():
        print(f"{name}: {statistics.median(times) * 1e3:.0f} ms a step ({processor()})")
    print("ratio", ratio(*spent.values()))


def main() -> None:
    """Compare the modes, or one of the other things, as the options say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="d6w512", choices=sorted(SIZES))
    parser.add_argument("--batch", type=int, default=8, help="samples per step")
    parser.add_argument("--steps", type=int, default=6, help="measured steps per variant")
    parser.add_argument("--warmup", type=int, default=1, help="steps before the measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="torch.compile the blocks")
    parser.add_argument(
        "--only", nargs="+", choices=["-".join(v) for v in VARIANTS], help="measure only these"
    )
    parser.add_argument("--optimizers", action="store_true", help="compare AdamW with Muon")
    parser.add_argument("--head", action="store_true", help="compare the memory of the head")
    parser.add_argument("--tables", type=Path, help="compare tables: results of a finished run")
    parser.add_argument("--wall", action="store_true", help="with --tables: only seconds a step")
    parser.add_argument("--beside", type=Path, help="compare how threads wait: as --tables")
    parser.add_argument("--experiment", default="base", help="which run of those results")
    parser.add_argument("--lr", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3])
    arguments = parser.parse_args()
    if arguments.head:
        compare_heads(arguments)
    elif arguments.beside:
        compare_waiting(arguments)
    elif arguments.tables:
        compare_tables(arguments)
    elif arguments.optimizers:
        compare_optimizers(arguments)
    else:
        compare_modes(arguments)


if __name__ == "__main__":
    main()
