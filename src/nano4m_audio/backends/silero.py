"""Silero VAD behind the SpeechDetector Protocol, with the weights that its package ships.

Uses the package's sequence model (one ONNX call for up to 16 s of audio instead of one call per
32 ms), whose probabilities equal those of the streaming model, and the package's own rule that
turns probabilities into segments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nano4m_audio.backends.compute import Compute


class SileroVad:
    """Speech segments of 16 kHz waveforms, at the defaults of the silero-vad package."""

    sample_rate_hz = 16_000
    backend_id = "silero"

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def load(cls, compute: Compute = Compute()) -> SileroVad:
        """Load the model; it always runs on one CPU thread (clips run in parallel shards)."""
        from silero_vad import load_silero_vad

        return cls(load_silero_vad(sequence=True))

    def segments(self, waveforms: list[np.ndarray]) -> list[list[tuple[float, float]]]:
        """float32 [samples] each -> per waveform the (start_s, end_s) of every speech segment."""
        from silero_vad.sequence_vad import get_speech_timestamps_sequence

        rate = self.sample_rate_hz
        found = [get_speech_timestamps_sequence(w, self._model) for w in waveforms]
        return [[(s["start"] / rate, s["end"] / rate) for s in spans] for spans in found]
