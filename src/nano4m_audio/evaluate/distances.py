"""How far made sounds are, as a set, from real ones: kernel and Frechet audio distance.

Both depend on the number of sounds, the embedder and the reference. So the same number of real
sounds, those of the clips that were asked, is compared with the same reference, and so is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nano4m_audio.evaluate.common import ProbeInputs, verdict
from nano4m_audio.evaluate.frechet import frechet_distance
from nano4m_audio.evaluate.judges import REAL, at_rate
from nano4m_audio.evaluate.kernel import from_kernel, kernel_matrix, swapped_p
from nano4m_audio.intervals import count_groups, jackknife
from nano4m_audio.modalities import WINDOW_S

#: With fewer sounds the Frechet distance of equal distributions is larger than most true ones.
FEW = 100
KAD, FAD = "KAD", "FAD"
NOISE = "noise"
Statistic = Callable[[np.ndarray, np.ndarray], float]
_KEY = "evaluate.audio_embedder"


def reference_clips(n: int, of: int, seed: int) -> np.ndarray:
    """``n`` of so many training clips, or all of fewer, in order: int64 [m].

    Drawn without regard to class: sets with equally many clips of each class are nearer to each
    other than their distributions are, as a clip is not compared with itself.
    """
    drawn = np.random.default_rng([seed, 29]).permutation(of)[:n]
    return np.sort(drawn).astype(np.int64)


def embed(inputs: ProbeInputs, sounds: np.ndarray, rate_hz: int) -> np.ndarray:
    """Embeddings [n, D] of sounds [n, samples] at ``rate_hz``."""
    embedder = inputs.models.load(_KEY)
    return embedder.embed(at_rate(sounds, rate_hz, embedder.sample_rate_hz))


def compare(
    inputs: ProbeInputs,
    sets: Mapping[str, np.ndarray],
    reference: np.ndarray,
    clips: np.ndarray,
    drawn: np.ndarray,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Metrics ``kad_<source>_to_audio`` and ``fad_above_real_<source>_to_audio``, and facts about
    what they were computed on; absolute Frechet distances only from ``FEW`` clips on.

    ``sets`` are embeddings [n, D] of sounds of the evaluated ``clips`` by source, ``REAL`` and
    ``NOISE`` among them, ``reference`` [m, D] those of the training clips ``drawn``. Sounds that
    cannot be compared, such as a reference all alike, leave the facts alone.
    """
    model, n, m = str(inputs.models.identity(_KEY)), len(clips), len(drawn)
    facts = {
        "embedder": model, "dimensions": reference.shape[1], "n": n, "n_reference": m,
        "seconds": n * WINDOW_S, "seconds_reference": m * WINDOW_S,
        "absolute_fad": "given" if n >= FEW else f"too few: {n} of {FEW} clips",
    }  # fmt: skip
    groups = inputs.groups[clips], inputs.train_groups[drawn]
    name = model.partition(":")[0]
    label = f"{n} sounds, reference of {m} training clips, embeddings of {name}"
    compared = _Compared(sets, reference, *groups, label, inputs)
    try:
        rows = compared.kernel_rows() + compared.frechet_rows()
    except ValueError as error:
        return [], {**facts, "left_out": str(error)}
    return rows, facts


def noise_like(sounds: np.ndarray, seed: int) -> np.ndarray:
    """White noise as loud as each of these sounds, float32 [n, samples]."""
    noise = np.random.default_rng([seed, 23]).standard_normal(sounds.shape)
    loudness = np.sqrt(np.square(sounds, dtype=np.float64).mean(axis=1, keepdims=True))
    return (noise * loudness).clip(-1, 1).astype(np.float32)


@dataclass(frozen=True)
class _Compared:
    """Embeddings [n, D] by source, ``REAL`` and ``NOISE`` among them, and of the reference [m, D],
    with the groups of both. A ``Statistic`` is a function of places among the n and among the m."""

    sets: Mapping[str, np.ndarray]
    reference: np.ndarray
    groups: np.ndarray
    reference_groups: np.ndarray
    label: str
    inputs: ProbeInputs

    @property
    def everything(self) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(self.groups)), np.arange(len(self.reference))

    def kernel_rows(self) -> list[dict[str, Any]]:
        """Kernel distances: chance is that of noise, the baseline that of real sounds."""
        kernel = kernel_matrix(self.reference, *self.sets.values())
        places, reference = self.everything
        own = {s: len(reference) + i * len(places) + places for i, s in enumerate(self.sets)}

        def distance(source: str, chosen: np.ndarray, reference: np.ndarray) -> float:
            return from_kernel(kernel, own[source][chosen], reference)

        def gain(source: str, chosen: np.ndarray, reference: np.ndarray) -> float:
            return distance(REAL, chosen, reference) - distance(source, chosen, reference)

        note = (
            f"100 x unbiased MMD, Gaussian kernel of the reference's median distance; {self.label}"
        )
        note += "; 0 is no difference, chance is white noise at the clips' levels"
        noise, rows = distance(NOISE, places, reference), []
        for source in _made(self.sets):
            made = self._row(f"kad_{source}_to_audio", KAD, partial(distance, source), note, noise)
            p = swapped_p(kernel, reference, own[source], own[REAL], self.groups, self.inputs.seed)
            made["baseline"] = self._beside_real(made, partial(gain, source), p)
            rows.append(made)
        words = f"the clips' own tokens, decoded; {note}"
        return [*rows, self._row("kad_real", KAD, partial(distance, REAL), words, noise)]

    def frechet_rows(self) -> list[dict[str, Any]]:
        """Frechet distances above that of real sounds, where the bias of small sets cancels; from
        ``FEW`` sounds on also as they are."""

        def distance(source: str, places: np.ndarray, reference: np.ndarray) -> float:
            return frechet_distance(self.sets[source][places], self.reference[reference])

        def above_real(source: str, *chosen: np.ndarray) -> float:
            return distance(source, *chosen) - distance(REAL, *chosen)

        enough = len(self.groups) >= FEW
        few = "" if enough else f"; too few sounds (below {FEW}) for an absolute value"
        note = f"Frechet distance minus that of real sounds{few}; {self.label}"
        noise = above_real(NOISE, *self.everything)
        rows = [
            self._row(f"fad_above_real_{s}_to_audio", FAD, partial(above_real, s), note, noise)
            for s in _made(self.sets)
        ]
        for source in (*_made(self.sets), REAL) if enough else ():
            name = "fad_real" if source == REAL else f"fad_{source}_to_audio"
            note = f"biased upwards, also where nothing differs: see fad_real; {self.label}"
            noise = distance(NOISE, *self.everything)
            rows.append(self._row(name, FAD, partial(distance, source), note, noise))
        return rows

    def _row(
        self, name: str, unit: str, statistic: Statistic, note: str, noise: float
    ) -> dict[str, Any]:
        low, high = self._interval(statistic)
        return {
            "name": name, "value": statistic(*self.everything), "n": len(self.groups),
            "groups": count_groups(np.ones(len(self.groups)), self.groups),
            "low": low, "high": high, "chance": noise, "unit": unit, "note": note,
        }  # fmt: skip

    def _beside_real(
        self, row: Mapping[str, Any], gain: Statistic, p: float | None
    ) -> dict[str, Any]:
        """How a row compares with real sounds: ``gain`` is by how much it is nearer."""
        by = gain(*self.everything)
        low, high = self._interval(gain)
        compared = {
            "name": "kad_real", "than": "real sounds", "value": row["value"] + by, "gain": by,
            "low": low, "high": high, "p": p,
            "beyond_chance": row["high"] is not None and row["high"] < row["chance"],
        }  # fmt: skip
        return {**compared, "verdict": verdict(compared, 1 - self.inputs.confidence)}

    def _interval(self, statistic: Statistic) -> tuple[float | None, float | None]:
        sides = [self.groups, self.reference_groups]
        return jackknife(statistic, sides, self.inputs.confidence) or (None, None)


def _made(sets: Mapping[str, Any]) -> list[str]:
    return [source for source in sets if source not in (REAL, NOISE)]
