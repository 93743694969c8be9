"""Clips per second of every pretrained backend, beside the loop that one would write first.

The loop calls the upstream package for one item after the other; both run in this process, in
turns, on the same random weights (speed does not depend on values) and inputs. On a CPU rates are
per second of CPU time, that is per core and blind to other programs; elsewhere per second.

Example: OMP_NUM_THREADS=1 python -m benchmarks.backends --quick panns_cnn14 silero
Example: python -m benchmarks.backends --device cuda --dtype bfloat16
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import random_weights
from nano4m_audio.backends.compute import Compute

PAPER_CLIPS, FULL_CLIPS = 9_192, 150_000
#: What the reference data measure: windows of the tagger per 10 s clip, and keyframes.
WINDOWS, KEYFRAMES = 14, 10


@dataclass(frozen=True)
class Case:
    """One backend: ``loop`` and ``batched`` do the same work on ``items``, of which a clip has
    ``per_clip``."""

    items: Any
    per_clip: int
    loop: Callable[[Any], Any]
    batched: Callable[[Any], Any]


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), np.uint8)


def sounds(n: int, samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (n, samples)).astype(np.float32)


def each(function: Callable[[Any], torch.Tensor]) -> Callable[[Any], list[np.ndarray]]:
    """The obvious loop: one item after the other, its result on the CPU before the next."""

    def loop(items: Iterable[Any]) -> list[np.ndarray]:
        with torch.no_grad():
            return [function(item).float().cpu().numpy() for item in items]

    return loop


def panns_cnn14(folder: Path, compute: Compute, n: int) -> Case:
    from nano4m_audio.backends.panns import PannsCnn14

    net = random_weights.panns_cnn14(folder).to(compute.device)

    def one(window: np.ndarray) -> torch.Tensor:
        return net(torch.from_numpy(window[None]).to(compute.device))["clipwise_output"]

    tag = PannsCnn14.load(compute, folder).tag
    return Case(sounds(n or WINDOWS, 109_227), WINDOWS, each(one), tag)


def clip_vit_b32(folder: Path, compute: Compute, n: int) -> Case:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    from nano4m_audio.backends.clip import ClipVitB32

    net = random_weights.clip_vit_b32(folder).to(compute.device)
    transform = image_transform_v2(PreprocessCfg(), is_train=False)

    def one(rgb: np.ndarray) -> torch.Tensor:
        pixels = transform(Image.fromarray(rgb))[None].to(compute.device)
        return net.encode_image(pixels, normalize=True)

    embed = ClipVitB32.load(compute, folder).embed_images
    return Case(pictures(n or 16), KEYFRAMES, each(one), embed)


def silero(folder: Path, compute: Compute, n: int) -> Case:
    from silero_vad import get_speech_timestamps, load_silero_vad

    from nano4m_audio.backends.silero import SileroVad

    model = load_silero_vad()
    clips = list(sounds(n or 8, 160_000))
    segments = SileroVad.load(compute).segments
    return Case(clips, 1, lambda c: [get_speech_timestamps(w, model) for w in c], segments)


def depth_anything_v2_small(folder: Path, compute: Compute, n: int) -> Case:
    from PIL import Image
    from transformers import DPTImageProcessor, pipeline

    from nano4m_audio.backends.depth_anything import DepthAnythingV2Small

    net: Any = random_weights.depth_anything_v2_small(folder)
    processor = DPTImageProcessor(
        size={"height": 518, "width": 518},
        ensure_multiple_of=14,
        keep_aspect_ratio=True,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    pipe = pipeline("depth-estimation", net, image_processor=processor, device=compute.device)
    estimate = DepthAnythingV2Small.load(compute, folder).estimate
    return Case(
        pictures(n or 2),
        KEYFRAMES,
        each(lambda rgb: pipe(Image.fromarray(rgb))["predicted_depth"]),
        estimate,
    )


def encodec_24khz(folder: Path, compute: Compute, n: int) -> Case:
    from nano4m_audio.backends.encodec import Encodec24kHz

    net = random_weights.encodec_24khz(folder).to(compute.device)
    net.set_target_bandwidth(1.5)

    def one(waveform: np.ndarray) -> torch.Tensor:
        return net.encode(torch.from_numpy(waveform[None, None]).to(compute.device))[0][0]

    encode = Encodec24kHz.load(compute, folder).encode
    return Case(sounds(n or 8, 81_920), 1, each(one), encode)


def xcodec1(folder: Path, compute: Compute, n: int) -> Case:
    from nano4m_audio.backends.xcodec import Xcodec1

    net = random_weights.xcodec(folder).to(compute.device)

    def one(waveform: torch.Tensor) -> torch.Tensor:
        return net.encode(waveform, bandwidth=0.5).audio_codes

    return codec(Xcodec1.load(compute, folder), one, compute, n)


def wavtokenizer(folder: Path, compute: Compute, n: int) -> Case:
    from nano4m_audio.backends.wavtokenizer import WavTokenizer

    net = random_weights.wavtokenizer(folder).to(compute.device)
    own = WavTokenizer.load(compute, folder)
    return codec(own, lambda waveform: net.encode(waveform).audio_codes, compute, n)


def mimi(folder: Path, compute: Compute, n: int) -> Case:
    from nano4m_audio.backends.mimi import Mimi

    net = random_weights.mimi(folder).to(compute.device)

    def one(waveform: torch.Tensor) -> torch.Tensor:
        return net.encode(waveform, num_quantizers=8).audio_codes

    return codec(Mimi.load(compute, folder), one, compute, n)


def codec(own: Any, one: Callable[[torch.Tensor], torch.Tensor], compute: Compute, n: int) -> Case:
    """Windows into ids, by ``own`` and by a network of transformers on its device."""
    from nano4m_audio.media.windows import window_samples

    def alone(waveform: np.ndarray) -> torch.Tensor:
        return one(torch.from_numpy(waveform[None, None]).to(compute.device))

    return Case(sounds(n or 8, window_samples(own.sample_rate_hz)), 1, each(alone), own.encode)


def resnet50(folder: Path, compute: Compute, n: int) -> Case:
    from PIL import Image
    from torchvision.models import ResNet50_Weights

    from nano4m_audio.backends.resnet import ResNet50

    net = random_weights.resnet50(folder).to(compute.device)
    transform = ResNet50_Weights.IMAGENET1K_V2.transforms()

    def one(rgb: np.ndarray) -> torch.Tensor:
        return net(transform(Image.fromarray(rgb))[None].to(compute.device)).softmax(1)

    classify = ResNet50.load(compute, folder).classify
    return Case(pictures(n or 16), 1, each(one), classify)


def clap(folder: Path, compute: Compute, n: int) -> Case:
    from transformers import ClapFeatureExtractor

    from nano4m_audio.backends.clap import ClapAudio

    net: Any = random_weights.clap(folder).to(compute.device)
    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")

    def one(waveform: np.ndarray) -> torch.Tensor:
        inputs = extractor(waveform, sampling_rate=48_000, return_tensors="pt")
        return net.get_audio_features(**inputs.to(compute.device)).pooler_output

    embed = ClapAudio.load(compute, folder).embed
    return Case(sounds(n or 4, 163_840), 1, each(one), embed)


CASES = {
    make.__name__: make
    for make in (
        panns_cnn14,
        clip_vit_b32,
        silero,
        depth_anything_v2_small,
        encodec_24khz,
        xcodec1,
        wavtokenizer,
        mimi,
        resnet50,
        clap,
    )
}


def rate(function: Callable[[Any], Any], items: Any, clock: Callable[[], float]) -> float:
    """Items per second."""
    started = clock()
    function(items)
    return len(items) / (clock() - started)


def measure(case: Case, rounds: int, on_cpu: bool) -> tuple[float, float]:
    """Items per second of the loop (on at most 64 items) and of the backend: the best of ``rounds``
    turns each, after a short one that warms up."""
    clock = time.process_time if on_cpu else time.perf_counter
    few = case.items[:64]
    rate(case.loop, few[:1], clock)
    rate(case.batched, case.items[:1], clock)
    pairs = [
        (rate(case.loop, few, clock), rate(case.batched, case.items, clock)) for _ in range(rounds)
    ]
    return max(loop for loop, _ in pairs), max(batched for _, batched in pairs)


def main() -> None:
    """Print one row per backend and device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backends", nargs="*", metavar="backend", help=f"of {', '.join(CASES)}")
    parser.add_argument("--device", default="cpu", help="torch device: cpu, cuda, mps")
    parser.add_argument("--dtype", default="float32", help="of the backends; loops are float32")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of both sides")
    parser.add_argument("--items", type=int, default=0, help="items per turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--quick", action="store_true", help="one turn of each side")
    args = parser.parse_args()
    for name in args.backends:
        if name not in CASES:
            parser.error(f"unknown backend {name!r} (known: {', '.join(CASES)})")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    compute = Compute(args.device, args.dtype, args.threads)
    n_items = args.items or (0 if args.device == "cpu" else 1024)
    print(f"{args.device}, {args.dtype}, {args.threads} CPU threads; hours on one such device")
    print(f"{'backend':<24}{'loop':>10}{'batched':>10}  clips/s{'ratio':>8}", end="")
    print(f"{f'{PAPER_CLIPS:,} clips':>16}{f'{FULL_CLIPS:,} clips':>16}")
    for name in args.backends or CASES:
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[name](Path(folder), compute, n_items)
        torch.set_num_threads(args.threads)
        loop, batched = measure(case, 1 if args.quick else args.rounds, args.device == "cpu")
        clips_s = batched / case.per_clip
        print(f"{name:<24}{loop / case.per_clip:>10.2f}{clips_s:>10.2f}", end="")
        print(f"{batched / loop:>17.2f}", end="")
        hours = [f"{clips / clips_s / 3600:,.2f} h" for clips in (PAPER_CLIPS, FULL_CLIPS)]
        print(f"{hours[0]:>16}{hours[1]:>16}", flush=True)


if __name__ == "__main__":
    main()
