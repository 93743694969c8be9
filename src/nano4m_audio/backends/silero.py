"""Silero VAD behind the SpeechDetector Protocol, with the weights that its package ships.

Uses the package's sequence model (one ONNX call for up to 16 s of audio instead of one call per
32 ms), whose probabilities equal those of the streaming model, and the package's own rule that
turns probabilities into segments.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from nano4m_audio.backends.compute import Compute


class SileroVad:
    """Speech segments of 16 kHz waveforms, at the defaults of the silero-vad package."""

    sample_rate_hz = 16_000

    def __init__(self, model: Any, threads: int) -> None:
        self._model, self._threads = model, threads

    @classmethod
    def load(cls, compute: Compute = Compute()) -> SileroVad:
        """Load the model. It runs on the CPU whatever the device, one thread per waveform."""
        from silero_vad import load_silero_vad

        return cls(load_silero_vad(sequence=True), compute.threads)

    def segments(self, waveforms: list[np.ndarray]) -> list[list[tuple[float, float]]]:
        """float32 [samples] each -> per waveform the (start_s, end_s) of every speech segment."""
        # The session has no state of its own and leaves the interpreter lock while it computes.
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._segments, waveforms))

    def _segments(self, waveform: np.ndarray) -> list[tuple[float, float]]:
        from silero_vad.sequence_vad import get_speech_timestamps_sequence

        rate = self.sample_rate_hz
        spans = get_speech_timestamps_sequence(waveform, self._model)
        return [(span["start"] / rate, span["end"] / rate) for span in spans]
