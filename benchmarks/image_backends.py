"""The large image backends: pictures per second in batches against one by one, and what bfloat16
would change.

Example: OMP_NUM_THREADS=1 python benchmarks/image_backends.py --quick
Weights that were fetched are used; a model without them gets random ones of the same size, which
say everything about speed and little about bfloat16. Batches and single pictures take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nano4m_audio.backends import registry
from nano4m_audio.backends.batching import run_batched
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.divae.model import Divae
from nano4m_audio.backends.divae.scheduler import Diffusion
from nano4m_audio.backends.divae.settings import Settings
from nano4m_audio.backends.divae.tokenizer import FourmRgbTokenizer
from nano4m_audio.backends.dsine.estimator import DsineNormals
from nano4m_audio.backends.dsine.model import Dsine
from nano4m_audio.barnyard.views import sample_views
from nano4m_audio.errors import UserError
from nano4m_audio.label import maps
from nano4m_audio.media.crop import square_crop
from nano4m_audio.tokenize.keyframes import rgb_image

#: Those of the published RGB tokenizer, as far as its training config tells.
SETTINGS = Settings(3, 16384, diffusion=Diffusion("ddim", "linear", "sample"))


def pictures(folder: Path | None, n: int) -> np.ndarray:
    """uint8 [n, 224, 224, 3]: the first frame of each film of a folder, or rendered ones."""
    if folder is None:
        return sample_views("test", 0, n).rgb
    import av

    crops = []
    for path in sorted(folder.glob("*.mp4"))[:n]:
        with av.open(str(path)) as film:
            frame = next(film.decode(video=0)).to_ndarray(format="rgb24")
        crops.append(square_crop(frame))
    return np.stack(crops)


def loaded(kind: str, name: str, compute: Compute, otherwise: Callable[[], Any]) -> Any:
    """The backend with its published weights, or with random ones."""
    try:
        return registry.load(kind, name, compute)
    except UserError:
        print(f"{name}: random weights")
        return otherwise()


def randomised(net: torch.nn.Module) -> Any:
    """Weights of variance 1 / fan-in, so that activations and tokens vary from place to place; four
    times that in the convolution that sees the picture."""
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            gain = 4 if name == "encoder.proj.weight" else 1
            torch.nn.init.normal_(tensor, std=gain / tensor[0].numel() ** 0.5)
    return net.eval().requires_grad_(False)


def compare(
    name: str, run: Callable[[int], Any], batch: int, n: int, rounds: int, device: str
) -> None:
    """Time ``run(batch size)`` over ``n`` pictures, alternating, and print both rates: per second
    of CPU time on the CPU, which a busy machine does not change, else of wall time."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    sizes = (1, batch)
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            started = clock()
            run(size)
            seconds[size].append(clock() - started)
    one, many = (n / statistics.median(seconds[size]) for size in sizes)
    print(
        f"{name:24s} one by one {one:8.2f}/s   batches of {batch} {many:8.2f}/s   "
        f"ratio {many / one:.2f}",
        flush=True,
    )


def measure_tokenizer(rgb: np.ndarray, steps: int, rounds: int, compute: Compute) -> None:
    """Speed of tokenize and decode, and the tokens that bfloat16 keeps."""
    tokenizer = loaded(
        "rgb_tokenizer",
        "fourm_16k",
        compute,
        lambda: FourmRgbTokenizer(randomised(Divae(SETTINGS)), compute),
    )
    net, images = tokenizer.net, rgb_image(rgb)

    def tokenize(size: int) -> np.ndarray:
        return run_batched(net.tokens, images, size, compute)

    tokens = tokenize(8)
    compare("fourm_16k tokenize", tokenize, 8, len(rgb), rounds, compute.device)
    some = tokens[:4]

    def decode_batch(batch: torch.Tensor) -> torch.Tensor:
        start = torch.zeros(len(batch), 3, 224, 224, device=batch.device)
        return net.decode(batch, start, steps, torch.Generator())

    def decode(size: int) -> np.ndarray:
        return run_batched(decode_batch, some, size, compute)

    compare(f"fourm_16k decode, {steps} steps", decode, 4, len(some), rounds, compute.device)

    def reduced(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(batch.device.type, torch.bfloat16):
            return net.tokens(batch)

    kept = (run_batched(reduced, images, 8, compute) == tokens).mean()
    print(f"{'fourm_16k in bfloat16':24s} {kept:.2%} of {tokens.size} tokens stay; 99.5 % needed")
    print(f"{'':24s} {len(np.unique(tokens))} different tokens")


def measure_normals(rgb: np.ndarray, rounds: int, compute: Compute) -> None:
    """Speed of DSINE, and how far bfloat16 turns its normals and their stored colours."""
    estimator = loaded(
        "normal_estimator", "dsine", compute, lambda: DsineNormals(randomised(Dsine()), compute)
    )
    compare(
        "dsine",
        lambda size: run_batched(estimator.normals, rgb, size, compute),
        8,
        len(rgb),
        rounds,
        compute.device,
    )
    exact = estimator.estimate(rgb)
    with torch.autocast(compute.device, torch.bfloat16):
        reduced = estimator.estimate(rgb)
    angle = np.degrees(np.arccos((exact * reduced).sum(-1).clip(-1, 1)))
    moved = maps.normal_colours(exact) != maps.normal_colours(reduced)
    print(
        f"{'dsine in bfloat16':24s} turns normals by {angle.mean():.2f} degrees in the mean, "
        f"{np.percentile(angle, 99):.2f} at the 99th percentile; {moved.mean():.0%} of the stored "
        "values change"
    )


def main() -> None:
    """Print one line per measurement, on the CPU and on a GPU where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, one step of diffusion")
    parser.add_argument("--films", type=Path, help="a folder of films to take pictures from")
    arguments = parser.parse_args()
    rounds, steps = (1, 1) if arguments.quick else (3, 5)
    rgb = pictures(arguments.films, 8 if arguments.quick else 16)
    threads = torch.get_num_threads()
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        print(f"{device}, float32, {len(rgb)} pictures of 224 x 224, {threads} threads")
        compute = Compute(device, threads=threads)
        measure_tokenizer(rgb, steps, rounds, compute)
        measure_normals(rgb, rounds, compute)


if __name__ == "__main__":
    main()
