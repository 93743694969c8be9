"""Attention of a CPU over samples of different lengths, forward and backward: this project's, one
operation of autograd, and torch's function called for each sample, in turns on the same values.

Example: OMP_NUM_THREADS=1 python -m benchmarks.attention
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.train import processor
from nano4m_audio.nano4m.attention import Tokens, attend
from nano4m_audio.nano4m.masking import Packed

#: Heads, their width, and the mean number of tokens of a sample: the demo's, and d6w512's.
SIZES = ((2, 32, 110), (8, 64, 128))
SAMPLES = 32


def one_call_each(q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
    """The obvious way: views of every sample, and autograd's of them."""
    found = []
    for one in zip(*(x.split(tokens.lengths) for x in (q, k, v)), strict=True):
        rows = (x.transpose(0, 1)[None] for x in one)
        found.append(F.scaled_dot_product_attention(*rows)[0].transpose(0, 1))
    return torch.cat(found).flatten(1)


def packed(lengths: np.ndarray) -> Tokens:
    zeros = np.zeros(int(lengths.sum()), np.int64)
    return Tokens.of(Packed(zeros, zeros, zeros, lengths))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    for heads, width, mean in SIZES:
        spent: tuple[list[float], list[float]] = [], []
        for _ in range(arguments.rounds + 1):
            tokens = packed(rng.integers(mean // 2, 3 * mean // 2, SAMPLES))
            values = torch.randn(3, len(tokens.tokens), heads, width)
            found = []
            for i, times in enumerate(spent):
                q, k, v = (x.clone().requires_grad_() for x in values)
                began = time.process_time()
                out = attend(q, k, v, tokens, tokens) if i else one_call_each(q, k, v, tokens)
                out.square().sum().backward()
                times.append(time.process_time() - began)
                found.append((out, q.grad, k.grad, v.grad))
            assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
        old, new = (statistics.median(times[1:]) * 1e3 for times in spent)
        print(
            f"{SAMPLES} samples of {mean} tokens, {heads} heads of {width}: {old:.1f} ms of CPU in "
            f"single calls, {new:.1f} ms here, {old / new:.2f} times less, the same bits"
        )
    print(processor())


if __name__ == "__main__":
    main()
