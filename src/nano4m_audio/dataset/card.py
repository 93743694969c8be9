"""The card of an exported dataset: README.md, for people and for the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nano4m_audio.config.schema import Config
from nano4m_audio.dataset.media import last_config
from nano4m_audio.files import write_bytes
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.release.build import CARD, card_facts, counted, render


def write_card(
    results: Results, folder: Path, clips: Sequence[Mapping[str, Any]], files: Mapping[str, Any]
) -> None:
    """Write README.md about ``clips`` (class_name, source and split of each) to ``folder``.

    ``files`` says what is there: form, frames, sound, columns, and data_files by split. Where no
    workflow ran, as with imported tokens, nothing is said of candidates, filters and models.
    """
    rows = [{**clip, "sources": (clip["source"] or "unknown").split("+")} for clip in clips]
    config = last_config(results)
    if config and all(path.exists() for path in results.tables("verdicts")):
        facts = card_facts(results, config.model_dump(mode="json"), rows)
    else:
        sources = {name for row in rows for name in row["sources"]}
        facts = counted(rows, sources, results.modalities)
        facts |= {"title": "Tokens of labelled clips", "steps": [], "split": None}
    sizes = _sizes(config) if config else []
    card = render({**facts, **files, "clips": len(rows), "sizes": sizes}, "dataset.md.j2")
    write_bytes(folder / CARD, card.encode("utf-8", "replace"))


def _sizes(config: Config) -> list[tuple[str, int, str]]:
    """Modality, number of ids, and how many a clip has."""
    found = []
    for name in config.modalities:
        row = MODALITIES[name]
        spec = config.tokenizer(name)
        each = f"at most {spec.n_tokens}" if row.kind == "text" else f"{row.rows} x {spec.n_tokens}"
        found.append((name, spec.vocab_size, each))
    return found
