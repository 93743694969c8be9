"""The model card of the mini family: measured quality, recipes and sizes, as JSON and as a page."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.errors import UserError
from nano4m_audio.files import sha256, write_bytes
from nano4m_audio.minitrain.data import EVALUATION_OFFSET

#: (measure set, measure, "least" or "most", limit, shown as)
REQUIRED: list[tuple[str, str, str, float, str]] = yaml.safe_load(
    Path(__file__).with_name("required.yaml").read_text("utf-8")
)


def write_card(
    weights: Path, *, seed: int, views: int, sounds: int, card: Path, page: Path
) -> None:
    """Measure the weights in a folder on unseen seeds; write ``card`` (JSON), ``page`` (Markdown).

    ``seed`` is the training data's seed. A missed requirement is a warning: the card tells the
    truth about any weights, and ``install`` is what refuses them.
    """
    from nano4m_audio.minitrain.measure import measure_all

    measured = measure_all(
        purpose="mini", seed=seed + EVALUATION_OFFSET, views=views, sounds=sounds, folder=weights
    )
    content: dict[str, Any] = {
        "data": {
            "purpose": "mini",
            "training_seed": seed,
            "evaluation_seed": seed + EVALUATION_OFFSET,
            "evaluation_views": views,
            "evaluation_sounds": sounds,
        },
        "members": {path.stem: _describe(path) for path in sorted(weights.glob("*.safetensors"))},
        "measured": {k: {m: round(v, 4) for m, v in row.items()} for k, row in measured.items()},
    }
    write_bytes(card, (json.dumps(content, indent=2) + "\n").encode())
    write_bytes(page, render_page(content).encode())
    missed = missed_requirements(content["measured"])
    if missed:
        print(f"warning: below the required quality: {'; '.join(missed)}", file=sys.stderr)


def missed_requirements(measured: dict[str, dict[str, float]]) -> list[str]:
    """The requirements, in words, that the measures do not meet."""
    missed = []
    for member, measure, side, limit, shown in REQUIRED:
        value = measured[member][measure]
        if value < limit if side == "least" else value > limit:
            missed.append(shown)
    return missed


def install(weights: Path, card: Path, *, package: Path, docs: Path) -> None:
    """Copy freshly trained weights and their card over the committed ones, and write the page.

    Raises UserError if the card misses a requirement or describes other weights.
    """

    if not card.is_file():
        raise UserError(f"{card} does not exist: run `snakemake --cores 2 mini` first")
    content = json.loads(card.read_text("utf-8"))
    missed = missed_requirements(content["measured"])
    if missed:
        raise UserError(f"{card}: below the required quality: {'; '.join(missed)}")
    files = {path.stem: sha256(path) for path in weights.glob("*.safetensors")}
    if files != {name: member["sha256"] for name, member in content["members"].items()}:
        raise UserError(f"{card} describes other weights than those in {weights}: run `mini card`")
    for path in [*sorted(weights.glob("*.safetensors")), card]:
        shutil.copyfile(path, package / path.name)
    write_bytes(docs / "MINI.md", render_page(content).encode())


def render_page(content: dict[str, Any]) -> str:
    """The Markdown page of a card's content."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    text = Path(__file__).with_name("card.md.j2").read_text("utf-8")
    return environment.from_string(text).render(content, required=REQUIRED)


def _describe(path: Path) -> dict[str, object]:
    from safetensors.numpy import load_file

    from nano4m_audio.backends.mini.runtime import read_notes

    return {
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "parameters": sum(tensor.size for tensor in load_file(path).values()),
        "notes": read_notes(path),
    }
