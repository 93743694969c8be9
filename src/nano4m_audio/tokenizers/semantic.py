"""Find clusters of sounds in the training clips of a run, never twice: semantic sound tokens.

Like an image tokenizer they are identified by a key: the content of the clips, the settings, the
features and the stage version; ``store/tokenizers/<key>/`` holds what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.registry import TRAINED_WEIGHTS
from nano4m_audio.config.tokenizers import Semantic
from nano4m_audio.errors import UserError
from nano4m_audio.files import copy_file, write_json
from nano4m_audio.media import windows
from nano4m_audio.media.stored import read_audio
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.seals import kept, publish_json
from nano4m_audio.store import locked, opened
from nano4m_audio.tables import content_key
from nano4m_audio.tokenize.keyframes import Pick, by_shard, list_clips
from nano4m_audio.tokenizers.train import RUN
from nano4m_audio.versions import stage_version

if TYPE_CHECKING:
    import torch

#: Passes over all moments, unless no id changes before.
MOST_ROUNDS = 50


def fit_semantic(
    results: Results, name: str, settings: Semantic, compute: Compute = Compute()
) -> None:
    """Cluster, or find the finished clusters, and publish them in ``results.tokenizer(name)``.

    Only windows of the train split are heard. Raises UserError where they have fewer moments than
    there shall be clusters.
    """
    clips = list_clips(results, "audio", "train")
    most = min(settings.clips, len(clips))
    picks = [clips[i * len(clips) // most] for i in range(most)]
    values = settings.model_dump(mode="json")
    content = [[pick.key, pick.selected["window_start_s"]] for pick in picks]
    identity = registry.identity("sound_features", settings.features)
    key = content_key("semantic", stage_version("semantic"), values, identity, content)
    folder = results.store / "tokenizers" / key
    facts = {"key": key, "settings": values, "clips": len(picks)}

    def make() -> None:
        _fit(name, settings, identity, results.store, picks, compute, folder, facts)

    with locked(folder):
        kept([folder / TRAINED_WEIGHTS, folder / RUN], make, f"tokenizer {name}")
        out = results.tokenizer(name)
        copy_file(folder / TRAINED_WEIGHTS, out / TRAINED_WEIGHTS)
        publish_json(folder / RUN, out / RUN, name=name)


def _fit(
    name: str,
    settings: Semantic,
    identity: str,
    store: Path,
    picks: Sequence[Pick],
    compute: Compute,
    folder: Path,
    facts: dict[str, Any],
) -> None:
    """Write weights and run.json into ``folder``."""
    import torch

    from nano4m_audio.backends.semantic import Clusters, nearest

    count = len(picks) * settings.n_tokens
    if count < settings.vocab_size:
        raise UserError(
            f"semantic.{name}: the training clips have {count} moments, fewer than vocab_size = "
            f"{settings.vocab_size}: lower it, or use more clips"
        )
    moments, spectra = _hear(name, settings, store, picks, compute)
    mean, scale = moments.mean(0), moments.std(0, correction=0)
    scale = torch.where(scale > 1e-6 * scale.max().clamp(min=1e-12), scale, torch.ones_like(scale))
    x = (moments - mean) / scale
    centres, rounds = cluster(x, settings.vocab_size, settings.seed)
    ids = nearest(x, centres)[0]
    used = torch.bincount(ids, minlength=len(centres))
    sums = torch.zeros(len(centres), *spectra.shape[1:]).index_add_(0, ids, spectra.float())
    means = sums / used.clamp(min=1)[:, None, None]
    notes = {"features": settings.features, "identity": identity, "n_tokens": settings.n_tokens}
    Clusters(centres, mean, scale, means, notes).save(folder / TRAINED_WEIGHTS)
    measured = {
        "moments": len(moments),
        "vocab_size": settings.vocab_size,
        "used": int((used > 0).sum()),
        "rounds": rounds,
        "unexplained": float((x - centres[ids]).square().sum() / x.square().sum().clamp(min=1e-9)),
        "torch": torch.__version__,
    }
    write_json(folder / RUN, {**facts, **measured})


def _hear(
    name: str, settings: Semantic, store: Path, picks: Sequence[Pick], compute: Compute
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features float32 [N, D] and log-mel spectra float16 [N, 64, frames] of all moments, clip by
    clip, always in one order."""
    import torch

    from nano4m_audio.backends.semantic import SAMPLE_RATE_HZ, resampled, spectra_of

    features = registry.load("sound_features", settings.features, compute)
    torch.set_num_threads(compute.threads)
    moments, spectra = [], []
    groups = list(by_shard(picks))
    for some in track(groups, len(groups), f"hear {name} [clips by 8]"):
        stored = opened(store, "clips", some[0].shard)
        found = stored.read([pick.key for pick in some], ["audio_flac"])["audio_flac"]
        pieces = [
            windows.cut(read_audio(flac), pick.selected["window_start_s"])
            for pick, flac in zip(some, found.to_pylist(), strict=True)
        ]
        rates = dict.fromkeys([features.sample_rate_hz, SAMPLE_RATE_HZ])
        sounds = {
            hz: windows.fit_length(
                windows.resample(np.stack(pieces), hz), windows.window_samples(hz)
            )
            for hz in rates
        }
        heard = torch.from_numpy(features.moments(sounds[features.sample_rate_hz]))
        moments.append(resampled(heard, settings.n_tokens).flatten(0, 1))
        seen = spectra_of(sounds[SAMPLE_RATE_HZ], settings.n_tokens, compute.threads)
        spectra.append(torch.from_numpy(seen).flatten(0, 1).half())
    return torch.cat(moments), torch.cat(spectra)


def cluster(x: torch.Tensor, count: int, seed: int) -> tuple[torch.Tensor, int]:
    """``count`` centres of ``x`` [N, D] by k-means, float32 [count, D], and the rounds it took.

    The first ones are drawn by k-means++ (each with probability ~ its squared distance to those
    before); a cluster that runs empty starts again at the moment that is farthest from its centre.
    Where fewer than ``count`` points differ, centres are there twice, and the later ones unused.
    """
    import torch

    from nano4m_audio.backends.semantic import nearest

    rng = np.random.default_rng(seed)
    centres = x[int(rng.integers(len(x)))].unsqueeze(0)
    far = nearest(x, centres)[1].double()
    for _ in range(count - 1):
        total = far.cumsum(0)
        place = int(torch.searchsorted(total, rng.random() * float(total[-1]), right=True))
        place = min(place, len(x) - 1) if total[-1] > 0 else int(rng.integers(len(x)))
        new = x[place].unsqueeze(0)
        centres = torch.cat([centres, new])
        far = torch.minimum(far, (x - new).square().sum(1).double())
    ids = torch.full((len(x),), -1)
    for done in range(MOST_ROUNDS):
        again, far = nearest(x, centres)
        if torch.equal(again, ids):
            return centres, done
        ids = again
        used = torch.bincount(ids, minlength=count)
        sums = x.new_zeros(count, x.shape[1]).index_add_(0, ids, x)
        centres = torch.where(used[:, None] > 0, sums / used.clamp(min=1)[:, None], centres)
        empty = torch.nonzero(used == 0).flatten()
        worst = far.topk(min(len(empty), len(x))).indices
        worst = worst[far[worst] > 1e-6]  # all points are at their centres: nothing to gain
        centres[empty[: len(worst)]] = x[worst]
    return centres, MOST_ROUNDS
