"""``nano4m-audio export`` and ``import``: tokens and weights in the published forms."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from nano4m_audio.cli.options import RESULTS, Results

export_app = typer.Typer(
    no_args_is_help=True, help="Write tokens or weights in the forms of the published nano4M-Audio."
)
import_app = typer.Typer(
    no_args_is_help=True, help="Read tokens or weights in the forms of the published nano4M-Audio."
)
Run = Annotated[Path, typer.Option(help="folder of a run, such as results/runs/base")]


@export_app.command("tokens", epilog="Example: nano4m-audio export tokens --out tokenized")
def export_tokens(
    out: Annotated[Path, typer.Option(help="folder to write {split}/{modality}/{clip} into")],
    results: Results = RESULTS,
) -> None:
    """Write the complete clips as {split}/{modality}/{clip}.npy and scene_desc/{clip}.json."""
    from nano4m_audio.interchange import layout

    count = layout.export_tokens(results, out)
    print(f"{count:,} clips in {out}", file=sys.stderr)


@import_app.command(
    "tokens", epilog="Example: nano4m-audio import tokens --root tokenized --results imported"
)
def import_tokens(
    root: Annotated[Path, typer.Option(help="folder with {split}/{modality}/{clip}")],
    shards: Annotated[int, typer.Option(help="number of shards to make")] = 4,
    results: Results = RESULTS,
) -> None:
    """Make split.parquet and token tables, which train and evaluate can read, of such a folder."""
    from nano4m_audio.interchange import layout
    from nano4m_audio.lineage import record
    from nano4m_audio.shards import set_shards

    count = layout.import_tokens(root, results.root, shards)
    set_shards(results.root, shards)
    for path in chain([results.split], *results.token_files().values()):
        record(path, [])
    print(f"{count:,} clips in {results}", file=sys.stderr)


@export_app.command("model", epilog="Example: nano4m-audio export model --out model.pth")
def export_model(
    out: Annotated[Path, typer.Option(help="*.pth, *.safetensors, or a folder (Hugging Face)")],
    run: Run = Path("results/runs/base"),
) -> None:
    """Write the weights of a run as the reference has them (*.pth also opens with a plain
    torch.load), or as config.json + safetensors."""
    from nano4m_audio.interchange import weights

    weights.export_model(run, out)


@import_app.command(
    "model", epilog="Example: nano4m-audio import model model.pth --run results/runs/imported"
)
def import_model(
    source: Annotated[
        Path, typer.Argument(help="*.pth, *.safetensors, or a folder with both files")
    ],
    run: Run,
) -> None:
    """Make a run of published weights, which evaluate can probe."""
    from nano4m_audio.interchange import weights

    weights.import_model(source, run)
