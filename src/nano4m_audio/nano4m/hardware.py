"""What the device of a run is good for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

from nano4m_audio.nano4m.distributed import Ranks
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.processor import native_bfloat16

#: With ``compile: auto``, the steps from which on it pays. On an H200 with a d6w512, passes are
#: recorded in one to two seconds and save 11 to 21 ms a step; blocks are compiled in 30 and save 5
#: to 15 more (``make gpu-check``).
RECORDED_STEPS, COMPILED_STEPS = 100, 5000


def records(settings: TrainSettings, ranks: Ranks) -> bool:
    """Whether to record the model's passes as CUDA graphs (``nano4m/graphs.py``): in fast mode,
    where shapes recur, and by a process that waits for no other."""
    wanted = settings.hardware.compile
    if wanted == "auto":
        wanted = settings.optim.steps >= RECORDED_STEPS
    alone = ranks.device.type == "cuda" and ranks.world == 1
    return bool(wanted and alone and settings.numerics.mode == "fast")


def compiles(settings: TrainSettings, ranks: Ranks) -> bool:
    """Whether to compile the blocks. A CPU attends sample by sample, and would compile for the
    lengths of every batch anew."""
    hardware = settings.hardware
    if ranks.device.type != "cuda":
        if hardware.compile is True and ranks.rank == 0:
            print("train: compile: true is for a GPU, a CPU trains without", file=sys.stderr)
        return False
    if hardware.compile != "auto":
        return bool(hardware.compile)
    long = settings.optim.steps >= COMPILED_STEPS and settings.numerics.mode == "fast"
    tools = importlib.util.find_spec("triton") and (os.environ.get("CC") or shutil.which("cc"))
    return bool(long and tools and not hardware.shard_weights)


def warn_of_emulation(settings: TrainSettings, ranks: Ranks) -> None:
    """One line on stderr for bfloat16 on a CPU without it."""
    emulated = settings.dtype_name(ranks.device.type) == "bfloat16" and not native_bfloat16()
    if ranks.device.type == "cpu" and ranks.rank == 0 and emulated:
        print(
            "train: this CPU emulates bfloat16, about 6 times slower than float32; "
            "set precision: float32",
            file=sys.stderr,
        )
