"""Write a release: the rows, a card for people, and the same facts for programs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from nano4m_audio.config.curate import Verdict
from nano4m_audio.files import sha256, write_bytes, write_json
from nano4m_audio.filters import LISTED, Filter
from nano4m_audio.paths import Results
from nano4m_audio.release.rows import RELEASED, SCHEMA, csv_text, release_rows
from nano4m_audio.report.funnel import steps
from nano4m_audio.report.inputs import read_clips
from nano4m_audio.report.provenance import backend_rows
from nano4m_audio.tables import write_table

SPLITS = ("train", "val", "test")
CARD, FACTS, CLIPS = "README.md", "release.json", ("clips.parquet", "clips.csv")
RELEASE_FILES = (CARD, FACTS, *CLIPS)


def build_release(results: Results, config: Mapping[str, Any]) -> None:
    """Write the release of a finished dataset under ``results``. ``config`` is the resolved one, as
    plain values. Equal tables and configs give equal bytes.

    Raises UserError or FunnelError where the tables do not add up.
    """
    folder, rows = results.release, release_rows(results)
    write_table(folder / CLIPS[0], pa.Table.from_pylist(rows, schema=SCHEMA))
    write_bytes(folder / CLIPS[1], csv_text(rows).encode("utf-8", "replace"))
    placed = [row for row in rows if row["split"]]
    facts = card_facts(results, config, placed)
    facts |= {"columns": RELEASED, "terms": _terms(_sources(config, rows))}
    write_bytes(folder / CARD, render(facts).encode("utf-8", "replace"))
    shown = ("title", "version", "counts", "classes", "sources", "split", "per_class", "models")
    write_json(
        folder / FACTS,
        {
            **{name: facts[name] for name in shown},
            "thresholds": {row["key"]: row["limit"] for row in facts["thresholds"]},
            "sha256": {name: sha256(folder / name) for name in CLIPS},
        },
    )


def card_facts(
    results: Results, config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What cards say of a run: the counts of clips (``class_name``, ``split`` and ``sources`` of
    each), and how they were judged. ``config`` as for ``build_release``."""
    clips = read_clips(results.root)
    verdict = Verdict.model_validate(config["verdict"])
    backends = backend_rows(config, results.root)
    return {
        **counted(rows, _sources(config, rows), results.modalities),
        "title": config["report"]["title"],
        "counts": {
            "candidates": len(clips),
            "accepted": sum(clip.accepted for clip in clips),
            "complete": sum(clip.complete for clip in clips),
        },
        "split": config["split"],
        "steps": steps(clips, config["verdict"]),
        "thresholds": [
            {
                "key": row.key,
                "limit": verdict.threshold(row),
                "value": _limit(row, verdict.threshold(row)),
                "number": f"{row.number}{row.in_unit}",
            }
            for row in LISTED
        ],
        "per_class": verdict.per_class,
        "backends": backends,
        "models": {key: {"backend": name, "identity": i} for key, name, i, _ in backends},
    }


def counted(
    rows: Sequence[Mapping[str, Any]], sources: Iterable[str], modalities: Iterable[str]
) -> dict[str, Any]:
    """What cards say of clips alone: their classes and sources by split, and the terms of
    ``sources``."""
    return {
        "version": metadata.version("nano4m-audio"),
        "modalities": list(modalities),
        "classes": _by_split((row["class_name"], row["split"]) for row in rows),
        "sources": _by_split(("+".join(row["sources"]), row["split"]) for row in rows),
        "terms": _terms(sources),
    }


def _limit(row: Filter, limit: float | None) -> str:
    return "off" if limit is None else f"at {'least' if row.side == 'min' else 'most'} {limit:g}"


def _by_split(pairs: Any) -> dict[str, list[int]]:
    counts = Counter(pairs)
    names = sorted({name for name, _ in counts})
    return {name: [counts[name, split] for split in SPLITS] for name in names}


def _sources(config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Whose terms hold for these clips: synthetic ones only bear the names of data sets."""
    if config["source"] == "barnyard":
        return {"barnyard"}
    return {name for row in rows for name in row["sources"]}


def _terms(sources: Iterable[str]) -> dict[str, Any]:
    """Terms and citation of every source; None for one that is the maker's own."""
    text = resources.files("nano4m_audio.release").joinpath("terms.yaml").read_text("utf-8")
    known = yaml.safe_load(text)
    return {name: known.get(name) for name in sorted(sources)}


def render(facts: Mapping[str, Any], template: str = "README.md.j2") -> str:
    """A card, in Markdown; names of the user's stand in it as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nano4m_audio.release"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=markdown, count=lambda n: f"{n:,}")
    return environment.get_template(template).render(**facts)


def markdown(text: Any) -> str:
    """Text of unknown origin within a line of Markdown: shown as it is, and nothing else."""
    line = " ".join(str(text).split())
    plain = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", plain)


def release_inputs(results: Results, n_shards: int | None = None) -> list[Path]:
    """What a release is made from, besides its proof."""
    from nano4m_audio.audit.proof import proof_files

    return [*proof_files(results, n_shards), results.proof]
