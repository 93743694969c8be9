"""How often the intervals hold the truth: simulated shares and means of clips in groups.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py [--rounds 2000]

Shares are beta-binomial with the given correlation within a group; beside them the percentile
bootstrap over clips, which many evaluations use. Means are normal or lognormal over groups.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from nano4m_audio.intervals import mean_interval, share_interval

GROUPS = 26
SIZES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "1": lambda rng: np.ones(GROUPS, int),
    "5": lambda rng: np.full(GROUPS, 5),
    "1 to 5": lambda rng: rng.integers(1, 6, GROUPS),
}
SHARES = (0.5, 0.7, 0.9, 0.95, 0.97, 0.99)


def draw(rng: np.random.Generator, sizes: np.ndarray, p: float, rho: float) -> np.ndarray:
    """Hits of every clip, groups one after the other."""
    if rho == 0:
        q = np.full(len(sizes), p)
    elif rho == 1:
        q = (rng.random(len(sizes)) < p).astype(float)
    else:
        strength = 1 / rho - 1
        q = rng.beta(p * strength, (1 - p) * strength, len(sizes))
    return (rng.random(sizes.sum()) < np.repeat(q, sizes)).astype(int)


def percentile(rng: np.random.Generator, hits: np.ndarray) -> tuple[float, float]:
    means = hits[rng.integers(0, len(hits), (300, len(hits)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def shares(rounds: int) -> None:
    print("| clips per group | correlation | " + " | ".join(f"{p:.0%}" for p in SHARES) + " |")
    print("|---|---|" + "---|" * len(SHARES))
    for name, rho in [(n, r) for n in SIZES for r in ((0,) if n == "1" else (0, 0.3, 0.6, 1))]:
        rng, cells = np.random.default_rng(1), []
        for p in SHARES:
            held = np.zeros(2)
            for _ in range(rounds):
                sizes = SIZES[name](rng)
                hits = draw(rng, sizes, p, rho)
                ours = share_interval(hits, np.ones(len(hits)), np.repeat(range(GROUPS), sizes))
                assert ours is not None
                for i, (low, high) in enumerate((ours, percentile(rng, hits))):
                    held[i] += low <= p <= high
            cells.append(f"{held[0] / rounds:.3f} ({held[1] / rounds:.2f})")
        print(f"| {name} | {rho} | {' | '.join(cells)} |", flush=True)


def means(rounds: int) -> None:
    print("\n| groups | normal | lognormal, sigma 0.5 |\n|---|---|---|")
    for groups in (10, 26, 100):
        rng, held = np.random.default_rng(2), np.zeros(2)
        for _ in range(rounds):
            sizes = rng.integers(1, 6, groups)
            numbers = np.repeat(range(groups), sizes)
            for i, centre in enumerate((rng.normal(size=groups), rng.lognormal(0, 0.5, groups))):
                values = centre[numbers] + 0.2 * rng.normal(size=len(numbers))
                found = mean_interval(values, np.ones(len(values)), numbers, resamples=400)
                assert found is not None
                held[i] += found[0] <= (0, np.exp(0.125))[i] <= found[1]
        print(f"| {groups} | {held[0] / rounds:.3f} | {held[1] / rounds:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    shares(options.rounds)
    means(options.rounds)


if __name__ == "__main__":
    main()
