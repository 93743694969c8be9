"""What the check of a GPU measures of models: clips a second of each backend, tokens a second that
are generated.

Backends whose weights are with the project or in a package run as they are, those that would be
fetched with seeded random weights of the same architecture: speed does not depend on values.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.backends import CASES, KEYFRAMES, WINDOWS, pictures, sounds
from benchmarks.gpu_parts import NEEDS_GPU, Notes, Scale, data_of, ready_to_learn, settings_of
from benchmarks.image_backends import SETTINGS, randomised
from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.media.windows import window_samples
from nano4m_audio.nano4m.data import whole
from nano4m_audio.nano4m.distributed import join
from nano4m_audio.nano4m.generate import generate
from nano4m_audio.nano4m.sampling import Sampling

#: Backends of ``CASES`` that a toy check leaves out: seconds each on a CPU.
_LARGE = set(CASES) - {"silero", "resnet50"}


@dataclass(frozen=True)
class Timed:
    """``work`` on the first items of ``items``, of which a clip has ``per_clip``."""

    items: Any
    per_clip: int
    work: Callable[[Any], Any]
    on_cpu: bool = False


def mini() -> Iterator[tuple[str, Callable[[], Timed]]]:
    """The small nets that come with the project; they run on the CPU always."""
    images = pictures(KEYFRAMES)

    def case(kind: str, method: str, items: Callable[[Any], Any], per_clip: int) -> Timed:
        net = registry.load(kind, "mini")
        return Timed(items(net), per_clip, getattr(net, method), on_cpu=True)

    def windows(n: int) -> Callable[[Any], np.ndarray]:
        return lambda net: sounds(n, window_samples(net.sample_rate_hz))

    def scaled(channels: int) -> Callable[[Any], np.ndarray]:
        planes = (images.transpose(0, 3, 1, 2)[:, :channels] / 127.5 - 1).astype(np.float32)
        return lambda _: planes

    kinds: list[tuple[str, str, Callable[[Any], Any], int]] = [
        ("audio_tagger", "tag", windows(WINDOWS), WINDOWS),
        ("image_text_scorer", "embed_images", lambda _: images, KEYFRAMES),
        ("depth_estimator", "estimate", lambda _: images, KEYFRAMES),
        ("normal_estimator", "estimate", lambda _: images, KEYFRAMES),
        ("rgb_tokenizer", "tokenize", scaled(3), KEYFRAMES),
        ("depth_tokenizer", "tokenize", scaled(1), KEYFRAMES),
        ("normal_tokenizer", "tokenize", scaled(3), KEYFRAMES),
        ("audio_tokenizer", "encode", windows(2), 1),
    ]
    for kind, method, items, per_clip in kinds:
        name = f"mini {kind.replace('_', ' ')}"
        yield name, partial(case, kind, method, items, per_clip)


def large(compute: Compute, few: bool) -> Iterator[tuple[str, Callable[[], Timed]]]:
    """The pretrained ones on the device, and DSINE and the tokenizer of 4M, which CASES has not."""

    def listed(name: str) -> Timed:
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[name](Path(folder), compute, 2 if few else 0)
        return Timed(case.items, case.per_clip, case.batched, on_cpu=name == "silero")

    def dsine() -> Timed:
        from nano4m_audio.backends.dsine.estimator import DsineNormals
        from nano4m_audio.backends.dsine.model import Dsine

        estimate = DsineNormals(randomised(Dsine()), compute).estimate
        return Timed(pictures(KEYFRAMES), KEYFRAMES, estimate)

    def fourm() -> Timed:
        from nano4m_audio.backends.divae.model import Divae
        from nano4m_audio.backends.divae.tokenizer import FourmRgbTokenizer
        from nano4m_audio.tokenize.keyframes import rgb_image

        tokenize = FourmRgbTokenizer(randomised(Divae(SETTINGS)), compute).tokenize
        return Timed(rgb_image(pictures(KEYFRAMES)), KEYFRAMES, tokenize)

    for name in CASES:
        if not few or name not in _LARGE:
            yield name, partial(listed, name)
    if not few:
        yield "dsine", dsine
        yield "fourm_16k, RGB into tokens", fourm


def clips_per_second(case: Timed, least_s: float) -> float:
    """After a turn that warms up: items are repeated until a turn takes ``least_s``."""
    case.work(case.items)
    times = 1
    while True:
        items = case.items
        if times > 1:
            many = isinstance(items, np.ndarray)
            items = np.concatenate([items] * times) if many else items * times
        began = time.perf_counter()
        case.work(items)  # results are in host memory when it returns
        spent = time.perf_counter() - began
        if spent >= least_s or times >= 256:
            return len(items) / case.per_clip / spent
        times = min(256, times * max(2, min(8, int(least_s / spent) + 1)))


def backends(scale: Scale, notes: Notes) -> None:
    """Clips a second of every backend; one that fails is a row, and the others still run."""
    warnings.simplefilter("ignore")
    few = scale.size is None
    for compute in computes(scale):
        for name, make in large(compute, few):
            dtypes = next((s[name].dtypes for s in registry.REGISTRY.values() if name in s), ())
            if compute.dtype == "float32" or compute.dtype in dtypes:
                measure(name, make, compute, scale, notes)
    for name, make in mini():
        measure(name, make, Compute(), scale, notes)
    if few:
        left_out = sorted(_LARGE) + ["dsine", "fourm_16k"]
        notes.row(", ".join(left_out), f"{NEEDS_GPU} (too large for a toy check)")


def computes(scale: Scale) -> list[Compute]:
    """float32, and bfloat16 for what bears it."""
    dtypes = ("float32", "bfloat16") if scale.on_gpu else ("float32",)
    return [Compute(scale.device, dtype) for dtype in dtypes]


def measure(
    name: str, make: Callable[[], Timed], compute: Compute, scale: Scale, notes: Notes
) -> None:
    try:
        case = make()
        rate = clips_per_second(case, scale.backend_s)
    except Exception as error:  # whatever it is, it is told, and the others are measured
        reason = str(error).splitlines()[0] if str(error) else ""
        notes.check(False, name, f"{type(error).__name__}: {reason}"[:300])
        return
    place = "cpu, one thread" if case.on_cpu else f"{compute.device}, {compute.dtype}"
    result = f"{rate:,.3g} clips/s ({place})"
    notes.row(name, result, **{f"{name}, {place}": rate})


def generation(scale: Scale, notes: Notes) -> None:
    """Tokens a second of a model of the paper's size: pictures and sound out of captions."""
    ranks, data = join(scale.device), data_of(scale)
    settings = settings_of(scale, 1)
    net = ready_to_learn(settings, ranks).model.eval()
    names = [m.name for m in settings.model.modalities]
    caption, n = names.index("caption"), min(64, len(data))
    clips = np.arange(n)
    tokens = data.rows(clips, np.zeros(n, np.int64))[caption]
    given = whole(caption, tokens, data.lengths[clips, caption])
    precision = torch.bfloat16 if scale.on_gpu else torch.float32
    for name, scheme in (("rgb", "maskgit"), ("rgb", "roar"), ("audio", "maskgit")):
        sampling = Sampling.model_validate({"scheme": scheme, "steps": 8})
        index = names.index(name)
        for dtype in dict.fromkeys([torch.float32, precision]):
            with torch.autocast(ranks.device.type, dtype, enabled=dtype != torch.float32):
                generate(net, given, index, sampling, clips)
                began = time.perf_counter()
                made = generate(net, given, index, sampling, clips)
                spent = time.perf_counter() - began
            kind = str(dtype).removeprefix("torch.")
            notes.check(
                bool((made >= 0).all()),
                f"{name} out of captions, {scheme}, 8 passes, {n} samples, {kind}",
                f"{made.size / spent:,.0f} tokens/s" if scale.on_gpu else NEEDS_GPU,
                **{f"{name} {scheme} {kind}": made.size / spent},
            )
