"""``nano4m-audio tokenizer ...``: train image tokenizers on the run's frames, and measure any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nano4m_audio.cli.options import RESULTS, Results, Shards, Threads

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train image tokenizers on this run's training clips, and measure any tokenizer.",
)


@app.command(
    epilog="Example: nano4m-audio tokenizer train rgb "
    '--settings \'{"modality": "rgb", "steps": 10, "width": 10, "batch_size": 2}\''
)
def train(
    name: Annotated[str, typer.Argument(help="name of the tokenizer")],
    settings: Annotated[
        str, typer.Option(help="its entry in the section tokenizers: JSON, or a file")
    ],
    shards: Shards = None,
    results: Results = RESULTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads, if not as set")] = None,
) -> None:
    """Train one tokenizer; a killed run continues at its last checkpoint."""
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.config.tokenizers import Tokenizer
    from nano4m_audio.lineage import record
    from nano4m_audio.shards import count_shards
    from nano4m_audio.tokenize.keyframes import picture_tables
    from nano4m_audio.tokenizers.names import trained_folder
    from nano4m_audio.tokenizers.train import RUN, TRAINED_WEIGHTS, train_tokenizer

    section, number = parse_json(Tokenizer, settings), count_shards(results, shards)
    train_tokenizer(name, section, results, number, threads)
    out = trained_folder(name, results)
    record(
        [out / TRAINED_WEIGHTS, out / RUN],
        picture_tables(results, section.modality, number),
    )


@app.command(
    epilog="Example: nano4m-audio tokenizer quality rgb --backend mini "
    "--out results/quality/rgb/mini.json"
)
def quality(
    modality: Annotated[Literal["rgb", "depth", "normals"], typer.Argument()],
    backend: Annotated[str, typer.Option(help="name of the backend, or trained:FOLDER")],
    out: Annotated[Path, typer.Option(help="JSON to write; a PNG appears beside it")],
    shards: Shards = None,
    results: Results = RESULTS,
    frames: Annotated[int, typer.Option(help="keyframes to measure")] = 64,
    examples: Annotated[int, typer.Option(help="keyframes to show")] = 4,
    bootstrap: Annotated[int, typer.Option(help="bootstrap resamples")] = 1000,
    confidence: Annotated[float, typer.Option(help="width of the interval")] = 0.95,
    seed: Annotated[int, typer.Option(help="seed of the resampling")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16")] = "float32",
    threads: Threads = 1,
) -> None:
    """Measure PSNR, SSIM and the use of the vocabulary on held-out keyframes."""
    from nano4m_audio.backends.compute import Compute
    from nano4m_audio.backends.registry import trained_files
    from nano4m_audio.lineage import record
    from nano4m_audio.shards import count_shards
    from nano4m_audio.tokenize.keyframes import picture_tables
    from nano4m_audio.tokenizers.quality import Options, measure_quality

    options = Options(frames, examples, bootstrap, confidence, seed)
    compute, number = Compute(device, dtype, threads), count_shards(results, shards)
    measure_quality(modality, backend, results, number, out, options, compute)
    tables = picture_tables(results, modality, number)
    record([out, out.with_suffix(".png")], [*tables, *trained_files(backend)])
