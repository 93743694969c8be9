"""The label stage: maps, such as depth and normals, of the keyframes of every selected clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.tokenizers import LabelSettings
from nano4m_audio.label.maps import FORMS
from nano4m_audio.media.crop import keyframe_crops
from nano4m_audio.modalities import MODALITIES, ModalitySpec
from nano4m_audio.paths import Results
from nano4m_audio.progress import chunks
from nano4m_audio.reasons import Reason
from nano4m_audio.store import Item, RowStore, publish_shard
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.versions import stage_version

_CHUNK = 8


def label_clips(
    results: Results, shard: str, settings: LabelSettings, compute: Compute = Compute()
) -> None:
    """Publish the maps of one modality for every selected clip of a shard."""
    modality = MODALITIES[settings.modality]
    name = f"labels/{modality.name}"
    identity = registry.identity(modality.estimator, settings.backend, compute.dtype)
    decoded = RowStore(results.store, "clips", shard)
    items = [
        Item(
            row["clip_id"],
            content_key(name, stage_version(name), row["clip_key"], row["keyframes"], identity),
            row,
        )
        for row in read_rows(results.table("selected", shard), "selected")
    ]

    def compute_rows(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        model = registry.load(modality.estimator, settings.backend, compute)
        for chunk in chunks(todo, _CHUNK):
            crops = keyframe_crops(decoded, [item.inputs for item in chunk])
            maps = model.estimate(np.concatenate(crops))
            parts = np.split(maps, np.cumsum([len(c) for c in crops])[:-1])
            for item, part in zip(chunk, parts, strict=True):
                yield {"key": item.key, **_row(modality, part)}

    publish_shard(results, name, shard, items, compute_rows)


def _row(modality: ModalitySpec, maps: np.ndarray) -> dict[str, Any]:
    """The stored columns of one clip; values that are not finite make it a failed row."""
    if not np.isfinite(maps).all():
        message = f"the {modality.name} estimator gave values that are not finite"
        return {"status": "failed", "reason": str(Reason.LABEL_FAILED), "message": message}
    return {"status": "ok", "reason": "", "message": "", **FORMS[modality.form].encode(maps)}
