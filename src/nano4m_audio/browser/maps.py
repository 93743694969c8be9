"""Maps of the dataset: where every decoded clip lies, by what is stored of it and computed anyway.

Three views: what the models say (a sound score and a cosine per class), how the frames look and how
the sound is (the fingerprints by which copies are found). Each is drawn along its two main
directions, those of the largest variance. These are linear and have no random start: equal tables
give equal maps, clips that are alike lie together, and how much two directions leave out is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from nano4m_audio.curate.fingerprints import SOUND_BANDS
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

#: Places are whole numbers from 0 to this, so that 10,000 clips take some 100 kB a view.
SIDE = 1000
#: The middle 96 % of the clips, and some room: what lies beyond is drawn at the border.
_MIDDLE, _MARGIN = (2.0, 98.0), 0.15
#: Neighbours on the map that are asked for their class.
_NEIGHBOURS = 5
#: Clips that two directions can be found from.
_FEWEST = 3
#: Turns the rows of a table into one row of numbers each.
_Read = Callable[["pa.RecordBatch"], np.ndarray]


@dataclass(frozen=True)
class View:
    """``places``: int32 [n, 2], x to the right and y up, -1 for clips that were not decoded;
    ``shares``: the parts of the variance that the two directions have."""

    title: str
    words: str
    shares: tuple[float, float]
    places: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """A class on a map: its clips, the share of their neighbours that are of the class, and the
    class that is most often among the others (none: "")."""

    name: str
    clips: int
    same: float
    other: str


def make_views(results: Results, clip_ids: Sequence[str]) -> list[View]:
    """The views that have numbers, with one place per id. A filter that is off has none to give."""
    rows = {clip_id: i for i, clip_id in enumerate(clip_ids)}
    heard = _block(results, "scores/audio", ["labels", "scores"], _loudest, rows)
    seen = _block(results, "scores/visual", ["labels", "cosines"], _mean_cosines, rows)
    frames = _block(results, "scores/fingerprints", ["image"], _image, rows)
    sound = _block(results, "scores/fingerprints", ["audio"], _bands, rows)
    told = (
        ("What the models say", "the scores of sound and frames for every class", [heard, seen]),
        ("How it looks", "the fingerprint of the frames", [frames]),
        ("How it sounds", "the fingerprint of the sound: mean and spread of 16 bands", [sound]),
    )
    found = []
    for title, words, blocks in told:
        placed = project([block for block in blocks if block is not None])
        if placed is not None:
            found.append(View(title, words, *placed))
    return found


def project(blocks: Sequence[np.ndarray]) -> tuple[tuple[float, float], np.ndarray] | None:
    """The shares and places [n, 2] of clips, from float32 [n, columns] of each block, with rows of
    NaN for clips that have no numbers. Blocks weigh alike, however many columns they have.

    None where there are too few clips, or nothing in which they differ in two directions.
    """
    if not blocks:
        return None
    known = np.logical_and.reduce([~np.isnan(block).any(axis=1) for block in blocks])
    if known.sum() < _FEWEST:
        return None
    parts = []
    for block in blocks:
        part = block[known].astype(np.float64)
        part -= part.mean(axis=0)
        spread = np.sqrt((part**2).sum(axis=1).mean())
        parts.append(part / spread if spread > 0 else part)
    table = np.concatenate(parts, axis=1)
    values, directions = np.linalg.eigh(table.T @ table)
    if table.shape[1] < 2 or values[-2] <= 1e-9 * max(values[-1], 1e-30):
        return None
    chosen = directions[:, [-1, -2]]
    # A direction and its opposite are the same one: the largest part points up.
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(axis=0), [0, 1]])
    places = np.full((len(known), 2), -1, np.int32)
    places[known] = _on_grid(table @ chosen)
    shares = values[[-1, -2]] / values.clip(0).sum()
    return (float(shares[0]), float(shares[1])), places


def _on_grid(points: np.ndarray) -> np.ndarray:
    """Both coordinates [n, 2] from 0 to SIDE, each on its own scale."""
    low, high = np.percentile(points, _MIDDLE, axis=0)
    wide = np.where(high > low, high - low, 1.0)
    place = (points - low + _MARGIN * wide) / ((1 + 2 * _MARGIN) * wide)
    return np.rint(SIDE * place.clip(0, 1)).astype(np.int32)


def _block(
    results: Results, name: str, columns: list[str], read: _Read, rows: Mapping[str, int]
) -> np.ndarray | None:
    """One row of numbers per clip of ``rows``, from all shards of a table; None where it has none.

    A shard at a time: what is read of it, a row for every window of a clip, is soon forgotten.
    """
    found: np.ndarray | None = None
    for path in results.tables(name):
        if not path.exists():  # tables that were brought from elsewhere have no scores
            return None
        for batch in read_batches(path, name, ["clip_id", *columns]):
            numbers = read(batch)
            if found is None and numbers.shape[1]:
                found = np.full((len(rows), numbers.shape[1]), np.nan, np.float32)
            ids = batch.column("clip_id").to_pylist()
            mine = [k for k, clip_id in enumerate(ids) if clip_id in rows]
            if found is not None and mine and numbers.shape[1] == found.shape[1]:
                found[[rows[ids[k]] for k in mine]] = numbers[mine]
    return found


def _loudest(batch: pa.RecordBatch) -> np.ndarray:
    """The largest score of each class in any window."""
    return _of_lists(batch.column("scores"), _labels(batch), np.maximum.reduceat)


def _mean_cosines(batch: pa.RecordBatch) -> np.ndarray:
    """The mean cosine of each class over the frames."""
    column, labels = batch.column("cosines"), _labels(batch)
    return _of_lists(column, labels, np.add.reduceat) / _lengths(column)


def _image(batch: pa.RecordBatch) -> np.ndarray:
    column = batch.column("image")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _bands(batch: pa.RecordBatch) -> np.ndarray:
    """Mean and spread of each band of the sound."""
    column = batch.column("audio")
    mean = _of_lists(column, SOUND_BANDS, np.add.reduceat) / _lengths(column)
    square = _of_lists(column, SOUND_BANDS, np.add.reduceat, square=True) / _lengths(column)
    return np.concatenate([mean, np.sqrt((square - mean**2).clip(0))], axis=1)


def _labels(batch: pa.RecordBatch) -> int:
    """How many classes the model knows: the same for all clips of a run."""
    return len(batch.column("labels")[0]) if len(batch) else 0


def _lengths(column: pa.ListArray) -> np.ndarray:
    return column.value_lengths().to_numpy(zero_copy_only=False)[:, None].clip(1)


def _of_lists(
    column: pa.ListArray, width: int, reduce: Callable[..., np.ndarray], *, square: bool = False
) -> np.ndarray:
    """Lists of lists of ``width`` numbers -> one row [n, width]; NaN for an empty list."""
    out = np.full((len(column), width), np.nan, np.float32)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    some = lengths > 0
    if width and some.any():
        flat = column.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        starts = np.cumsum([0, *lengths[some]])[:-1]
        out[some] = reduce(flat**2 if square else flat, starts, axis=0)
    return out


def neighbours(view: View, classes: Sequence[str]) -> list[Neighbours]:
    """What lies beside the clips of every class, in words for those who do not see the map.

    ``classes`` has the class of every clip. Classes with the fewest neighbours of their own first.
    """
    from scipy.spatial import cKDTree

    known = np.flatnonzero(view.places[:, 0] >= 0)
    names = [classes[i] for i in known.tolist()]
    count = min(_NEIGHBOURS, len(known) - 1)
    if count < 1:
        return []
    near = cKDTree(view.places[known]).query(view.places[known], count + 1)[1]
    beside: dict[str, Counter[str]] = {name: Counter() for name in sorted(set(names))}
    for i, row in enumerate(near.tolist()):
        # Where several clips share a place, a clip need not be its own first neighbour.
        others = [k for k in row if k != i][:count]
        beside[names[i]].update(names[k] for k in others)
    sizes = Counter(names)
    found = []
    for name, counts in beside.items():
        other = max(((n, o) for o, n in counts.items() if o != name), default=(0, ""))[1]
        found.append(Neighbours(name, sizes[name], counts[name] / counts.total(), other))
    return sorted(found, key=lambda row: (row.same, row.name))


def as_data(views: Sequence[View]) -> list[dict[str, Any]]:
    """The views, ready for JSON."""
    return [
        {
            "title": view.title,
            "words": view.words,
            "shares": [round(share, 4) for share in view.shares],
            "x": view.places[:, 0].tolist(),
            "y": view.places[:, 1].tolist(),
        }
        for view in views
    ]


def colour(place: int, count: int) -> str:
    """The colour of one of ``count`` classes, as static/map.js has it."""
    return f"hsl({round(360 * place / max(count, 1))} {75 - 25 * (place % 2)}% 50%)"


def drawing(view: View, classes: Sequence[str]) -> Markup:
    """The map as a picture of its own, for pages without scripts: a dot per place and class."""
    names = sorted(set(classes))
    number = {name: i for i, name in enumerate(names)}
    kinds = np.array([number[name] for name in classes])
    paths = []
    for i, name in enumerate(names):
        mine = view.places[(kinds == i) & (view.places[:, 0] >= 0)]
        dots = np.unique(np.stack([mine[:, 0], SIDE - mine[:, 1]], axis=1), axis=0)
        path = "".join(f"M{x} {y}h0" for x, y in dots.tolist())
        stroke = f'stroke="{colour(i, len(names))}"'
        paths.append(f'<path {stroke} d="{path}"><title>{escape(name)}</title></path>')
    label = escape(f"Map of the clips: {view.title.lower()}")
    return Markup(
        f'<svg viewBox="-10 -10 {SIDE + 20} {SIDE + 20}" role="img" aria-label="{label}"'
        f' fill="none" stroke-width="10" stroke-linecap="round">{"".join(paths)}</svg>'
    )
