"""The stages from tokens to the report: train, evaluate, generations, report."""

from __future__ import annotations

import os
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer

from nano4m_audio.cli.interchange import import_run, show_metrics
from nano4m_audio.cli.options import (
    RESULTS,
    Device,
    Experiment,
    Results,
    Settings,
    Threads,
    example,
    record,
    stage_settings,
)
from nano4m_audio.modalities import LABELS
from nano4m_audio.probes import PROBES

app = typer.Typer()


@app.command(epilog=example("train --experiment base"))
def train(
    experiment: Experiment,
    results: Results = RESULTS,
    settings: Settings = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="where to train, if not as set")
    ] = None,
    self_test: Annotated[
        int, typer.Option(help="train nothing: compare this many steps in bfloat16 and float32")
    ] = 0,
) -> None:
    """Train the model of one experiment; a killed run continues at its last checkpoint."""
    from nano4m_audio.nano4m.settings import TrainSettings
    from nano4m_audio.training import stage

    told = stage_settings(TrainSettings, f"train-{experiment}", settings, results)
    if device:
        hardware = told.hardware.model_copy(update={"device": device})
        told = told.model_copy(update={"hardware": hardware})
    if self_test:
        stage.self_test(results, told, self_test)
        return
    stage.train_run(results, experiment, told, command=sys.argv[1:])
    if os.environ.get("RANK", "0") == "0":
        tokens = results.token_files()
        run = results.run(experiment)
        record([run / name for name in stage.PUBLISHED], [results.split, *chain(*tokens.values())])


@app.command(epilog=example("evaluate classes --experiment base"))
def evaluate(
    experiment: Experiment = "base",
    probes: Annotated[
        list[str] | None,
        typer.Argument(help=f"which probes, of {', '.join(PROBES)}; absent: all of them"),
    ] = None,
    results: Results = RESULTS,
    settings: Settings = None,
    device: Device = "auto",
    threads: Threads = 1,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="measure any model: *.pth, *.safetensors, or a folder with both files"),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="with --checkpoint: folder of {split}/{modality}/{clip}")
    ] = None,
) -> None:
    """Measure what a trained run can do, with chance levels and intervals; or a checkpoint of the
    published form, which is imported into a results folder of its own and its metrics printed."""
    from nano4m_audio.backends.compute import Compute
    from nano4m_audio.config.schema import EvaluateSettings
    from nano4m_audio.evaluate.stage import evaluate_run, tables_of
    from nano4m_audio.training.stage import RUN, WEIGHTS

    if checkpoint or tokens:
        import_run(checkpoint, tokens, results, experiment)
    section = stage_settings(EvaluateSettings, "evaluate", settings, results)
    chosen = probes or list(PROBES)
    evaluate_run(results, experiment, section, Compute(device, threads=threads), chosen)
    run, files = results.run(experiment), results.token_files()
    inputs = [run / RUN, run / WEIGHTS, results.split, *chain(*files.values())]
    inputs += tables_of(results, chosen)
    record([results.probe(experiment, probe) for probe in chosen], inputs)
    if checkpoint:
        show_metrics(results, experiment, chosen)


@app.command(epilog=example("experiments"))
def experiments(results: Results = RESULTS, settings: Settings = None) -> None:
    """Write results/experiments.html: all runs side by side, compared clip by clip."""
    from nano4m_audio.config.schema import Config
    from nano4m_audio.report.experiments import build_page, experiment_files

    config = stage_settings(Config, "config", settings, results)
    build_page(results, config)
    record(results.experiments, experiment_files(results, config))


@app.command(epilog=example("study"))
def study(results: Results = RESULTS, settings: Settings = None) -> None:
    """Write results/study.md: does it hear what it cannot say, and which lever changes that?"""
    from nano4m_audio.config.schema import Config
    from nano4m_audio.report.experiments import experiment_files
    from nano4m_audio.report.study import write_study

    config = stage_settings(Config, "config", settings, results)
    write_study(results, config)
    record(results.study, experiment_files(results, config))


@app.command(epilog=example("generations --experiment base"))
def generations(
    experiment: Experiment,
    results: Results = RESULTS,
    settings: Settings = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Make what the report shows of a trained model: pictures, sounds and captions of some clips,
    beside the true ones."""
    from nano4m_audio.backends.compute import Compute
    from nano4m_audio.config.schema import GenerationsSettings
    from nano4m_audio.generation.shown import show_run
    from nano4m_audio.training.stage import RUN, WEIGHTS

    told = stage_settings(GenerationsSettings, "generations", settings, results)
    files = show_run(results, experiment, told, Compute(device, threads=threads))
    run, tokens = results.run(experiment), results.token_files()
    tables = [results.tables(name) for name in ("selected", *(f"labels/{n}" for n in LABELS))]
    inputs = [run / RUN, run / WEIGHTS, results.split, *chain(*tokens.values(), *tables)]
    record(files, inputs)


@app.command(epilog=example("report"))
def report(results: Results = RESULTS, settings: Settings = None) -> None:
    """Write the report: one HTML file that needs nothing else."""
    from nano4m_audio.backends.registry import mini_card
    from nano4m_audio.config.schema import Config
    from nano4m_audio.report.inputs import ReportInputs, report_files
    from nano4m_audio.report.stage import build_report

    config = stage_settings(Config, "config", settings, results)
    truth = config.chosen_source.folder(results.root).truth
    checkout = Path(__file__).parents[3]
    repository = checkout if (checkout / "Snakefile").is_file() else None
    resolved = config.model_dump(mode="json")
    build_report(
        ReportInputs(resolved, results.root, truth, mini_card(), repository), results.report
    )
    record(results.report, [*report_files(results, config), *([truth] if truth else [])])
