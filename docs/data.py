"""Print docs/DATA.md from the tables and reasons in the code: `make docs`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from nano4m_audio.fetch import ledger
from nano4m_audio.filters import CATALOGUE
from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.reasons import LIMITS, PASSING
from nano4m_audio.tables import HEAVY, TABLES, Column
from nano4m_audio.training.stage import METRICS_SCHEMA

#: What one row of each table is.
ROWS = {
    "candidates": "candidate clip, as the source lists it",
    "fetched": "candidate of `source: web`: what became of it",
    "media": "candidate: its file, checked without decoding",
    "clips": "file that can be read: what decoding found",
    "scores/audio": "decoded clip: the audio tagger's scores",
    "scores/visual": "decoded clip: the image-text scorer's cosines",
    "scores/speech": "decoded clip: the speech detector's segments",
    "scores/fingerprints": "decoded clip: fingerprints by which copies are found",
    "verdicts": "candidate: accepted, or every reason why not",
    "split": "accepted clip, in one table without shards: group, kept copy, split",
    "selected": "kept clip: what is labelled and tokenized",
    **{f"labels/{name}": f"kept clip: its {MODALITIES[name].about}" for name in LABELS},
    **{
        f"tokens/{name}": f"kept clip: the dataset, tokens of its {row.about}"
        for name, row in MODALITIES.items()
    },
}
#: Columns of a run's curves, beside its schema in training/stage.py.
METRICS = {
    "step": "optimiser steps done",
    "split": "train or val",
    "modality": "of the targets",
    "loss": "mean cross-entropy over these targets [nats]",
    "lr": "learning rate of the step",
    "tokens": "number of these targets",
}
HEAD = """# Data dictionary

Written by `make docs` from the tables and reasons in the code: change these, not this page.

Tables are Parquet files under `results/`, one per shard: `results/clips/0000.parquet`. Any reader
of Parquet opens them; `pyarrow.parquet.read_table("results/clips")` reads all shards. Rows of all
tables are joined by `clip_id`. Columns marked with * are in `results/store/` alone, from which
`nano4m_audio.store.RowStore` reads them by `key`."""


def print_table(file: str, row: str, columns: Iterable[Column], stored: Sequence[str] = ()) -> None:
    """Print the section of one table; the columns ``stored`` are in the store alone."""
    print(f"\n## {file}\nOne row per {row}.\n\n| column | type | meaning |\n|---|---|---|")
    for name, kind, meaning in columns:
        print(f"| `{name}`{' *' if name in stored else ''} | {kind_name(kind)} | {meaning} |")


def kind_name(kind: pa.DataType) -> str:
    """A type in short: ``list of float``, ``uint16 [10, 196]``."""
    shape = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    if pa.types.is_list(kind):
        return f"list of {kind_name(kind.value_type)}"
    return f"{kind} {shape}" if shape else str(kind)


def main() -> None:
    print(HEAD)
    for name, columns in TABLES.items():
        file = f"{name}.parquet" if name == "split" else f"{name}/SHARD.parquet"
        print_table(f"results/{file}", ROWS[name], columns, HEAVY.get(name, ()))
    print_table("results/web/ledger/NUMBER.parquet", "answer to asking for a video", ledger.COLUMNS)
    metrics = [(field.name, field.type, METRICS[field.name]) for field in METRICS_SCHEMA]
    print_table(
        "results/runs/EXPERIMENT/metrics.parquet", "logged step, split and modality", metrics
    )
    print("\n## Reasons\nWhy a candidate did not become tokens.\n")
    print("| reason | meaning | next run |\n|---|---|---|")
    for reason, meaning in CATALOGUE.items():
        again = "tried again" if reason in PASSING else ""
        again = "tried again with other limits" if reason in LIMITS else again
        print(f"| `{reason}` | {meaning} | {again} |")


if __name__ == "__main__":
    main()
