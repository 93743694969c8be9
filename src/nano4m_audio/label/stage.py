"""The label stage: depth and normals of the ten keyframes of every selected clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.label.maps import encode_depth, encode_normals
from nano4m_audio.media.crop import keyframe_crops
from nano4m_audio.progress import chunks, track
from nano4m_audio.reasons import Reason
from nano4m_audio.store import Item, RowStore, publish
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.versions import stage_version

_CHUNK = 8
KINDS = {"depth": "depth_estimator", "normals": "normal_estimator"}


def label_clips(
    what: str,
    selected: Path,
    store: Path,
    shard: str,
    out: Path,
    backend: str,
    compute: Compute = Compute(),
) -> None:
    """Publish the maps of ``what`` ("depth" or "normals") for every clip of ``selected``."""
    name = f"labels/{what}"
    identity = registry.identity(KINDS[what], backend, compute.dtype)
    decoded = RowStore(store, "clips", shard)
    items = [
        Item(
            row["clip_id"],
            content_key(name, stage_version(name), row["clip_key"], row["keyframes"], identity),
            row,
        )
        for row in read_rows(selected, "selected")
    ]

    def compute_rows(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        model = registry.load(KINDS[what], backend, compute)

        def rows() -> Iterator[dict[str, Any]]:
            for chunk in chunks(todo, _CHUNK):
                crops = keyframe_crops(decoded, [item.inputs for item in chunk])
                maps = model.estimate(np.concatenate(crops))
                parts = np.split(maps, np.cumsum([len(c) for c in crops])[:-1])
                for item, part in zip(chunk, parts, strict=True):
                    yield {"key": item.key, **_row(what, part)}

        yield from track(rows(), len(todo), f"{name} {shard}")

    publish(RowStore(store, name, shard), items, compute_rows, out)


def _row(what: str, maps: np.ndarray) -> dict[str, Any]:
    """The stored columns of one clip; values that are not finite make it a failed row."""
    if not np.isfinite(maps).all():
        message = f"the {what} estimator gave values that are not finite"
        return {"status": "failed", "reason": str(Reason.LABEL_FAILED), "message": message}
    encode = encode_depth if what == "depth" else encode_normals
    return {"status": "ok", "reason": "", "message": "", **encode(maps)}
