"""YAMNet (Google, github tensorflow/models, research/audioset/yamnet) behind the AudioTagger
Protocol, run as a TensorFlow Lite file without TensorFlow."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends import audioset
from nano4m_audio.backends.compute import Compute
from nano4m_audio.errors import UserError

MODEL, CLASS_MAP = "yamnet.tflite", "yamnet_class_map.csv"
N_LABELS = 521
PATCH_SAMPLES, HOP_SAMPLES = 15_600, 7_680
"""The network takes 0.975 s at a time; upstream moves that patch by 0.48 s."""


class Yamnet:
    """AudioTagger of 521 AudioSet labels, each with its highest score in any patch.

    The maximum, not the mean: a call of half a second is what a clip is wanted for, however long
    the silence around it. Runs on the CPU, one patch at a time, as the file has a fixed shape.
    """

    sample_rate_hz = 16_000

    def __init__(self, interpreter: Any, labels: tuple[str, ...]) -> None:
        self._interpreter, self.labels = interpreter, labels
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> Yamnet:
        """Read the network and the names of its outputs from ``folder``."""
        from ai_edge_litert.interpreter import Interpreter

        path = str(folder / MODEL)
        try:
            interpreter = Interpreter(path, num_threads=compute.threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{path} is not a TensorFlow Lite file ({error})") from None
        return cls(interpreter, read_labels(folder / CLASS_MAP))

    def tag(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] at 16 kHz in -1..1 -> float32 [B, 521] in 0..1."""
        return np.stack([self._best_of(patches(waveform)) for waveform in waveforms])

    def _best_of(self, pieces: list[np.ndarray]) -> np.ndarray:
        scores = np.zeros(N_LABELS, np.float32)
        for piece in pieces:
            self._interpreter.set_tensor(self._input, piece)
            self._interpreter.invoke()
            np.maximum(scores, self._interpreter.get_tensor(self._output)[0], out=scores)
        return scores


def patches(waveform: np.ndarray) -> list[np.ndarray]:
    """All patches of 0.975 s that fit, every 0.48 s; at least one, filled up with silence.

    The paper's window of 3.4133 s has six, which cover all of it but the last 38 ms.
    """
    short = max(0, PATCH_SAMPLES - len(waveform))
    waveform = np.ascontiguousarray(np.pad(waveform, (0, short)), np.float32)
    starts = range(0, len(waveform) - PATCH_SAMPLES + 1, HOP_SAMPLES)
    return [waveform[start : start + PATCH_SAMPLES] for start in starts]


def read_labels(class_map: Path) -> tuple[str, ...]:
    """The names of the outputs, from the map (columns index, mid, display_name).

    Raises UserError unless it numbers 521 outputs in order, with AudioSet's ids and names.
    """
    with open(class_map, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    if [row["index"] for row in rows] != [str(i) for i in range(N_LABELS)]:
        raise UserError(f"{class_map}: not the {N_LABELS} outputs of YAMNet in their order")
    for row in rows:
        if audioset.labels().get(row["mid"]) != row["display_name"]:
            raise UserError(f"{class_map}: {row['mid']} is not {row['display_name']!r} in AudioSet")
    return tuple(row["display_name"] for row in rows)
