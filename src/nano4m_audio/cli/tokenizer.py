"""``nano4m-audio tokenizer ...``: train image tokenizers on the run's frames, and measure any."""

from __future__ import annotations

from typing import Annotated

import typer

from nano4m_audio.cli.options import (
    RESULTS,
    Device,
    DType,
    Image,
    Results,
    Settings,
    Threads,
    compute_options,
    example,
    record,
    stage_settings,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train tokenizers on this run's training clips, and measure those of images.",
)


@app.command(
    epilog=example(
        "tokenizer train rgb "
        '--settings \'{"modality": "rgb", "steps": 10, "width": 10, "batch_size": 2}\''
    )
)
def train(
    name: Annotated[str, typer.Argument(help="name of the tokenizer")],
    settings: Annotated[
        str, typer.Option(help="its entry in the section tokenizers: JSON, or a file")
    ],
    results: Results = RESULTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads, if not as set")] = None,
) -> None:
    """Train one tokenizer; a killed run continues at its last checkpoint."""
    from nano4m_audio.config.parsing import parse_json
    from nano4m_audio.config.tokenizers import Tokenizer
    from nano4m_audio.tokenize.keyframes import image_tables
    from nano4m_audio.tokenizers.train import RUN, TRAINED_WEIGHTS, train_tokenizer

    section = parse_json(Tokenizer, settings)
    train_tokenizer(results, name, section, threads)
    out = results.tokenizer(name)
    tables = image_tables(results, section.modality)
    record([out / TRAINED_WEIGHTS, out / RUN], tables)


@app.command(epilog=example("tokenizer fit audio_semantic --settings '{\"vocab_size\": 64}'"))
def fit(
    name: Annotated[str, typer.Argument(help="name of the tokenizer")],
    settings: Annotated[
        str, typer.Option(help="its entry in the section semantic: JSON, or a file")
    ] = "{}",
    results: Results = RESULTS,
    device: Device = "auto",
    threads: Threads = 2,
) -> None:
    """Find the clusters of sounds that semantic tokens are ids of, in the training clips."""
    from nano4m_audio.config.parsing import parse_json
    from nano4m_audio.config.tokenizers import Semantic
    from nano4m_audio.tokenizers.semantic import RUN, TRAINED_WEIGHTS, fit_semantic

    section = parse_json(Semantic, settings)
    fit_semantic(results, name, section, compute_options(device, "float32", threads))
    out = results.tokenizer(name)
    record([out / TRAINED_WEIGHTS, out / RUN], results.tables("selected"))


@app.command(epilog=example('tokenizer quality rgb --settings \'{"backend": "mini"}\''))
def quality(
    modality: Image,
    results: Results = RESULTS,
    settings: Settings = None,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Measure PSNR, SSIM and the use of the vocabulary on held-out keyframes."""
    from nano4m_audio.backends.registry import trained_files
    from nano4m_audio.config.tokenizers import QualitySettings
    from nano4m_audio.tokenize.keyframes import image_tables
    from nano4m_audio.tokenize.names import backend_name
    from nano4m_audio.tokenizers.quality import measure_quality

    name = f"quality-{modality}"
    section = stage_settings(QualitySettings, name, settings, results, modality=modality)
    measure_quality(results, section, compute_options(device, dtype, threads))
    out = results.quality(modality, section.backend)
    tables = [*image_tables(results, modality), results.split]
    weights = trained_files(backend_name(section.backend, results))
    record([out, out.with_suffix(".png")], [*tables, *weights])
