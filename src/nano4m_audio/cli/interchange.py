"""``nano4m-audio export`` and ``import``: tokens and weights in the published forms."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer

from nano4m_audio import paths
from nano4m_audio.cli.options import RESULTS, Results
from nano4m_audio.errors import UserError

export_app = typer.Typer(
    no_args_is_help=True, help="Write tokens or weights in the forms of the published nano4M-Audio."
)
import_app = typer.Typer(
    no_args_is_help=True, help="Read tokens or weights in the forms of the published nano4M-Audio."
)
#: Marks a results folder that was made of tokens, by their path: null until all are there.
_IMPORTED = "imported.json"


@export_app.command("tokens", epilog="Example: nano4m-audio export tokens --out tokenized")
def export_tokens(
    out: Annotated[Path, typer.Option(help="folder to write {split}/{modality}/{clip} into")],
    results: Results = RESULTS,
) -> None:
    """Write the complete clips as {split}/{modality}/{clip}.npy and scene_desc/{clip}.json."""
    from nano4m_audio.interchange import layout

    count = layout.export_tokens(results, out)
    print(f"{count:,} clips in {out}", file=sys.stderr)


@export_app.command(
    "dataset", epilog="Example: nano4m-audio export dataset --to parquet barnyard_parquet"
)
def export_dataset(
    out: Annotated[Path, typer.Argument(help="new or empty folder to write to")],
    to: Annotated[
        Literal["parquet", "hf", "webdataset", "npy"],
        typer.Option(
            help="a Parquet file per split; a Hugging Face folder; tar shards; the published layout"
        ),
    ],
    frames: Annotated[bool, typer.Option("--frames", help="add the keyframes, JPEG")] = False,
    sound: Annotated[bool, typer.Option("--sound", help="add the audio windows, FLAC")] = False,
    results: Results = RESULTS,
) -> None:
    """Write the complete clips, with class, split, scores and a card (README.md), for others."""
    from nano4m_audio.dataset.write import export_dataset as write

    count = write(results, to, out, frames, sound)
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
    from nano4m_audio.files import write_json
    from nano4m_audio.interchange import layout
    from nano4m_audio.lineage import record
    from nano4m_audio.shards import set_shards

    marker = results / _IMPORTED
    # Where a workflow ran since, the tables are its own.
    replaceable = marker.exists() and not results.settings.exists()
    if not replaceable and results.root.exists() and any(results.root.iterdir()):
        raise UserError(f"{results} is not empty: name a new folder with --results")
    write_json(marker, {"tokens": None})
    count = layout.import_tokens(root, results.root, shards)
    set_shards(results.root, shards)
    for path in chain([results.split], *results.token_files().values()):
        record(path, [])
    write_json(marker, {"tokens": str(root.resolve())})
    print(f"{count:,} clips in {results}", file=sys.stderr)


@export_app.command("model", epilog="Example: nano4m-audio export model --out model.pth")
def export_model(
    out: Annotated[Path, typer.Option(help="*.pth, *.safetensors, or a folder (Hugging Face)")],
    run: Annotated[Path, typer.Option(help="folder of a run, such as results/runs/base")] = Path(
        "results/runs/base"
    ),
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
    run: Annotated[
        Path, typer.Option(help="new folder for the run, such as results/runs/imported")
    ],
) -> None:
    """Make a run of published weights, which evaluate can probe."""
    from nano4m_audio.interchange import weights

    weights.import_model(source, run)


def import_run(
    checkpoint: Path | None, tokens: Path | None, results: paths.Results, experiment: str
) -> None:
    """Make a results folder of tokens and a checkpoint, unless it was made of them before.

    Raises UserError where one of the two is missing, or the folder holds anything else.
    """
    from nano4m_audio.files import read_json

    if not checkpoint or not tokens:
        raise UserError("--checkpoint and --tokens go together: a model, and what to measure it on")
    marker, source = results / _IMPORTED, str(tokens.resolve())
    known = read_json(marker, "name another --results folder") if marker.exists() else {}
    if known.get("tokens") not in (None, source):
        raise UserError(f"{results} holds other tokens: name another folder with --results")
    if not known.get("tokens"):
        import_tokens(tokens, 1, results)
    import_model(checkpoint, results.run(experiment))


def show_metrics(results: paths.Results, experiment: str, probes: Sequence[str]) -> None:
    """Print a table of the metrics of a run: name, value, interval, chance and verdict."""
    from nano4m_audio.files import read_json

    for probe in probes:
        for row in read_json(results.probe(experiment, probe), "evaluate again")["metrics"]:
            between = "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
            chance = "" if row["chance"] is None else f"chance {row['chance']:.4g}"
            verdict = (row.get("baseline") or {}).get("verdict", "")
            name = f"{probe} {row['name']}"
            print(f"{name:<44}{row['value']:>10.4g}  {between:<20}{chance:<16}{verdict}")
