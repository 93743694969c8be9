"""A small results folder, written with the package's own tables: every fate a clip can have."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nano4m_audio.config.schema import Config
from nano4m_audio.filters import FILTERS
from nano4m_audio.label import maps
from nano4m_audio.media import playable
from nano4m_audio.media.stored import encode_flac
from nano4m_audio.modalities import MODALITIES as KNOWN
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.report.inputs import COMPLETE, STOPS, ReportInputs
from nano4m_audio.store import RowStore
from nano4m_audio.tables import write_rows, write_table

#: What every run has.
MODALITIES = {name: row for name, row in KNOWN.items() if not row.optional}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
ORDER = list(STOPS)
MEDIA_REASON, DECODE_REASON = "missing_file", "no_audio"


@dataclass(frozen=True)
class Fate:
    """One clip to write: its class, where it stops, and what else is wrong with it."""

    class_name: str
    stop: str = COMPLETE
    extra_reasons: tuple[str, ...] = ()
    split: str = "train"
    name: str = ""
    copy_of: int | None = None
    group: str = ""


def default_fates(classes: tuple[str, ...], per_class: int = 9) -> list[Fate]:
    """Complete clips of every class but the last, and one clip of every other fate."""
    splits = ("train", "train", "train", "train", "train", "train", "train", "val", "test")
    fates = [
        Fate(name, split=splits[i % len(splits)]) for name in classes[:-1] for i in range(per_class)
    ]
    for i, stop in enumerate(s for s in STOPS if s != "duplicate"):
        extra = ("visual_low",) if stop == "audio_low" else ()
        fates.append(Fate(classes[i % len(classes)], stop, extra))
    return [*fates, Fate(classes[0], "duplicate", copy_of=0)]


def write_results(
    root: Path,
    fates: list[Fate],
    *,
    config: dict[str, Any] | None = None,
    shards: int = 2,
    heavy: bool = False,
    runs: tuple[str, ...] = ("base",),
    evaluation: bool = True,
) -> ReportInputs:
    """Write every table (with ``heavy`` also the store) of these clips; return the inputs."""
    values = {"n_shards": shards, "report": {"examples": 3}, **(config or {})}
    resolved = json.loads(Config.model_validate(values).model_dump_json())
    results = root / "results"
    named = [(i, fate, fate.name or f"clip{i:04d}") for i, fate in enumerate(fates)]
    ids = {i: name for i, _, name in named}
    split_rows = []
    for shard in range(shards):
        mine = [entry for entry in named if entry[0] % shards == shard]
        split_rows += _write_shard(results, f"{shard:04d}", mine, ids)
        if heavy:
            _write_store(results / "store", f"{shard:04d}", mine)
    write_rows(results / "split.parquet", "split", sorted(split_rows, key=lambda r: r["clip_id"]))
    for name in runs:
        _write_run(results / "runs" / name)
        if evaluation:
            _write_evaluation(results / "evaluation" / name)
    return ReportInputs(config=resolved, results=results)


def _write_shard(results: Path, shard: str, mine: list, ids: dict[int, str]) -> list[dict]:
    tables: dict[str, list[dict]] = {
        name: [] for name in ("candidates", "media", "clips", "verdicts", "selected")
    }
    tables |= {f"labels/{w}": [] for w in ("depth", "normals")} | {
        f"tokens/{m}": [] for m in MODALITIES
    }
    split_rows = []
    for i, fate, name in mine:
        place = ORDER.index(fate.stop) if fate.stop in STOPS else len(STOPS)
        base = {"clip_id": name, "key": f"key{i}", "status": "ok", "reason": "", "message": ""}

        def failed(reason: str, row: dict = base) -> dict:
            return {**row, "status": "failed", "reason": reason, "message": f"bad: {HOSTILE}"}

        tables["candidates"].append(
            {
                "clip_id": name,
                "video_id": f"video{i}",
                "start_s": 0.0,
                "class_name": fate.class_name,
                "sources": ["audioset"] if i % 3 else ["audioset", "vggsound"],
                "path": f"media/{name}.mp4",
            }
        )
        tables["media"].append(base if place > 0 else failed(MEDIA_REASON))
        if place > 0:
            tables["clips"].append(base if place > 1 else failed(DECODE_REASON))
        tables["verdicts"].append(_verdict(i, fate, name, place))
        if place > ORDER.index(FILTERS[-1].reason):
            kept = "" if fate.copy_of is None else ids[fate.copy_of]
            split_rows.append(_split_row(i, fate, name, kept))
        if place > ORDER.index("duplicate"):
            tables["selected"].append(
                {
                    "clip_id": name,
                    "clip_key": f"key{i}",
                    "class_name": fate.class_name,
                    "split": fate.split,
                    "window_start_s": 0.5,
                    "keyframes": list(range(10)),
                }
            )
            for what in ("depth", "normals"):
                tables[f"labels/{what}"].append(
                    base if fate.stop != "label" else failed("label_failed")
                )
            for m in MODALITIES:
                good = {**base, "tokens": _tokens(m)}
                reason = {"label": "label_failed", "tokens": "tokenize_failed"}.get(fate.stop)
                tables[f"tokens/{m}"].append(
                    failed(reason, {**base, "tokens": None}) if reason else good
                )
    for name, rows in tables.items():
        write_rows(results / name / f"{shard}.parquet", name, rows)
    return split_rows


def _verdict(i: int, fate: Fate, name: str, place: int) -> dict[str, Any]:
    row: dict[str, Any] = {"clip_id": name, "clip_key": f"key{i}", "message": ""}
    if place < 2:
        reason = MEDIA_REASON if place == 0 else DECODE_REASON
        return {**row, "clip_key": "", "accepted": False, "reasons": [reason], "message": HOSTILE}
    reasons = (
        [fate.stop, *fate.extra_reasons] if fate.stop in {row.reason for row in FILTERS} else []
    )
    rng = np.random.default_rng(i)
    low = lambda reason, bad, good: bad if reason in reasons else good  # noqa: E731
    return {
        **row,
        "accepted": not reasons,
        "reasons": reasons,
        "audio_score": low("audio_low", 0.1, 1 - 0.6 * rng.random() ** 2),
        "visual_score": low("visual_low", 0.05, 0.5 + 0.4 * rng.random()),
        "speech_fraction": low("speech", 0.6, 0.0),
        "level_dbfs": low("silent", -90.0, -25 + 8 * rng.random()),
        "window_start_s": 0.5,
        "keyframes": list(range(10)),
        "keyframe_times_s": [0.5 + k / 3 for k in range(10)],
        "best_frame": 4,
    }


def _split_row(i: int, fate: Fate, name: str, kept: str) -> dict[str, Any]:
    rng = np.random.default_rng(1000 + i)
    held = fate.split != "train" and not kept
    return {
        "clip_id": name,
        "video_id": f"video{i}",
        "class_name": fate.class_name,
        "source": "audioset" if i % 3 else "audioset+vggsound",
        "group": fate.group or (kept or name),
        "duplicate_of": kept,
        "split": "" if kept else fate.split,
        "nearest_train": "clip0000" if held else None,
        "nearest_picture": 0.6 + 0.35 * rng.random() if held else None,
        "nearest_sound": 0.7 * rng.random() if held else None,
    }


def _tokens(modality: str) -> list:
    if modality == "caption":
        return [50258, 9703, 33151, 50259]
    if modality == "audio":
        # Codebooks alternate: ids of the second begin at 1024.
        return [[5, 1029] * 256]
    return [[7] * 196] * 10


def _write_store(store: Path, shard: str, mine: list) -> None:
    """Frames, sound, maps and tokens of the clips that have them: noise and a tone."""
    stores = {n: RowStore(store, n, shard) for n in ("clips", "labels/depth", "labels/normals")}
    stores |= {f"tokens/{m}": RowStore(store, f"tokens/{m}", shard) for m in MODALITIES}
    rows: dict[str, list[dict]] = {name: [] for name in stores}
    for i, _, _ in mine:
        rng = np.random.default_rng(i)
        ok = {"key": f"key{i}", "status": "ok", "reason": "", "message": ""}
        frames = [_jpeg(rng.integers(0, 255, (8, 8, 3), np.uint8), (340, 256)) for _ in range(12)]
        tone = 0.3 * np.sin(np.arange(5 * 32000) * (0.02 + 0.01 * (i % 7))).astype(np.float32)
        rows["clips"].append({**ok, "frames": frames, "audio_flac": encode_flac(tone, 32000)})
        depth = rng.random((10, 224, 224)).astype(np.float32)
        normals = np.zeros((10, 224, 224, 3), np.float32)
        normals[..., 2] = -1
        rows["labels/depth"].append({**ok, **maps.encode_depth(depth)})
        rows["labels/normals"].append({**ok, **maps.encode_normals(normals)})
        for m in MODALITIES:
            rows[f"tokens/{m}"].append({**ok, "tokens": _tokens(m)})
    for name, part in rows.items():
        stores[name].append(part)


def _jpeg(small: np.ndarray, size: tuple[int, int]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def _write_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    facts = {
        "experiment": folder.name,
        "data_digest": "d" * 32,
        "code_digest": "c" * 32,
        "key": "a" * 32,
        "parameters": 13_200_000,
        "steps": 400,
        "torch": "2.11.0",
        "clips": {"train": 70, "val": 10, "test": 10},
        "settings": {"optim": {"seed": 0}},
    }
    (folder / "run.json").write_text(json.dumps(facts))
    rows = []
    for m, top in zip(MODALITIES, (8.3, 7.6, 6.9, 6.9, 10.8), strict=True):
        for step in range(10, 401, 10):
            wobble = 0.1 * np.sin(step * 1.7)
            loss = top * (0.55 + 0.45 * np.exp(-step / 120)) + wobble
            lr = 1e-3 * min(1, step / 40) * (0.5 + 0.5 * np.cos(np.pi * step / 400))
            rows.append(
                {"step": step, "split": "train", "modality": m, "loss": loss, "lr": lr, "tokens": 9}
            )
            if step % 50 == 0:
                rows.append({**rows[-1], "split": "val", "loss": loss + 0.15})
    write_table(folder / "metrics.parquet", pa.Table.from_pylist(rows))


def _write_evaluation(folder: Path) -> None:
    folder.mkdir(parents=True)

    def metric(
        name: str,
        value: float,
        chance: float,
        unit: str,
        half: float,
        other: float | None = None,
        baseline: str = "",
    ) -> dict[str, Any]:
        gain = 0.0 if other is None else (value - other) * (1 if unit == "accuracy" else -1)
        word = "better" if gain > half else "worse" if gain < -half else "unclear"
        comparison = {
            "name": baseline,
            "value": other,
            "gain": gain,
            "low": gain - half,
            "high": gain + half,
            "p": 0.3 if word == "unclear" else 0.0001,
            "beyond_chance": True,
            "verdict": word,
        }
        return {
            **({} if other is None else {"baseline": comparison}),
            "name": name,
            "value": value,
            "n": 33,
            "groups": 30,
            "low": max(0.0, value - half),
            "high": value + half,
            "chance": chance,
            "unit": unit,
            "note": "",
        }

    entropies = zip(MODALITIES, (6.1, 5.0, 4.1, 3.2, 0.5), (8.3, 7.6, 6.9, 6.9, 10.8), strict=True)
    probes: dict[str, list] = {"cross_entropy": [], "classes": [], "structure": []}
    for m, value, chance in entropies:
        probes["cross_entropy"] += [
            metric(m, value, chance, "nats/token", 0.1, value + 1, f"{m}_unigram"),
            metric(f"{m}_unigram", value + 1, chance, "nats/token", 0.1),
        ]
    for source, value in (("audio", 0.48), ("rgb", 0.55), ("all", 0.6), ("frequency", 0.12)):
        for k in (1, 3, 5):
            guess = None if source == "frequency" else 0.12 + k / 20
            probes["classes"].append(
                metric(
                    f"{source}_top{k}",
                    value + k / 20,
                    k / 11,
                    "accuracy",
                    0.17,
                    guess,
                    f"frequency_top{k}",
                )
            )
    for m, value in (("depth", 0.31), ("normals", 0.42)):
        for name, part in ((f"rgb_to_{m}", 1.0), (f"rgb_to_{m}_position_mode", 0.6)):
            guess = 0.6 * value if part == 1 else None
            probes["structure"].append(
                metric(
                    name, part * value, 1 / 1024, "accuracy", 0.03, guess, f"{name}_position_mode"
                )
            )
    for probe, metrics in probes.items():
        content = {"probe": probe, "experiment": folder.name, "split": "test", "metrics": metrics}
        if probe == "classes":
            content["per_class"] = [
                {"class": "pig", "n": 3, "audio_top1": 1, "rgb_top1": 2, "all_top1": 3}
            ]
        (folder / f"{probe}.json").write_text(json.dumps(content))


def write_generated(results: Path, clips: list[tuple[str, str]], experiment: str = "base") -> None:
    """What a model made of ``clips`` (id and class): one task of each layout, and hostile text."""
    folder = results / "generated" / experiment
    folder.mkdir(parents=True)
    files = {
        "rgb.jpg": playable.jpeg(np.zeros((224, 224, 3), np.uint8)),
        "heard.jpg": playable.jpeg(np.zeros((72, 336, 3), np.uint8)),
        "audio.mp3": playable.mp3(np.zeros(24_000, np.float32), 24_000),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    text, picture = [{"text": HOSTILE}] * len(clips), [{"picture": "rgb.jpg"}] * len(clips)
    sound = [{"sound": "audio.mp3", "spectrogram": "heard.jpg"}] * len(clips)
    cells = {
        "audio_to_caption": (sound, text, text, None),
        "caption_to_rgb": (text, picture, picture, picture),
        "rgb_to_audio": (picture, sound, sound, sound),
    }
    tasks = [
        {
            "name": name,
            "source": name.split("_to_")[0],
            "target": name.split("_to_")[1],
            "share": None,
            "clips": len(clips),
            "own": 0.25,
            "others": 0.125,
            "nearest": 1,
            "p": 0.67,
            "ceiling": None,
            "cells": dict(zip(("given", "made", "true", "ceiling"), shown, strict=True)),
        }
        for name, shown in cells.items()
    ]
    index = {
        "split": "test",
        "sampling": Sampling().model_dump(),
        "clips": [{"clip_id": i, "class_name": name} for i, name in clips],
        "tasks": tasks,
        "files": dict.fromkeys(files, ""),
    }
    (folder / "index.json").write_text(json.dumps(index))


def write_quality(
    results: Path, modality: str, backend: str, psnr_db: float, examples: int = 2
) -> None:
    """The measurement of one tokenizer, with a sheet of examples."""
    from PIL import Image

    folder = results / "quality" / modality
    folder.mkdir(parents=True, exist_ok=True)
    stem = backend.replace(":", "-")
    Image.new("RGB", (examples * 24, 2 * 24), (90, 120, 60)).save(folder / f"{stem}.png")
    facts = {
        "modality": modality,
        "backend": backend,
        "split": "test",
        "clips": 12,
        "groups": 11,
        "n": 10,
        "tokens": 1960,
        "vocab_size": 4096,
        "used": 0.25,
        "perplexity": 321.4,
        "psnr_db": {"value": psnr_db, "low": psnr_db - 0.4, "high": psnr_db + 0.4},
        "ssim": {"value": 0.8125, "low": 0.8, "high": 0.825},
    }
    (folder / f"{stem}.json").write_text(json.dumps(facts))


def write_truth(path: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    """Rows of (file, kind, expected, duplicate_of)."""
    lines = ["file,video_id,class,kind,expected,duplicate_of"]
    lines += [f'"{f}",v,c,"{kind}","{expected}","{copy}"' for f, kind, expected, copy in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def foreign_scripts(page: str) -> list[str]:
    """Scripts of a page that its own policy does not name, and so what a hostile text got in."""
    allowed = set(re.findall(r"'sha256-([^']+)'", page.split("</head>")[0].replace("&#39;", "'")))
    found = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL | re.IGNORECASE)
    return [
        text
        for attributes, text in found
        if 'type="application/json"' not in attributes
        and base64.b64encode(sha256(text.encode()).digest()).decode() not in allowed
    ]


def without_costs(page: str) -> str:
    """A page without the one section that tells of times and disks."""
    start = page.index('<section id="costs">')
    return page[:start] + page[page.index("</section>", start) :]
