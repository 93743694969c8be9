"""Before others rely on a dataset: audit any manifest, prove this run's own, release and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nano4m_audio.cli.options import RESULTS, Results, Settings, example, record, stage_settings

app = typer.Typer()

JsonFile = Annotated[Path | None, typer.Option("--json", help="also write all that was found here")]


@app.command(epilog=example("audit results --thresholds audio_min=0.5"))
def audit(
    manifest: Annotated[
        Path, typer.Argument(help="CSV, Parquet or JSON; a results folder; a release")
    ],
    splits: Annotated[
        list[Path] | None,
        typer.Option(help="split files: JSON lists of names, or one manifest per split"),
    ] = None,
    lists: Annotated[
        list[Path] | None, typer.Option(help="CSV lists of AudioSet or VGGSound, to hold against")
    ] = None,
    thresholds: Annotated[
        list[str] | None, typer.Option(help="instead of the stated ones, such as audio_min=0.3")
    ] = None,
    json_file: JsonFile = None,
    strict: Annotated[bool, typer.Option(help="exit with 1 where anything was found")] = False,
) -> None:
    """Say what is wrong with a list of clips: thresholds, repeats, overlaps, leaks, sources."""
    from rich.console import Console

    from nano4m_audio.audit.audit import audit as run
    from nano4m_audio.audit.audit import found_any, read_limits, show
    from nano4m_audio.audit.lists import read_lists
    from nano4m_audio.audit.manifest import read_manifest
    from nano4m_audio.files import write_json

    limits = read_limits(thresholds or [])
    others = [read_manifest(path) for path in splits or []]
    result = run(read_manifest(manifest), others, read_lists(lists or []), limits)
    show(result, Console())
    if json_file:
        write_json(json_file, result)
    if strict and found_any(result):
        raise typer.Exit(1)


@app.command(epilog=example("proof"))
def proof(results: Results = RESULTS, settings: Settings = None) -> None:
    """Check what the tables claim together, row by row; a claim that does not hold is an error."""
    from nano4m_audio.audit.proof import proof_files, prove
    from nano4m_audio.config.curate import ProofSettings

    prove(results, stage_settings(ProofSettings, "proof", settings, results))
    record(results.proof, proof_files(results))


@app.command(epilog=example("release"))
def release(results: Results = RESULTS, settings: Settings = None) -> None:
    """Write results/release: ids, windows, scores, verdicts, split and hashes; no media."""
    from nano4m_audio.config.schema import Config
    from nano4m_audio.release.build import RELEASE_FILES, build_release, release_inputs

    config = stage_settings(Config, "config", settings, results)
    build_release(results, config.model_dump(mode="json"))
    outputs = [results.release / name for name in RELEASE_FILES]
    record(outputs, release_inputs(results))


@app.command(epilog=example("verify results/release --folder results/barnyard"))
def verify(
    release: Annotated[Path, typer.Argument(help="the folder of a release")],
    folder: Annotated[Path | None, typer.Option(help="look in this folder of media")] = None,
    mirror: Annotated[
        Path | None, typer.Option(help="look in this mirror: files, or tar archives of them")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="look in these results, at media and tokens")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="also clips that were rejected")] = False,
    json_file: JsonFile = None,
    strict: Annotated[bool, typer.Option(help="exit with 1 where anything is amiss")] = False,
) -> None:
    """Say what of a release is still to be had, class by class, and whether hashes agree."""
    from rich.console import Console

    from nano4m_audio import paths
    from nano4m_audio.files import write_json
    from nano4m_audio.release.verify import show
    from nano4m_audio.release.verify import verify as run

    other = None if results is None else paths.Results(results)
    result = run(release, folder, mirror, other, every)
    show(result, Console())
    if json_file:
        write_json(json_file, result)
    tokens = [
        n for counts in result["tokens"].values() for n in (counts["other"], counts["missing"])
    ]
    amiss = any(clip["state"] != "same" for clip in result["clips"])
    if strict and (amiss or any(tokens) or result["notes"]):
        raise typer.Exit(1)
