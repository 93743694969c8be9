"""Scores: every number a model says about a clip, and no decision.

Each function reads the table of decoded clips of one shard, and publishes one row per decodable
clip. Clips go through the models in chunks; the backends themselves run on batches of fixed shape,
so a row does not depend on which other clips were in its chunk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.curate import AudioStage, SpeechScore, VisualStage
from nano4m_audio.curate.fingerprints import fingerprint
from nano4m_audio.media import windows
from nano4m_audio.media.crop import square_crop
from nano4m_audio.media.stored import read_audio, read_frame
from nano4m_audio.paths import Results
from nano4m_audio.progress import chunks
from nano4m_audio.store import Item, RowStore, publish_shard
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.taxonomy import SoundClass
from nano4m_audio.versions import stage_version

_CHUNK = 16
#: Turns the decoded rows of some clips into one dict of score columns per clip.
ScoreChunk = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def score_audio(
    results: Results, shard: str, settings: AudioStage, compute: Compute = Compute()
) -> None:
    """Publish the class scores [W, C] and levels [W] of a sliding 3.4133 s window.

    A class scores as high as its highest label; one that the tagger does not know has no column.
    """
    classes = settings.classes

    def prepare() -> ScoreChunk:
        backend, columns = settings.backend, dict[str, list[int]]()
        if backend:
            tagger = registry.load("audio_tagger", backend, compute)
            columns = tagger_columns(classes, tagger.labels)
            _tell_unknown(backend, classes, columns)

        def score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            cuts, out_rows = [], []
            for row in rows:
                audio = read_audio(row["audio_flac"])
                starts = windows.window_starts(row["duration_s"], settings.hop_s)
                pieces = [windows.cut(audio, start) for start in starts]
                levels = [windows.level_dbfs(piece) for piece in pieces]
                cuts.append(np.stack(pieces))
                out_rows.append({"window_start_s": starts.tolist(), "window_level_dbfs": levels})
            if not columns:
                return [{**r, "labels": [], "scores": []} for r in out_rows]
            rate_hz = tagger.sample_rate_hz
            of_labels = tagger.tag(np.concatenate([windows.resample(c, rate_hz) for c in cuts]))
            scores = np.stack([of_labels[:, c].max(1) for c in columns.values()], axis=1)
            return [
                {**r, "labels": list(columns), "scores": s.tolist()}
                for r, s in zip(out_rows, _split_like(cuts, scores), strict=True)
            ]

        return score

    identity = _identity("audio_tagger", settings.backend, compute)
    key = [identity, settings.hop_s, [[name, c.audioset] for name, c in classes.items()]]
    _publish_scores("scores/audio", results, shard, key, ["audio_flac"], prepare)


def tagger_columns(
    classes: Mapping[str, SoundClass], labels: Sequence[str]
) -> dict[str, list[int]]:
    """Class -> which of a tagger's ``labels`` are its own: its AudioSet labels, or else its name.

    Classes without any are left out.
    """
    place = {label: number for number, label in enumerate(labels)}
    found = {}
    for name, entry in classes.items():
        own = [label for label in entry.audioset if label in place]
        found[name] = [place[label] for label in own or [name] if label in place]
    return {name: columns for name, columns in found.items() if columns}


def _split_like(parts: Sequence[Sized], rows: np.ndarray) -> list[np.ndarray]:
    """``rows`` cut into as many as each of ``parts`` has."""
    return np.split(rows, np.cumsum([len(part) for part in parts])[:-1])


def _tell_unknown(backend: str, classes: Iterable[str], known: Iterable[str]) -> None:
    """Say which classes a model cannot know: they have no scores, and their clips no filter."""
    if unknown := ", ".join(sorted(set(classes) - set(known))):
        print(f"{backend} does not know these classes: {unknown}", file=sys.stderr)


def score_visual(
    results: Results, shard: str, settings: VisualStage, compute: Compute = Compute()
) -> None:
    """Publish the cosine [K, C] of K frames with the nearest prompt of every class.

    A frame loses what it is nearer to a negative. Classes unknown to the scorer have no column.
    """

    def prepare() -> ScoreChunk:
        backend, known = settings.backend, dict[str, SoundClass]()
        if backend:
            scorer = registry.load("image_text_scorer", backend, compute)
            names = settings.classes if scorer.classes is None else scorer.classes
            known = {name: c for name, c in settings.classes.items() if name in names}
            _tell_unknown(backend, settings.classes, known)
        texts = [text for c in known.values() for text in (*c.prompts, *c.negatives)]
        embedded = scorer.embed_texts(texts) if texts else np.empty(0)

        def score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            picks = [windows.spread(len(row["frame_times_s"]), settings.frames) for row in rows]
            chosen = list(zip(rows, picks, strict=True))
            times = [[row["frame_times_s"][i] for i in p] for row, p in chosen]
            if not texts:
                return [{"frame_times_s": t, "labels": [], "cosines": []} for t in times]
            crops = [square_crop(read_frame(row["frames"][i])) for row, p in chosen for i in p]
            of_texts = scorer.embed_images(np.stack(crops)) @ embedded.T
            cosines = class_cosines(of_texts, known.values())
            return [
                {"frame_times_s": t, "labels": list(known), "cosines": c.tolist()}
                for t, c in zip(times, _split_like(picks, cosines), strict=True)
            ]

        return score

    identity = _identity("image_text_scorer", settings.backend, compute)
    texts = [[name, c.prompts, c.negatives] for name, c in settings.classes.items()]
    key = [identity, settings.frames, texts]
    heavy = ["frames"] if settings.backend else []
    _publish_scores("scores/visual", results, shard, key, heavy, prepare)


def class_cosines(of_texts: np.ndarray, classes: Iterable[SoundClass]) -> np.ndarray:
    """Cosines of frames with all texts [K, T], prompts then negatives of each class -> [K, C]."""
    columns, start = [], 0
    for entry in classes:
        middle = start + len(entry.prompts)
        end = middle + len(entry.negatives)
        column = of_texts[:, start:middle].max(1)
        if entry.negatives:
            column = column - (of_texts[:, middle:end].max(1) - column).clip(0)
        columns.append(column)
        start = end
    return np.stack(columns, axis=1)


def score_speech(
    results: Results, shard: str, settings: SpeechScore, compute: Compute = Compute()
) -> None:
    """Publish the speech segments and the fraction with speech of every clip."""

    def prepare() -> ScoreChunk:
        if not settings.backend:
            nothing: dict[str, Any] = {
                "segment_start_s": [],
                "segment_end_s": [],
                "speech_fraction": None,
            }
            return lambda rows: [nothing for _ in rows]
        detector = registry.load("speech_detector", settings.backend, compute)
        rate_hz = detector.sample_rate_hz

        def score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            waveforms = [windows.resample(read_audio(row["audio_flac"]), rate_hz) for row in rows]
            return [
                _speech_row(segments, len(waveform) / rate_hz)
                for segments, waveform in zip(detector.segments(waveforms), waveforms, strict=True)
            ]

        return score

    identity = _identity("speech_detector", settings.backend, compute)
    heavy = ["audio_flac"] if settings.backend else []
    _publish_scores("scores/speech", results, shard, [identity], heavy, prepare)


def _identity(kind: str, name: str | None, compute: Compute) -> str | None:
    return registry.identity(kind, name, compute.dtype) if name else None


def _speech_row(segments: list[tuple[float, float]], duration_s: float) -> dict[str, Any]:
    speech_s = sum(end - start for start, end in segments)
    return {
        "segment_start_s": [start for start, _ in segments],
        "segment_end_s": [end for _, end in segments],
        "speech_fraction": min(1.0, speech_s / duration_s),
    }


def score_fingerprints(results: Results, shard: str) -> None:
    """Publish the fingerprints by which copies are found; they need no pretrained weights."""

    def prepare() -> ScoreChunk:
        def score(row: dict[str, Any]) -> dict[str, Any]:
            times_s, audio = np.array(row["frame_times_s"]), read_audio(row["audio_flac"])
            return fingerprint(row["frames"], times_s, audio)

        return lambda rows: [score(row) for row in rows]

    heavy = ["frames", "audio_flac"]
    _publish_scores("scores/fingerprints", results, shard, [], heavy, prepare)


def _publish_scores(
    name: str,
    results: Results,
    shard: str,
    key_parts: list[Any],
    heavy: list[str],
    prepare: Callable[[], ScoreChunk],
) -> None:
    """Publish one row per decodable clip of the shard; ``prepare`` loads the model when needed."""
    decoded = RowStore(results.store, "clips", shard)
    rows = read_rows(results.table("clips", shard), "clips", ["clip_id", "key", "status"])
    items = [
        Item(
            row["clip_id"],
            content_key(name, stage_version(name), row["key"], *key_parts),
            {"clip_key": row["key"]},
        )
        for row in rows
        if row["status"] == "ok"
    ]

    def compute(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        score = prepare()
        for chunk in chunks(todo, _CHUNK):
            keys = [item.inputs["clip_key"] for item in chunk]
            table = decoded.read(keys, ["duration_s", "frame_times_s", *heavy])
            for item, values in zip(chunk, score(table.to_pylist()), strict=True):
                yield {"key": item.key, **values}

    publish_shard(results, name, shard, items, compute)
