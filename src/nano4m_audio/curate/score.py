"""Scores: every number a model says about a clip, and no decision.

Each function reads the table of decoded clips of one shard, and publishes one row per decodable
clip. Clips go through the models in chunks; the backends themselves run on batches of fixed shape,
so a row does not depend on which other clips were in its chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.curate import AudioScore, SpeechScore, VisualScore
from nano4m_audio.curate.fingerprints import fingerprint
from nano4m_audio.media import windows
from nano4m_audio.media.crop import square_crop
from nano4m_audio.media.stored import read_audio, read_frame
from nano4m_audio.progress import chunks, track
from nano4m_audio.store import Item, RowStore, publish
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.taxonomy import get_class
from nano4m_audio.versions import STAGE_VERSIONS

_CHUNK = 16
#: Turns the decoded rows of some clips into one dict of score columns per clip.
ScoreChunk = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def score_audio(
    clips: Path,
    store: Path,
    shard: str,
    out: Path,
    settings: AudioScore,
    classes: Sequence[str],
    compute: Compute = Compute(),
) -> None:
    """Publish the class scores [W, C] and levels [W] of a sliding 3.4133 s window."""

    def prepare() -> ScoreChunk:
        tagger = _load("audio_tagger", settings.backend, compute)

        def score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            cuts, out_rows = [], []
            for row in rows:
                audio = read_audio(row["audio_flac"])
                starts = windows.window_starts(row["duration_s"], settings.hop_s)
                pieces = [windows.cut(audio, start) for start in starts]
                if tagger is not None:
                    cuts.append(windows.resample(np.stack(pieces), tagger.sample_rate_hz))
                levels = [windows.level_dbfs(piece) for piece in pieces]
                out_rows.append({"window_start_s": starts.tolist(), "window_level_dbfs": levels})
            if tagger is None:
                return [{**r, "labels": [], "scores": []} for r in out_rows]
            columns = [tagger.labels.index(name) for name in classes]
            scores = tagger.tag(np.concatenate(cuts))[:, columns]
            splits = np.cumsum([len(c) for c in cuts])[:-1]
            return [
                {**r, "labels": list(classes), "scores": s.tolist()}
                for r, s in zip(out_rows, np.split(scores, splits), strict=True)
            ]

        return score

    identity = _identity("audio_tagger", settings.backend, compute)
    key = [identity, settings.hop_s, list(classes)]
    _publish_scores("scores/audio", clips, store, shard, out, key, ["audio_flac"], prepare)


def score_visual(
    clips: Path,
    store: Path,
    shard: str,
    out: Path,
    settings: VisualScore,
    classes: Sequence[str],
    compute: Compute = Compute(),
) -> None:
    """Publish the cosine [K, C] of K frames with the prompt of every class."""
    prompts = [get_class(name).prompt for name in classes]

    def prepare() -> ScoreChunk:
        scorer = _load("image_text_scorer", settings.backend, compute)
        texts = scorer.embed_texts(prompts) if scorer else None

        def score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            picks = [windows.spread(len(row["frame_times_s"]), settings.frames) for row in rows]
            times = [
                [row["frame_times_s"][i] for i in p] for row, p in zip(rows, picks, strict=True)
            ]
            if scorer is None or texts is None:
                return [{"frame_times_s": t, "labels": [], "cosines": []} for t in times]
            crops = [
                square_crop(read_frame(row["frames"][i]))
                for row, p in zip(rows, picks, strict=True)
                for i in p
            ]
            cosines = scorer.embed_images(np.stack(crops)) @ texts.T
            parts = np.split(cosines, np.cumsum([len(p) for p in picks])[:-1])
            return [
                {"frame_times_s": t, "labels": list(classes), "cosines": c.tolist()}
                for t, c in zip(times, parts, strict=True)
            ]

        return score

    identity = _identity("image_text_scorer", settings.backend, compute)
    key = [identity, settings.frames, prompts]
    heavy = ["frames"] if settings.backend else []
    _publish_scores("scores/visual", clips, store, shard, out, key, heavy, prepare)


def score_speech(
    clips: Path,
    store: Path,
    shard: str,
    out: Path,
    settings: SpeechScore,
    compute: Compute = Compute(),
) -> None:
    """Publish the speech segments and the fraction with speech of every clip."""

    def prepare() -> ScoreChunk:
        detector = _load("speech_detector", settings.backend, compute)

        def score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            if detector is None:
                return [
                    {"segment_start_s": [], "segment_end_s": [], "speech_fraction": None}
                    for _ in rows
                ]
            waveforms = [
                windows.resample(read_audio(row["audio_flac"]), detector.sample_rate_hz)
                for row in rows
            ]
            return [
                _speech_row(segments, len(waveform) / detector.sample_rate_hz)
                for segments, waveform in zip(detector.segments(waveforms), waveforms, strict=True)
            ]

        return score

    identity = _identity("speech_detector", settings.backend, compute)
    heavy = ["audio_flac"] if settings.backend else []
    _publish_scores("scores/speech", clips, store, shard, out, [identity], heavy, prepare)


def _load(kind: str, name: str | None, compute: Compute) -> Any:
    return registry.load(kind, name, compute) if name else None


def _identity(kind: str, name: str | None, compute: Compute) -> str | None:
    return registry.identity(kind, name, compute.dtype) if name else None


def _speech_row(segments: list[tuple[float, float]], duration_s: float) -> dict[str, Any]:
    speech_s = sum(end - start for start, end in segments)
    return {
        "segment_start_s": [start for start, _ in segments],
        "segment_end_s": [end for _, end in segments],
        "speech_fraction": min(1.0, speech_s / duration_s),
    }


def score_fingerprints(clips: Path, store: Path, shard: str, out: Path) -> None:
    """Publish the fingerprints by which copies are found; they need no pretrained weights."""

    def prepare() -> ScoreChunk:
        def score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                fingerprint(
                    row["frames"], np.array(row["frame_times_s"]), read_audio(row["audio_flac"])
                )
                for row in rows
            ]

        return score

    heavy = ["frames", "audio_flac"]
    _publish_scores("scores/fingerprints", clips, store, shard, out, [], heavy, prepare)


def _publish_scores(
    name: str,
    clips: Path,
    store: Path,
    shard: str,
    out: Path,
    key_parts: list[Any],
    heavy: list[str],
    prepare: Callable[[], ScoreChunk],
) -> None:
    """Publish one row per decodable clip of the shard; ``prepare`` loads the model when needed."""
    decoded = RowStore(store, "clips", shard)
    rows = [r for r in read_rows(clips, "clips", ["clip_id", "key", "status"])]
    items = [
        Item(
            row["clip_id"],
            content_key(name, STAGE_VERSIONS[name], row["key"], *key_parts),
            {"clip_key": row["key"]},
        )
        for row in rows
        if row["status"] == "ok"
    ]

    def compute(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        score = prepare()
        columns = ["duration_s", "frame_times_s", *heavy]

        def scored() -> Iterator[dict[str, Any]]:
            for chunk in chunks(todo, _CHUNK):
                table = decoded.read([i.inputs["clip_key"] for i in chunk], columns)
                for item, values in zip(chunk, score(table.to_pylist()), strict=True):
                    yield {"key": item.key, **values}

        yield from track(scored(), len(todo), f"{name} {shard}")

    publish(RowStore(store, name, shard), items, compute, out)
