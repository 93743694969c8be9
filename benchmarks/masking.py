"""Samples masked per CPU second: the engine's batches beside one sample at a time.

The baseline follows the published algorithm word for word, as a data loader's worker runs it: a
Dirichlet draw for each side, a fresh one for every left-over token, a permutation per modality, a
span for audio, padding to 256, and the samples stacked to a batch of 64. Both are measured in
turns, on one thread.

Example: python benchmarks/masking.py --batch 64 --rounds 5
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import numpy as np
import torch

from nano4m_audio.nano4m.data import Ragged, TokenData, smallest_dtype
from nano4m_audio.nano4m.settings import MaskingConfig, Modality

SIZES = {"rgb": 196, "audio": 512, "depth": 196, "normals": 196, "caption": 64}
VOCABULARIES = {"rgb": 16384, "audio": 2048, "depth": 8192, "normals": 8192, "caption": 50304}
MODALITIES = tuple(
    Modality(name, VOCABULARIES[name], size, 2 if name == "audio" else None)
    for name, size in SIZES.items()
)
LOW, HIGH, STRIDE = 16, 256, 2
BASELINE_SAMPLES = 64


def budget(total: int, limits: list[int]) -> list[int]:
    """Share a number of tokens among the modalities, one fresh draw per left-over token."""
    dirichlet = torch.distributions.Dirichlet(torch.ones(len(limits)))
    shares = (dirichlet.sample() * total).floor().int()
    for _ in range(total - int(shares.sum())):
        shares[dirichlet.sample().argmax()] += 1
    return [min(int(share), limit) for share, limit in zip(shares, limits, strict=True)]


def span(n_input: int, n_target: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of one contiguous span: input first, target right after it."""
    a, b = n_input // STRIDE * STRIDE, n_target // STRIDE * STRIDE
    total = min(a + b, length)
    if total == 0:
        a, total = STRIDE, STRIDE
    elif a == 0 and b >= 2 * STRIDE:
        a = STRIDE
    a = min(a, total)
    start = random.randrange(0, (length - total) // STRIDE + 1) * STRIDE
    return torch.arange(start, start + a), torch.arange(start + a, start + total)


def padded(parts: list[tuple[torch.Tensor, torch.Tensor, int]], filling: int) -> list[torch.Tensor]:
    """Tokens, positions, modalities and mask of one side, each of length 256."""
    tokens = torch.cat([t for t, _, _ in parts])[:HIGH]
    positions = torch.cat([p for _, p, _ in parts])[:HIGH]
    modalities = torch.cat([torch.full_like(p, m) for _, p, m in parts])[:HIGH]
    missing = HIGH - len(tokens)
    mask = torch.ones(len(tokens), dtype=torch.bool)
    return [
        torch.nn.functional.pad(tokens, (0, missing), value=filling),
        torch.nn.functional.pad(positions, (0, missing)),
        torch.nn.functional.pad(modalities, (0, missing)),
        torch.nn.functional.pad(mask, (0, missing)),
    ]


def mask_sample(sample: list[torch.Tensor]) -> list[torch.Tensor]:
    """The published masking of one sample."""
    n_input, n_target = random.randint(LOW, HIGH), random.randint(LOW, HIGH)
    lengths = [len(tokens) for tokens in sample]
    inputs = budget(n_input, lengths)
    targets = budget(n_target, [n - used for n, used in zip(lengths, inputs, strict=True)])
    shown, asked = [], []
    for m, (tokens, modality) in enumerate(zip(sample, MODALITIES, strict=True)):
        if modality.span_stride:
            seen, wanted = span(inputs[m], targets[m], lengths[m])
        else:
            order = torch.randperm(lengths[m])
            seen = order[: inputs[m]].sort().values
            wanted = order[inputs[m] : inputs[m] + targets[m]].sort().values
        shown.append((tokens[seen], seen, m))
        asked.append((tokens[wanted], wanted, m))
    return padded(shown, 0) + padded(asked, -100)


def cpu_seconds(work, *arguments) -> float:
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def main() -> None:
    """Print samples per second of both and the ratio of every round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="samples per batch")
    parser.add_argument("--batches", type=int, default=100, help="batches per round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    clips = 1024
    tokens = {
        m.name: rng.integers(
            0, m.vocab_size, (clips, 1, m.max_tokens), smallest_dtype(m.vocab_size)
        )
        for m in MODALITIES
    }
    captions = tokens.pop("caption").ravel()
    offsets = np.arange(clips + 1) * SIZES["caption"]
    data = TokenData(MODALITIES, tokens, Ragged(captions, offsets))
    samples = [
        [torch.from_numpy(a[i, 0]).long() for a in data.arrays] for i in range(BASELINE_SAMPLES)
    ]
    config = MaskingConfig()

    def one_by_one() -> None:
        torch.utils.data.default_collate([mask_sample(sample) for sample in samples])

    def batches(first: int) -> None:
        for step in range(first, first + arguments.batches):
            data.batch(step, arguments.batch, config, 0)

    ratios = []
    for r in range(arguments.rounds):
        slow = BASELINE_SAMPLES / cpu_seconds(one_by_one)
        fast = arguments.batches * arguments.batch / cpu_seconds(batches, r * arguments.batches)
        ratios.append(fast / slow)
        print(
            f"round {r}: one at a time {slow:7,.0f} samples/s, in batches of {arguments.batch} "
            f"{fast:8,.0f} samples/s, ratio {fast / slow:.0f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.0f}")


if __name__ == "__main__":
    main()
