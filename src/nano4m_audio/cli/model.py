"""The stages from tokens to the report: train, evaluate, report."""

from __future__ import annotations

import os
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer

from nano4m_audio.cli.options import (
    RESULTS,
    Device,
    Experiment,
    Results,
    Settings,
    Shards,
    Threads,
    example,
    record,
)

app = typer.Typer()


@app.command(
    epilog=example(
        "train --experiment base --settings $(ls -t results/settings/train-base-*.json | head -n 1)"
    )
)
def train(
    experiment: Experiment,
    settings: Annotated[
        str, typer.Option(help="the run's settings: JSON, or the file that the workflow wrote")
    ],
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="where to train, if not as set")
    ] = None,
    shards: Shards = None,
    results: Results = RESULTS,
    self_test: Annotated[
        int, typer.Option(help="train nothing: compare this many steps in bfloat16 and float32")
    ] = 0,
) -> None:
    """Train the model of one experiment; a killed run continues at its last checkpoint."""
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.nano4m.settings import TrainSettings
    from nano4m_audio.shards import count_shards
    from nano4m_audio.tables import token_files
    from nano4m_audio.training import stage

    told = parse_json(TrainSettings, settings)
    if device:
        hardware = told.hardware.model_copy(update={"device": device})
        told = told.model_copy(update={"hardware": hardware})
    files = token_files(results, count_shards(results, shards))
    split, store, run = results / "split.parquet", results / "store", results / "runs" / experiment
    if self_test:
        stage.self_test(split, files, store, told, self_test)
        return
    stage.train_run(split, files, run, store, told, command=sys.argv[1:])
    if os.environ.get("RANK", "0") == "0":
        record([run / name for name in stage.PUBLISHED], [split, *chain(*files.values())])


@app.command(epilog=example("evaluate classes --experiment base"))
def evaluate(
    probe: Annotated[Literal["cross_entropy", "classes", "structure"], typer.Argument()],
    experiment: Experiment,
    settings: Settings = "{}",
    shards: Shards = None,
    results: Results = RESULTS,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Measure one thing about a trained run, with its chance level and interval."""
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.config.schema import Evaluate
    from nano4m_audio.evaluate.stage import evaluate_probe
    from nano4m_audio.shards import count_shards
    from nano4m_audio.tables import token_files
    from nano4m_audio.training.stage import RUN, WEIGHTS

    run, split = results / "runs" / experiment, results / "split.parquet"
    files = token_files(results, count_shards(results, shards))
    out = results / "evaluation" / experiment / f"{probe}.json"
    evaluate_probe(
        probe,
        run,
        split,
        files,
        out,
        results / "store",
        parse_json(Evaluate, settings).model_dump(),
        threads=threads,
        device=device,
    )
    record(out, [run / RUN, run / WEIGHTS, split, *chain(*files.values())])


@app.command(
    epilog=example(
        "report --config $(ls -t results/settings/config-*.json | head -n 1) "
        "--out results/report.html"
    )
)
def report(
    out: Annotated[Path, typer.Option(help="page to write")],
    config: Annotated[str, typer.Option(help="the whole config: JSON, or a file")] = "{}",
    truth: Annotated[str, typer.Option(help="CSV with the truth about planted defects")] = "",
    results: Results = RESULTS,
) -> None:
    """Write the report: one HTML file that needs nothing else."""
    from nano4m_audio.backends.registry import mini_card
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.config.schema import Config
    from nano4m_audio.report.inputs import ReportInputs, report_files
    from nano4m_audio.report.stage import build_report

    parsed = parse_json(Config, config, "--config")
    resolved, truth_csv = parsed.model_dump(mode="json"), Path(truth) if truth else None
    checkout = Path(__file__).parents[3]
    repository = checkout if (checkout / "Snakefile").is_file() else None
    build_report(ReportInputs(resolved, results, truth_csv, mini_card(), repository), out)
    record(out, [*report_files(results, parsed), *([truth_csv] if truth_csv else [])])
