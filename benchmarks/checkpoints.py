"""What a checkpoint costs a run: the time for which it stands still, and the CPU time of the thread
that writes. From the two follows how often a run is saved.

Example: OMP_NUM_THREADS=1 python benchmarks/checkpoints.py --size d6w512
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from nano4m_audio.nano4m.checkpoint import load_state
from nano4m_audio.nano4m.distributed import Ranks
from nano4m_audio.nano4m.saving import COST_SHARE, Saver
from nano4m_audio.nano4m.settings import SIZES, Modality, ModelConfig, TrainSettings
from nano4m_audio.nano4m.train import start_run


def main() -> None:
    """Save the state of a run with moments several times and print the costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="d6w512", choices=sorted(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = ModelConfig(modalities=(Modality("caption", 50304, 512),), size=arguments.size)
    run = start_run(TrainSettings(model=model), Ranks(torch.device("cpu")))
    for parameter in run.model.parameters():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in run.optimizers:
        optimizer.step()
    run.best_weights = {k: v.clone() for k, v in run.model.state_dict().items()}
    n = sum(p.numel() for p in run.model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        for i in range(arguments.rounds):
            with Saver(Path(folder), 1e-9) as saver:
                began = time.monotonic()
                run.step = i
                saver.save(i, run.state(), began)
                stood = time.monotonic() - began
            cost = saver.spent_s
            path = max(Path(folder).glob("*.pt"))
            print(
                f"{arguments.size}, {n:,} parameters: {path.stat().st_size / 1e9:.2f} GB, stands "
                f"{stood:.2f} s, writes {cost - stood:.2f} CPU s: every {cost / COST_SHARE:.0f} s"
            )
        found = load_state(Path(folder))
        assert found is not None and all(
            torch.equal(v, found["model"][k]) for k, v in run.model.state_dict().items()
        )


if __name__ == "__main__":
    main()
