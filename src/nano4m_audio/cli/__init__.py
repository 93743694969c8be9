"""The command line: one command per stage, the only entry that the Snakemake rules call.

Every stage takes its config section as ``--settings``, JSON or a file that holds it (absent: the
defaults), reads and writes named files, and can be pasted and run by hand. Stages are imported
inside their commands, so that ``--help`` stays quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nano4m_audio.cli import mini, tokenizer, weights
from nano4m_audio.cli.interchange import export_app, import_app
from nano4m_audio.errors import UserError

if TYPE_CHECKING:
    from nano4m_audio.backends.compute import Compute

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From labelled web video to five-modality tokens, a small 4M model and a report. "
    "Normally run by Snakemake: snakemake --cores 8 results/report.html",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"nano4m-audio {version('nano4m-audio')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


app.add_typer(mini.app, name="mini")
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(weights.app, name="weights")
app.add_typer(export_app, name="export")
app.add_typer(import_app, name="import")

Settings = Annotated[
    str, typer.Option(help="config section of this stage: JSON, or a file that holds it")
]
Store = Annotated[Path, typer.Option(help="folder of finished rows")]
Shard = Annotated[str, typer.Option(help="shard name, such as 0000")]
Shards = Annotated[
    int | None, typer.Option(help="number of shards; absent: as many as the results folder has")
]
Results = Annotated[Path, typer.Option(help="folder with the tables of all stages")]
Out = Annotated[Path, typer.Option(help="table to write")]
Classes = Annotated[str, typer.Option(help="class names, separated by commas")]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="where pretrained models run")
]
DType = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="type in which models run")
]
Threads = Annotated[int, typer.Option(help="CPU threads to use")]
Experiment = Annotated[str, typer.Option(help="name of the experiment")]
Backend = Annotated[str, typer.Option(help="name of the backend")]
Links = Annotated[
    Literal["inside", "follow"], typer.Option(help="follow: also links that lead out of the folder")
]
Attempt = Annotated[int, typer.Option(help="which attempt at this table this is; 0 is the first")]
STORE = Path("results/store")
RESULTS = Path("results")


def _example(text: str) -> str:
    return f"Example: nano4m-audio {text}"


def record(outputs: Path | Sequence[Path], inputs: Iterable[Path]) -> None:
    """Note what ``outputs`` were made from; the last thing that a command does."""
    from nano4m_audio import lineage

    lineage.record(outputs, inputs)


def _classes(names: str) -> tuple[str, ...]:
    from nano4m_audio.taxonomy import class_names, get_class

    return tuple(get_class(n).name for n in names.split(",")) if names else class_names()


def _compute(device: str, dtype: str, threads: int) -> Compute:
    from nano4m_audio.backends.compute import Compute

    return Compute(device, dtype, threads)


@app.command(epilog=_example("barnyard --out my_barnyard --settings '{\"clips\": 11}'"))
def barnyard(out: Out, settings: Settings = "{}", threads: Threads = 1) -> None:
    """Film the synthetic barnyard: clips with planted defects, and the truth about them."""
    from nano4m_audio.acquire.stages import film_barnyard
    from nano4m_audio.config import Barnyard
    from nano4m_audio.config.reading import parse_json

    film_barnyard(out, parse_json(Barnyard, settings), threads)
    record([out / "clips.csv", out / "truth.csv"], [])


@app.command(
    epilog=_example(
        'candidates --out results/candidates --shards 2 --settings \'{"root": "my_clips"}\''
    )
)
def candidates(
    out: Out,
    settings: Settings = "{}",
    shards: Annotated[int, typer.Option(help="number of shards to make")] = 4,
    classes: Classes = "",
) -> None:
    """List the candidate clips of a folder, one table per shard."""
    from nano4m_audio.acquire.stages import list_candidates
    from nano4m_audio.config import Folder
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.shards import set_shards
    from nano4m_audio.tables import LISTING, shard_names

    section = parse_json(Folder, settings)
    list_candidates(section, _classes(classes), shards, out)
    set_shards(out.parent, shards)
    listed = [Path(section.root, section.clips_csv)] if section.clips_csv else []
    record([*(out / f"{shard}.parquet" for shard in shard_names(shards)), out / LISTING], listed)


@app.command(
    epilog=_example(
        "media --candidates results/candidates/0000.parquet --root my_clips "
        "--out results/media/0000.parquet"
    )
)
def media(
    candidates: Annotated[Path, typer.Option(help="candidates table")],
    root: Annotated[Path, typer.Option(help="folder that the paths are relative to")],
    out: Out,
    store: Store = STORE,
    links: Links = "inside",
    attempt: Attempt = 0,
) -> None:
    """Find each candidate's file, its size and its SHA-256."""
    from nano4m_audio.acquire.retry import record_attempt
    from nano4m_audio.acquire.stages import check_files

    check_files(candidates, root, out, links == "follow")
    record_attempt(store, "media", out.stem, attempt)
    record(out, [candidates])


@app.command(
    epilog=_example(
        "decode --media results/media/0000.parquet --root my_clips --shard 0000 "
        "--out results/clips/0000.parquet"
    )
)
def decode(
    media: Annotated[Path, typer.Option(help="media table")],
    root: Annotated[Path, typer.Option(help="folder that the paths are relative to")],
    shard: Shard,
    out: Out,
    store: Store = STORE,
    settings: Settings = "{}",
    links: Links = "inside",
    attempt: Attempt = 0,
) -> None:
    """Decode every file once: frames with exact times, and one audio track."""
    from nano4m_audio.acquire.retry import record_attempt
    from nano4m_audio.acquire.stages import decode_clips
    from nano4m_audio.config import Decode
    from nano4m_audio.config.reading import parse_json

    decode_clips(media, root, store, shard, out, parse_json(Decode, settings), links == "follow")
    record_attempt(store, "clips", shard, attempt)
    record(out, [media])


@app.command(
    epilog=_example(
        "score audio --clips results/clips/0000.parquet --shard 0000 "
        "--out results/scores/audio/0000.parquet"
    )
)
def score(
    what: Annotated[Literal["audio", "visual", "speech", "prints"], typer.Argument()],
    clips: Annotated[Path, typer.Option(help="clips table")],
    shard: Shard,
    out: Out,
    store: Store = STORE,
    settings: Settings = "{}",
    classes: Classes = "",
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Score clips: class of the sound, class of the picture, speech, or fingerprints of copies."""
    from nano4m_audio.config import curate as config
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.curate import score as scores

    names, compute = _classes(classes), _compute(device, dtype, threads)
    if what == "audio":
        section = parse_json(config.AudioScore, settings)
        scores.score_audio(clips, store, shard, out, section, names, compute)
    elif what == "visual":
        visual = parse_json(config.VisualScore, settings)
        scores.score_visual(clips, store, shard, out, visual, names, compute)
    elif what == "speech":
        speech = parse_json(config.SpeechScore, settings)
        scores.score_speech(clips, store, shard, out, speech, compute)
    else:
        scores.score_prints(clips, store, shard, out)
    record(out, [clips])


@app.command(
    epilog=_example('verdict --shard 0000 --settings \'{"audio_min": 0.4, "visual_min": null}\'')
)
def verdict(shard: Shard, results: Results = RESULTS, settings: Settings = "{}") -> None:
    """Compare scores with thresholds: accepted, or every reason why not."""
    from nano4m_audio.config.curate import Verdict
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.curate.verdict import INPUTS, verdicts

    verdicts(results, shard, parse_json(Verdict, settings))
    table = f"{shard}.parquet"
    record(results / "verdicts" / table, [results / name / table for name in INPUTS])


@app.command(epilog=_example('split --settings \'{"unit": "group"}\''))
def split(shards: Shards = None, results: Results = RESULTS, settings: Settings = "{}") -> None:
    """Group copies, keep the best of each, and split by class and source without leaks."""
    from nano4m_audio.config.curate import Split
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.curate.partition import INPUTS, partition
    from nano4m_audio.shards import count_shards, table_files

    section, number, out = parse_json(Split, settings), count_shards(results, shards), results
    partition(results, number, out / "split.parquet", out / "selected", section)
    record(
        [out / "split.parquet", *table_files(out, "selected", number)],
        [path for name in INPUTS for path in table_files(results, name, number)],
    )


@app.command(
    epilog=_example(
        "label depth --selected results/selected/0000.parquet --shard 0000 --backend mini "
        "--out results/labels/depth/0000.parquet"
    )
)
def label(
    what: Annotated[Literal["depth", "normals"], typer.Argument()],
    selected: Annotated[Path, typer.Option(help="selected table")],
    shard: Shard,
    out: Out,
    backend: Backend,
    store: Store = STORE,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Estimate depth or surface normals of the keyframes."""
    from nano4m_audio.label.stage import label_clips

    compute = _compute(device, dtype, threads)
    label_clips(what, selected, store, shard, out, backend, compute)
    record(out, [selected])


@app.command(
    epilog=_example(
        "tokenize rgb --selected results/selected/0000.parquet --backend mini --shard 0000 "
        "--source results/clips/0000.parquet --out results/tokens/rgb/0000.parquet"
    )
)
def tokenize(
    modality: Annotated[Literal["rgb", "audio", "depth", "normals", "caption"], typer.Argument()],
    selected: Annotated[Path, typer.Option(help="selected table")],
    source: Annotated[Path, typer.Option(help="label table (depth, normals) or clips table")],
    shard: Shard,
    out: Out,
    backend: Backend,
    store: Store = STORE,
    template: Annotated[str, typer.Option(help="template of captions")] = "{caption}",
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Turn one modality of the selected clips into tokens."""
    from nano4m_audio.backends import trained_files
    from nano4m_audio.tokenize.stage import Sources, tokenize_clips

    sources = Sources(selected, source, store, shard, template)
    tokenize_clips(modality, sources, out, backend, _compute(device, dtype, threads))
    record(out, [selected, source, *trained_files(backend)])


def _mapping(text: str, where: str) -> dict[str, Any]:
    from nano4m_audio.config.plain import check_plain
    from nano4m_audio.config.reading import read_json

    values = read_json(text, where)
    if not isinstance(values, dict):
        raise UserError(f"{where}: a mapping of keys to values is wanted")
    check_plain(values, where)
    return values


@app.command(
    epilog=_example("train --experiment base --settings results/settings/train-base-*.json")
)
def train(
    experiment: Experiment,
    settings: Settings,
    watch: Annotated[str, typer.Option(help="what else to record: see watching.py")] = "{}",
    hardware: Annotated[
        str, typer.Option(help='where to compute, such as {"device": "cuda", "devices": 4}')
    ] = "{}",
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    shards: Shards = None,
    results: Results = RESULTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads, if not as set")] = None,
    self_test: Annotated[
        int, typer.Option(help="train nothing: compare this many steps in bfloat16 and float32")
    ] = 0,
) -> None:
    """Train the model of one experiment; a killed run continues at its last checkpoint."""
    from nano4m_audio import training
    from nano4m_audio.shards import count_shards
    from nano4m_audio.tables import token_files

    files = token_files(results, count_shards(results, shards))
    place = _mapping(hardware, "--hardware")
    place |= {"device": device} if device else {}
    split, store = results / "split.parquet", results / "store"
    values = _mapping(settings, "--settings")
    if self_test:
        training.self_test(split, files, store, values, self_test, threads, place)
        return
    training.train_run(
        split,
        files,
        results / "runs" / experiment,
        store,
        values,
        threads=threads,
        watch=_mapping(watch, "--watch"),
        hardware=place,
        command=sys.argv[1:],
    )
    run = results / "runs" / experiment
    if os.environ.get("RANK", "0") == "0":
        record([run / name for name in training.PUBLISHED], [split, *chain(*files.values())])


@app.command(epilog=_example("evaluate classes --experiment base"))
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
    from nano4m_audio.config import Evaluate
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.evaluate import evaluate_probe
    from nano4m_audio.shards import count_shards
    from nano4m_audio.tables import token_files
    from nano4m_audio.training import RUN, WEIGHTS

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
    epilog=_example("report --config results/settings/config-*.json --out results/report.html")
)
def report(
    out: Annotated[Path, typer.Option(help="page to write")],
    config: Annotated[str, typer.Option(help="the whole config: JSON, or a file")] = "{}",
    truth: Annotated[str, typer.Option(help="CSV with the truth about planted defects")] = "",
    results: Results = RESULTS,
) -> None:
    """Write the report: one HTML file that needs nothing else."""
    from nano4m_audio.backends import mini_card
    from nano4m_audio.config import Config
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.report.build import build_report
    from nano4m_audio.report.inputs import ReportInputs, report_files

    parsed = parse_json(Config, config, "--config")
    resolved, truth_csv = parsed.model_dump(mode="json"), Path(truth) if truth else None
    checkout = Path(__file__).parents[3]
    repository = checkout if (checkout / "Snakefile").is_file() else None
    build_report(ReportInputs(resolved, results, truth_csv, mini_card(), repository), out)
    record(out, [*report_files(results, parsed), *([truth_csv] if truth_csv else [])])


@app.command(name="config", epilog=_example("config config.yaml"))
def check_config(
    path: Annotated[Path | None, typer.Argument(help="config file to check")] = None,
) -> None:
    """Check a config file, or list every key with its default and meaning."""
    from nano4m_audio.config.reading import describe, load_config

    if path:
        load_config(path)
        print(f"{path}: ok")
        return
    for key, default, meaning in describe():
        print(f"{key} = {default}\n    {meaning}")


def main() -> None:
    """Run the command line; a UserError is one line on stderr and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
