"""The label stage: maps, such as depth and normals, of the keyframes of every selected clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.protocols import SharedEstimator
from nano4m_audio.config.tokenizers import LabelSettings
from nano4m_audio.label.maps import FORMS
from nano4m_audio.media.crop import keyframe_crops
from nano4m_audio.modalities import MODALITIES, ModalitySpec
from nano4m_audio.paths import Results
from nano4m_audio.progress import chunks
from nano4m_audio.reasons import Reason
from nano4m_audio.store import PART_ROWS, Item, RowStore, fill, publish_shard
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.versions import stage_version

_CHUNK = 8


def label_clips(
    results: Results, shard: str, settings: LabelSettings, compute: Compute = Compute()
) -> None:
    """Publish the maps of one modality for every selected clip of a shard.

    The maps of the modalities ``beside`` it are made of the same outputs of the network and kept in
    the store, where they are found when their turn comes. What is missing there is computed then.
    """
    modality = MODALITIES[settings.modality]
    decoded = RowStore(results.store, "clips", shard)
    items = _items(results, shard, settings.modality, settings.backend, compute)

    def compute_rows(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        model = registry.load(modality.estimator, settings.backend, compute)
        others = [_Beside.of(results, shard, *pair, compute) for pair in settings.beside.items()]
        for chunk in chunks(todo, _CHUNK):
            crops = keyframe_crops(decoded, [item.inputs for item in chunk])
            counts = [len(c) for c in crops]
            if others:
                outputs = model.outputs(np.concatenate(crops))
                for other in others:
                    other.add([item.clip_id for item in chunk], outputs, counts)
                maps = model.maps(outputs)
            else:
                maps = model.estimate(np.concatenate(crops))
            for item, part in zip(chunk, _parts(maps, counts), strict=True):
                yield {"key": item.key, **_row(modality, part)}
        for other in others:
            other.keep()

    publish_shard(results, f"labels/{modality.name}", shard, items, compute_rows)


def _items(
    results: Results, shard: str, modality: str, backend: str, compute: Compute
) -> list[Item]:
    name = f"labels/{modality}"
    identity = registry.identity(MODALITIES[modality].estimator, backend, compute.dtype)
    version = stage_version(name)
    return [
        Item(
            row["clip_id"],
            content_key(name, version, row["clip_key"], row["keyframes"], identity),
            row,
        )
        for row in read_rows(results.table("selected", shard), "selected")
    ]


def _parts(maps: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """The maps of each clip."""
    return np.split(maps, np.cumsum(counts)[:-1])


@dataclass
class _Beside:
    """Rows of a modality whose maps come from the outputs of another one's network."""

    modality: ModalitySpec
    store: RowStore
    items: dict[str, Item]
    model: SharedEstimator
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Results, shard: str, name: str, backend: str, compute: Compute) -> _Beside:
        modality = MODALITIES[name]
        items = _items(results, shard, name, backend, compute)
        return cls(
            modality,
            RowStore(results.store, f"labels/{name}", shard),
            {item.clip_id: item for item in items},
            registry.load(modality.estimator, backend, compute),
        )

    def add(self, clip_ids: Sequence[str], outputs: np.ndarray, counts: Sequence[int]) -> None:
        """Make the rows of some clips; they are kept when there are enough for a part."""
        parts = _parts(self.model.maps(outputs), counts)
        for clip_id, part in zip(clip_ids, parts, strict=True):
            self.rows[clip_id] = {"key": self.items[clip_id].key, **_row(self.modality, part)}
        if len(self.rows) >= PART_ROWS:
            self.keep()

    def keep(self) -> None:
        """Put the rows into the store, less those it has."""
        by_key = {row["key"]: row for row in self.rows.values()}
        fill(
            self.store,
            [self.items[clip_id] for clip_id in self.rows],
            lambda todo: [by_key[item.key] for item in todo],
        )
        self.rows = {}


def _row(modality: ModalitySpec, maps: np.ndarray) -> dict[str, Any]:
    """The stored columns of one clip; values that are not finite make it a failed row."""
    if not np.isfinite(maps).all():
        message = f"the {modality.name} estimator gave values that are not finite"
        return {"status": "failed", "reason": str(Reason.LABEL_FAILED), "message": message}
    return {"status": "ok", "reason": "", "message": "", **FORMS[modality.form].encode(maps)}
